import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import get_args

import pytest

from curate import registry
from curate.contracts import Mixture, Need, RowScorer, Selection, Selector
from curate.contracts.describe import Kind
from curate.errors import ConfigError
from curate.registry import (
    aliases,
    describe,
    get,
    get_method,
    get_mixture,
    get_objective,
    get_policy,
    get_procedure,
    get_scorer,
    get_selector,
    methods_by_purpose,
    methods_overview,
    methods_table,
    names,
    own_names,
    register,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def registered_classes_are_restored(monkeypatch):
    names("scorer")  # discovery happens once, before anything is replaced
    kept = {kind: dict(classes) for kind, classes in registry._classes.items()}
    monkeypatch.setattr(registry, "_classes", kept)


def selector_class(method_name: object, module: str = "elsewhere", **body: object) -> type:
    def requires(self) -> Mapping[str, Need]:
        return {}

    def select(self, view, budget, rng) -> Selection:
        raise NotImplementedError

    return type(
        "Made",
        (Selector,),
        {
            "__module__": module,
            "name": method_name,
            "requires": requires,
            "select": select,
            "__doc__": "Made up.",
            **body,
        },
    )


def frozen(cls: type) -> type:
    return dataclass(frozen=True)(cls)


def run(code: str, *paths: Path) -> str:
    path = os.pathsep.join(str(entry) for entry in (*paths, ROOT, ROOT / "selectors"))
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# Names and look-up -------------------------------------------------------------------------------


def test_every_module_of_a_method_package_is_found():
    files = {p.stem for p in (ROOT / "selectors/curate_selectors").glob("[!_]*.py")}
    modules = {get_method(name).__module__.rpartition(".")[2] for name in names("method")}
    assert modules == files


def test_names_are_sorted_and_methods_are_selectors_and_procedures():
    assert names("method") == sorted(names("selector") + names("procedure"))
    assert "random" in names("selector") and "pipeline" in names("procedure")
    assert "pipeline" not in names("selector")


def test_every_module_of_a_way_to_train_is_found():
    for kind, folder in (
        ("objective", "objectives"), ("policy", "policies"), ("mixture", "mixtures"),
    ):  # fmt: skip
        files = {p.stem for p in (ROOT / "curate/train" / folder).glob("[!_]*.py")}
        modules = {get(kind, name).__module__.rpartition(".")[2] for name in names(kind)}
        assert modules == files == {name.replace("-", "_") for name in names(kind)}


def test_look_up_by_kind():
    assert get_selector("random") is get("selector", "random") is get_method("random")
    assert get_procedure("pipeline") is get_method("pipeline")
    assert get_objective("dft") is get("objective", "dft")
    assert get_policy("keep-all") is get("policy", "keep-all")
    assert get_mixture("uniform") is get("mixture", "uniform")


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("grap", "grape"), ("topk", "top-k"), ("top_k", "top-k"), ("Random", "random")],
)
def test_unknown_method_names_the_nearest_and_all(wrong, near):
    with pytest.raises(ConfigError) as caught:
        get_method(wrong)
    listing = ", ".join(names("method"))
    assert str(caught.value) == (
        f"no method {wrong!r}; did you mean {near!r}; choose one of: {listing}"
    )


def test_unknown_scorer_is_called_a_scorer():
    with pytest.raises(ConfigError, match=r"no scorer 'zzz'; choose one of: "):
        get_scorer("zzz")


def test_unknown_kind_is_an_error():
    with pytest.raises(ConfigError, match="no kind 'selectors'; choose one of: scorer, selector"):
        names("selectors")


# Registering -------------------------------------------------------------------------------------


def test_registered_class_is_found_and_returned_unchanged():
    made = frozen(selector_class("made-up"))
    assert register(made) is made
    assert get_method("made-up") is made


def test_second_class_of_a_name_is_refused():
    register(frozen(selector_class("made-up", "one")))
    with pytest.raises(ConfigError) as caught:
        register(frozen(selector_class("made-up", "two")))
    assert str(caught.value) == (
        "selector name 'made-up' of two.Made is taken by one.Made; rename one of them"
    )


def test_selectors_and_procedures_share_their_names():
    with pytest.raises(
        ConfigError, match="selector name 'pipeline' of .* is taken by curate_selec"
    ):
        register(frozen(selector_class("pipeline")))


def test_a_way_to_train_may_share_its_name_with_a_method():
    made = frozen(
        type("Made", (Mixture,), {"name": "random", "every": None, "weights": lambda *_: {}})
    )
    assert register(made) is get_mixture("random") is not get_selector("random")


def test_registering_the_same_class_again_is_fine():
    for _ in range(2):
        register(frozen(selector_class("made-up")))


@pytest.mark.parametrize("wrong", ["Made Up", "made_up", "MadeUp", "", None, "-a"])
def test_names_are_kebab_case(wrong):
    with pytest.raises(ConfigError, match="give it a kebab-case name, such as 'top-k'"):
        register(frozen(selector_class(wrong)))


def test_the_name_of_a_scorer_may_have_underscores():
    body = {
        "version": 1,
        "role": None,
        "outputs": {},
        "load": lambda *_: None,
        "__doc__": "Made up.",
    }
    made = frozen(type("Made", (RowScorer,), {"name": "made_up", **body}))
    assert register(made) is get_scorer("made_up")


def test_only_frozen_dataclasses_register():
    with pytest.raises(ConfigError, match="not a frozen dataclass; put @dataclass"):
        register(selector_class("made-up"))
    with pytest.raises(ConfigError, match="not a frozen dataclass"):
        register(dataclass(selector_class("made-up")))


def test_abstract_classes_do_not_register():
    made = frozen(type("Made", (Selector,), {"name": "made-up"}))
    with pytest.raises(ConfigError, match="is abstract; it must define requires, select"):
        register(made)


def test_other_classes_do_not_register():
    with pytest.raises(
        ConfigError,
        match="is not a scorer, selector, procedure, objective, policy or mixture; derive it",
    ):
        register(int)


# Description and table ---------------------------------------------------------------------------


def test_description_of_a_method_comes_from_its_docstring():
    about = describe(get_method("perplexity"))
    assert (about.kind, about.name) == ("selector", "perplexity")
    assert about.summary.startswith("The examples whose response perplexity")
    (reference,) = about.references
    assert reference == (
        "Marion et al., When Less is More: Investigating Data Pruning for Pretraining LLMs at "
        "Scale, 2023. https://arxiv.org/abs/2309.04564"
    )
    (which,) = about.fields
    assert (which.name, which.type, which.default) == ("which", "low | mid | high", "mid")
    assert which.doc.startswith("``low``, ``high``, or ``mid``")
    assert about.needs == {"likelihood": Need("likelihood", "target")}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_everything_registered_is_documented(kind):
    for name in names(kind):
        about = describe(get(kind, name))
        assert about.summary.endswith("."), f"{name}: the summary is no sentence"
        undocumented = [item.name for item in about.fields if not item.doc]
        assert not undocumented, f"{name}: no text for {undocumented}"
        assert json.loads(json.dumps(about.to_json()))["name"] == name


def test_table_has_one_row_per_method():
    header, rule, *rows = methods_table().splitlines()
    assert len(rows) == len(names("method"))
    assert [row.split("`")[1] for row in rows] == names("method")
    assert {row.replace("\\|", "").count("|") for row in (header, rule, *rows)} == {6}


def test_the_short_table_links_the_papers():
    rows = {row.split("`")[1]: row for row in methods_overview().splitlines()[2:]}
    assert list(rows) == names("method")
    assert "[2502.04194](https://arxiv.org/abs/2502.04194)" in rows["grape"]
    assert {row.count(" | ") for row in rows.values()} == {3} and "*Experimental.*" in rows["donod"]


def test_readme_of_the_selectors_has_the_current_table():
    text = (ROOT / "selectors" / "README.md").read_text(encoding="utf-8")
    start, end = "<!-- methods:begin -->\n", "<!-- methods:end -->"
    assert text.split(start)[1].split(end)[0].strip() == methods_table().strip()


def test_no_python_file_lies_directly_in_the_folder_of_selectors():
    assert not list((ROOT / "selectors").glob("*.py"))


# Processes of their own --------------------------------------------------------------------------


def test_finding_everything_imports_nothing_heavy():
    heavy = ["torch", "transformers", "faiss", "ray", "duckdb", "polars", "pyarrow", "datasets"]
    code = f"""
        import sys
        from curate.registry import describe, get, names
        for kind in ("scorer", "method", "objective", "policy", "mixture"):
            for name in names(kind):
                describe(get(kind, name))
        print([module for module in {heavy!r} if module in sys.modules])
    """
    assert run(code) == "[]"


def test_registry_alone_does_not_import_the_methods():
    loaded = run("""
        import sys, curate.registry
        print([m for m in sys.modules if m.startswith(("curate_selectors", "curate.scorers"))])
    """)
    assert loaded == "[]"


def test_every_method_says_what_it_is_for():
    purposes = {describe(get_method(name)).purpose for name in names("method")}
    assert purposes == {
        "baselines and parts of other methods", "corrected responses", "diversity",
        "few near-duplicates", "fit to a model", "quality and difficulty", "towards a target set",
    }  # fmt: skip
    towards = {
        name for name in names("method") if vars(get_method(name)).get("uses_target") is True
    }
    assert towards == {
        n for n in names("method") if get_method(n).purpose == "towards a target set"
    }


def test_an_alias_is_taken_for_the_name_and_shown(monkeypatch):
    assert aliases("method")["diverse"] == "kmq" and "diverse" not in names("method")
    assert get_method("diverse") is get_method("kmq")
    assert describe(get_method("kmq")).aliases == ("diverse",)
    with pytest.raises(ConfigError, match="no method 'divers'; did you mean 'diverse'"):
        get_method("divers")


def test_settings_by_an_alias_are_the_methods_own():
    assert own_names({"diverse.k": 8, "k": 2, "ifd.turns": "all", "diverse": 1}) == {
        "kmq.k": 8, "k": 2, "ifd.turns": "all", "diverse": 1,
    }  # fmt: skip


def test_an_alias_shares_the_names_of_methods():
    register(frozen(selector_class("made-up", "one", aliases=("mine",))))
    with pytest.raises(ConfigError, match=r"alias 'mine' of two.Made is taken by one.Made"):
        register(frozen(selector_class("other", "two", aliases=("mine",))))
    with pytest.raises(ConfigError, match=r"name 'mine' of two.Made is taken by one.Made"):
        register(frozen(selector_class("mine", "two")))
    with pytest.raises(ConfigError, match=r"alias 'clear-correct' .* is taken by curate_selectors"):
        register(frozen(selector_class("other", "two", aliases=("clear-correct",))))
    for wrong in ("No Kebab", "other", 7):
        with pytest.raises(ConfigError, match="give it a kebab-case name that is not its own"):
            register(frozen(selector_class("other", "two", aliases=(wrong,))))


def test_methods_without_purpose_are_listed_last():
    register(frozen(selector_class("aaa", "one")))
    grouped = methods_by_purpose()
    assert [about.name for about in grouped["other"]] == ["aaa"] and [*grouped][-1] == "other"
    assert sum(map(len, grouped.values())) == len(names("method"))
