"""Score names in expressions stand for one score set, which is recorded and used again."""

import json
from pathlib import Path

import pytest

from curate.api.pool import Pool
from curate.api.reproduce import reproduce
from curate.contracts.progress import SilentProgress
from curate.errors import ConfigError, CurateError

RANK = {"rank": "mtld.n_words", "budget": "2"}


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Four examples: by words of the response d, c, b, a, with the prompt it is the other way."""
    words = [f"w{number}" for number in range(12)]
    rows = [
        {"id": name, "prompt": " ".join(words[: 10 - 3 * i]), "response": " ".join(words[: i + 1])}
        for i, name in enumerate("abcd")
    ]
    data = tmp_path / "pool.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = Pool(tmp_path / "s.duckdb")
    pool.ingest(str(data))
    return pool


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
