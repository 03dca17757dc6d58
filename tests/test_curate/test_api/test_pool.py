"""The public API as notebooks use it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import curate as cu
from curate.api.commands.option import options_of
from curate.api.commands.select import SelectCommand
from curate.api.keywords import made_select


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    opened = cu.open(tmp_path_factory.mktemp("pool") / "curate.duckdb", create=True)
    opened.ingest(
        {"prompt": f"Say {n // 2}.", "response": "word " * (1 + n % 7)} for n in range(24)
    )
    return opened


@dataclass(frozen=True)
class EveryNth(cu.Selector):
    """Every n-th example in order of id."""

    name: ClassVar[str] = "every-nth"
    n: int = 2

    def requires(self):
        return {}

    def select(self, view, budget, rng):
        return cu.Selection(cu.keep_within(np.arange(0, len(view), self.n), budget, view))


def test_opening_what_is_not_there_is_an_error_that_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = (
        f"there is no store at {tmp_path / 'none.duckdb'}; correct the path, or create an empty one: "
        "curate.open('none.duckdb', create=True)"
    )
    with pytest.raises(cu.StoreError, match=f"^{re.escape(said)}$"):
        cu.open("none.duckdb")
    with pytest.raises(
        cu.StoreError, match="there is no store at .*none.duckdb; create one with: curate"
    ):
        cu.Pool("none.duckdb")
    assert not list(tmp_path.iterdir())
    made = cu.open("none.duckdb", create=True)
    assert isinstance(made, cu.Pool)
    assert len(cu.open(Path("none.duckdb"))) == 0


def test_opening_a_store_whose_file_was_lost_says_how_to_rebuild_it(tmp_path):
    opened = cu.open(tmp_path / "s.duckdb", create=True)
    opened.ingest([{"prompt": "Say a.", "response": "a"}])
    opened.store.path.unlink()
    with pytest.raises(cu.StoreError, match="curate doctor --rebuild"):
        cu.open(tmp_path / "s.duckdb")


def test_settings_of_the_method_are_keywords(pool):
    chosen = pool.select("top-k", rank="n_chars", budget=3, ascending=True)
    assert (
        chosen.id == pool.select("top-k", rank="n_chars", budget=3, settings={"ascending": True}).id
    )
    assert [row["response"] for row in chosen] == ["word "] * 3
    assert pool.select("random | random", budget=2, keep="25%").document["within"]


@pytest.mark.parametrize(
    ("method", "given", "words"),
    [
        ("kmq", {"kk": 8}, "'kk' is neither an option of select nor a setting of kmq; did you mean 'k'; settings of "),
        ("kmq", {"budgt": 8}, "'budgt' is neither an option of select nor a setting of kmq; did you mean 'budget'"),
        ("kmq", {"k": 8, "settings": {"k": 9}}, "k is given twice, in settings too; give it once"),
        ("pvi", {"template": "plain"}, "'template' is both an option of select and a setting of pvi; for the setting"),
        ("pvi", {"template": "plain"}, "write settings={'template': 'plain'}, for the option add settings={} beside"),
        ("ifd | kmq", {"k": 8}, "'k' is neither an option of select nor a setting of pipeline; settings of pipeline"),
        (EveryNth(), {"n": 3}, "n: the method is given as an object, which has its settings already"),
        (EveryNth, {}, "method is the class EveryNth; give an instance of it: EveryNth()"),
        (3, {}, "method is int; give the name of a method, an instance of a Selector or Procedure, or a function"),
        (lambda view: view, {}, "the function '<lambda>' takes (view); as a method it takes (view, budget, rng)"),
    ],
)  # fmt: skip
def test_a_keyword_that_is_unclear_is_an_error_that_says_what_to_write(pool, method, given, words):
    with pytest.raises(cu.ConfigError, match=re.escape(words)):
        pool.select(method, budget=2, **given)


def test_an_option_that_is_a_setting_too_is_the_option_where_settings_are_given():
    defaults = {one.name: one.default for one in options_of(SelectCommand)}
    given = {**defaults, "method": "pvi", "template": "plain", "settings": {}, "fields": {}}
    command = made_select(given)
    assert (command.template, command.settings) == ("plain", {})


def test_an_instance_of_an_unregistered_class_is_a_method(pool, unregistered):
    chosen = pool.select(EveryNth(n=5), budget=3)
    ids = pool.sql("select id from examples order by id")["id"].to_list()
    assert chosen.ids == ids[::5][:3]
    assert (chosen.document["method"], chosen.document["config"]) == ("every-nth", {"n": 5})
    assert pool.select("every-nth", budget=3, n=5).id == chosen.id  # its name is known from then on


def test_a_function_is_a_method_and_says_what_it_reads(pool, unregistered):
    @cu.reads(size="n_chars")
    def longest_first(view, budget, rng):
        return np.argsort(-view.scores("size"), kind="stable")

    chosen = pool.select(longest_first, budget=4)
    assert chosen.ids == pool.select(rank="n_chars", budget=4).ids
    assert chosen.document["method"] == "longest-first"
    assert chosen.id == pool.select(longest_first, budget=4).id

    def longest_first(view, budget, rng):  # another cell defines it again
        return np.argsort(view.ids, kind="stable")

    assert pool.select(longest_first, budget=4).id != chosen.id
    undeclared = lambda view, budget, rng: view.scores("size")
    with pytest.raises(
        cu.MissingColumnError, match=r'say what it reads: @curate.reads\("SCORER"\)'
    ):
        pool.select(undeclared, budget=4)
    for wrong in ([0, 0], [99], [0.5]):
        with pytest.raises(cu.ConfigError, match="the function '<lambda>' returned"):
            pool.select(lambda view, budget, rng, wrong=wrong: wrong, budget=1)


def test_a_name_that_another_method_has_is_refused(pool, unregistered):
    def kmq(view, budget, rng):
        return [0]

    with pytest.raises(cu.ConfigError, match="selector name 'kmq' of .* is taken by"):
        pool.select(kmq, budget=1)


def test_a_selection_is_a_sequence_of_its_examples(pool):
    chosen = pool.select("random", budget=5)
    assert [row["id"] for row in chosen] == chosen.ids
    assert chosen[0]["rank"] == 1 and chosen[-1]["rank"] == 5
    assert [row["id"] for row in chosen[1:3].to_arrow().to_pylist()] == chosen.ids[1:3]
    assert chosen[-2:].to_polars()["id"].to_list() == chosen.ids[-2:]
    for place in (slice(None, None, -1), slice(3, 1, -1), slice(2, 2), slice(50, 60)):
        assert chosen[place].to_polars()["id"].to_list() == chosen.ids[place]
    with pytest.raises(IndexError, match="place 5 of a selection of 5 examples"):
        chosen[5]


def test_selections_and_tables_name_examples_wherever_ids_do(pool):
    first = pool.select("random", budget=5)
    for same in (first, first.ids, first[:], first.to_polars(), first.to_polars()["id"], [first]):
        assert pool.select(rank="n_chars", budget=5, include=same).ids == first.ids
    rest = pool.select(rank="n_chars", budget=5, exclude=[first, *first.ids[:1]])
    assert not set(rest.ids) & set(first.ids)
    assert set(pool.select("random", budget=3, within=first).ids) <= set(first.ids)
    with pytest.raises(cu.ConfigError, match=r"without a column 'id' names no .*it has: rank\)"):
        pool.select("random", budget=3, include=first.to_polars().select("rank"))
    plan = pool.select("random", budget=3, dry_run=True)
    with pytest.raises(cu.ConfigError, match="this is the plan of a dry run, not a selection"):
        pool.select("random", budget=3, include=plan)


def test_a_dataset_keeps_what_is_asked_for(pool):
    chosen = pool.select("random", budget=5)
    assert chosen.to_dataset().column_names == ["messages"]
    full = chosen.to_dataset(to="prompt-completion", keep=("id", "weight"))
    assert full.column_names == ["id", "weight", "prompt", "completion"]
    assert full["id"][:] == chosen.ids and full["weight"][:] == [1.0] * 5
    assert full[0]["prompt"] == chosen.to_dataset()[0]["messages"][:-1]
    assert full[0]["completion"][0]["role"] == "assistant"
    with pytest.raises(cu.ConfigError, match="keep names 'weigth'; did you mean 'weight'; a selec"):
        chosen.to_dataset(keep=["weigth"])
    with pytest.raises(cu.ConfigError, match="to='alpaca' is not one of messages, prompt-complet"):
        chosen.to_dataset(to="alpaca")
