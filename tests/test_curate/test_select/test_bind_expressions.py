"""Score names in expressions stand for one score set, which is recorded and used again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from copied import copied

from curate.api.pool import Pool
from curate.api.reproduce import reproduce
from curate.contracts.progress import SilentProgress
from curate.errors import ConfigError, CurateError
from curate.views.report.chosen import read_selections
from curate.views.report.pool import read_facts, read_scores

RANK = {"rank": "mtld.n_words", "budget": "2"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a pool that is ingested."""
    folder = tmp_path_factory.mktemp("made")
    words = [f"w{number}" for number in range(12)]
    rows = [
        {"id": name, "prompt": " ".join(words[: 10 - 3 * i]), "response": " ".join(words[: i + 1])}
        for i, name in enumerate("abcd")
    ]
    data = folder / "pool.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    Pool(folder / "curate.duckdb", create=True).ingest(str(data))
    return folder


@pytest.fixture
def pool(made: Path, tmp_path: Path) -> Pool:
    """Four examples: by words of the response d, c, b, a, with the prompt it is the other way."""
    copy: Pool = copied(made, tmp_path)
    return copy


def test_the_only_set_of_a_name_is_bound_recorded_and_reproduced(
    pool: Pool, tmp_path: Path
) -> None:
    pool.score("mtld")
    (status,) = pool.store.score_sets()
    output = tmp_path / "subset.jsonl"
    chosen = pool.select(output=output, **RANK)
    assert chosen.document["score_sets"]["mtld"]["set_id"] == status.set_id
    pool.score("mtld", settings={"mtld.part": "full"})  # the newest of the name now ranks otherwise
    manifest = Path(chosen.document["manifest"])
    again = reproduce(
        manifest, store=None, output=None, rescore=False, workers=None, progress=SilentProgress()
    )
    assert again["identical"], again["differences"]


def test_several_sets_of_a_name_are_an_error_and_what_it_says_to_type_works(pool: Pool) -> None:
    pool.score("mtld")
    pool.score("mtld", settings={"mtld.part": "full"})
    for options in (RANK, {"method": "random", "budget": "1", "where": "mtld.n_words > 0"}):
        with pytest.raises(ConfigError) as caught:
            pool.select(**options)
        words = str(caught.value)
        assert words.startswith("2 score sets have the name 'mtld': ")
        assert "--set mtld.part=response or --set mtld.part=full" in words
    firsts = {}
    for text in ("response", "full"):
        chosen = pool.select(settings={"mtld.part": text}, **RANK)
        (alias,) = chosen.document["score_sets"]
        firsts[text] = chosen.ids
        bound = chosen.document["score_sets"][alias]["set_id"]
        [status] = [one for one in pool.store.score_sets() if one.set_id == bound]
        assert status.config["part"] == text
    assert firsts["response"] != firsts["full"]


def test_settings_that_no_set_has_are_an_error(pool: Pool) -> None:
    pool.score("mtld")
    with pytest.raises(CurateError, match="was not computed with the model or the settings given"):
        pool.select(settings={"mtld.part": "full"}, **RANK)


@pytest.fixture(scope="module")
def made_twice(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the pool scored twice under one name."""
    folder = tmp_path_factory.mktemp("twice")
    pool = copied(made, folder)
    pool.score("mtld")
    pool.score("mtld", settings={"mtld.part": "full"})
    return folder


@pytest.fixture
def twice(made_twice: Path, tmp_path: Path) -> tuple[Pool, dict[str, str]]:
    """The pool scored twice under one name, and the names that mean one of the sets, by setting."""
    pool = copied(made_twice, tmp_path / "twice")
    sets = pool.store.score_sets()
    return pool, {one.config["part"]: f"mtld@{one.set_id[:8]}" for one in sets}


def _letters(pool: Pool, ids: list[str]) -> str:
    names = [pool.store.example(one)["rows"][0]["external_id"] for one in ids]
    return "".join(names)


@pytest.mark.parametrize(
    "read",
    [
        lambda pool: pool.examples(by="mtld.n_words"),
        lambda pool: pool.examples(where="mtld.n_words > 0"),
        lambda pool: pool.scores("mtld"),
        lambda pool: pool.plot.histogram("mtld.n_words"),
        lambda pool: pool.plot.scatter("mtld.n_words", "n_chars"),
        lambda pool: pool.store.snapshot().matching("mtld.n_words > 0"),
        lambda pool: pool.store.snapshot().values("mtld.n_words"),
        lambda pool: pool.store.forget("mtld.n_words > 0"),
    ],
    ids=["by", "where", "scores", "histogram", "scatter", "filter", "column", "forget"],
)
def test_whatever_reads_a_name_of_several_sets_lists_them(
    twice: tuple[Pool, dict[str, str]], read: Callable[[Pool], object]
) -> None:
    pool, names = twice
    with pytest.raises(ConfigError) as caught:
        read(pool)
    words = str(caught.value)
    assert words.startswith("2 score sets have the name 'mtld': ")
    assert all(f"{name} (model none, part={part})" in words for part, name in names.items())
    assert f"as in {names['response']}.COLUMN" in words
    assert len(pool) == 4


def test_a_name_with_an_id_means_that_set_everywhere(
    twice: tuple[Pool, dict[str, str]], tmp_path: Path
) -> None:
    pool, names = twice
    order = {"response": "dcba", "full": "abcd"}
    for part, name in names.items():
        column = f"{name}.n_words"
        chosen = pool.select(rank=column, budget="4", output=tmp_path / f"{part}.jsonl")
        assert _letters(pool, chosen.ids) == order[part]
        again = reproduce(
            Path(chosen.document["manifest"]), store=None, output=None, rescore=True, workers=None,
            progress=SilentProgress(),
        )  # fmt: skip
        assert again["identical"], again["differences"]
        ranked = pool.examples(by=column).to_arrow()["id"].to_pylist()
        assert _letters(pool, ranked) == order[part]
        values = pool.store.snapshot().values(column)
        assert pool.scores(name).to_arrow()[column].to_pylist() == values.tolist()
        assert column in pool.plot.histogram(column).svg
        assert pool.store.snapshot().matching(f"{column} >= {values.max()}").sum() == 1
    assert set(pool.explain("a")["scores"]) == set(names.values())
    assert pool.explain("a")["percentiles"][names["full"]]["n_words"] == 87.5
    assert pool.store.forget(f"{names['response']}.n_words < 2")["n_examples"] == 1
    assert _letters(pool, chosen.ids[1:]) == "bcd"


def test_a_report_filters_by_the_set_that_the_selection_read(
    twice: tuple[Pool, dict[str, str]],
) -> None:
    pool, _ = twice
    chosen = pool.select(
        "random", budget="1", where="mtld.n_words > 3", settings={"mtld.part": "response"}
    )
    facts = read_facts(pool.store)
    scored = read_scores(pool.store, facts, pool.store.score_sets())
    [read] = read_selections(pool.store, facts, scored, [chosen.id])
    assert read.barred.sum() == 3


def test_names_that_sql_cannot_tell_apart_are_refused(pool: Pool) -> None:
    pool.score("mtld", alias="words")
    with pytest.raises(
        ConfigError, match="'Words' differs from that of a score set, 'words', in case"
    ):
        pool.score("mtld", settings={"mtld.part": "full"}, alias="Words")
