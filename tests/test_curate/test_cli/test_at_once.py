"""The same command started several times at once: one does the work, and the others use it."""

import json
from pathlib import Path
from typing import Any

import pytest
from at_once import at_once

pytestmark = pytest.mark.slow


@pytest.fixture
def printed(tmp_path: Path) -> Path:
    folder = tmp_path / "printed"
    folder.mkdir()
    return folder


def documents(ran: list[tuple[int | None, str, str]], code: int = 0) -> list[Any]:
    assert [one[0] for one in ran] == [code] * len(ran), ran
    return [json.loads(out) for _, out, _ in ran]


def test_ingests_of_one_file_add_it_once(curate: Any, pool_file: Path, printed: Path) -> None:
    assert curate("ingest", pool_file).code == 0
    Path("more.jsonl").write_text(
        "".join(f'{{"prompt": "p{n}", "response": "r{n}"}}\n' for n in range(300))
    )
    made = documents(at_once([("ingest", "more.jsonl", "--json")] * 3, printed))
    datasets = [one["datasets"][0] for one in made]
    assert len({one["dataset_id"] for one in datasets}) == 1
    assert sorted(one["n_added"] for one in datasets) == [0, 0, 300]
    status = curate("status", "--json").json
    assert (status["n_examples"], len(status["datasets"])) == (326, 2)
    assert not list(Path("curate.parts").glob(".staging-*"))


def test_ingests_into_a_store_that_each_would_create(
    curate: Any, pool_file: Path, printed: Path
) -> None:
    documents(at_once([("ingest", str(pool_file), "--json")] * 3, printed))
    assert curate("status", "--json").json["n_examples"] == 26


def test_whole_selections_to_one_file(curate: Any, pool_file: Path, printed: Path) -> None:
    assert curate("ingest", pool_file).code == 0
    assert curate("score", "--scorer", "mtld").code == 0
    words = ("select", "--rank", "mtld.mtld", "-b", "5", "-o", "best.jsonl", "--json")
    made = documents(at_once([words] * 3, printed))
    assert len({one["selection_id"] for one in made}) == 1
    assert len(Path("best.jsonl").read_text().splitlines()) == 5
    manifest = json.loads(Path("best.jsonl.manifest.json").read_text())
    assert manifest["selection_id"] == made[0]["selection_id"]
    assert not list(Path().glob(".best*"))
    assert curate("reproduce", "best.jsonl.manifest.json", "--json").json["identical"]


def test_scores_under_five_aliases_are_one_set(curate: Any, pool_file: Path, printed: Path) -> None:
    assert curate("ingest", pool_file).code == 0
    words = [("score", "--scorer", "mtld", "--as", f"name{n}", "--json") for n in range(5)]
    made = documents(at_once(words, printed))
    hashes = {one["score_sets"][0]["content_hash"] for one in made}
    assert len(hashes) == 1
    [status] = curate("status", "--json").json["score_sets"]
    assert sorted(status["aliases"]) == [f"name{n}" for n in range(5)]
    assert (status["n_examples"], status["content_hash"]) == (26, hashes.pop())


def test_one_alias_at_once_is_written_down_once(
    curate: Any, pool_file: Path, printed: Path
) -> None:
    assert curate("ingest", pool_file).code == 0
    documents(at_once([("score", "--scorer", "mtld", "--as", "mine", "--json")] * 3, printed))
    [status] = curate("status", "--json").json["score_sets"]
    assert (status["alias"], status["aliases"]) == ("mine", ["mine"])


def test_of_two_runs_into_one_folder_the_second_is_refused(
    curate: Any, pool_file: Path, tiny_model: Path, printed: Path
) -> None:
    words = (
        "train", "--data", str(pool_file), "-m", str(tiny_model), "-o", "run", "--epochs", "2",
        "--device", "cpu", "--json",
    )  # fmt: skip
    ran = at_once([words, words], printed)
    done, refused = sorted(ran, key=lambda one: one[0] or 0)
    if refused[0] == 0:
        assert json.loads(done[1])["run_id"] == json.loads(refused[1])["run_id"]
    else:
        place = Path("run").resolve()
        assert (done[0], refused[0]) == (0, 2)
        assert refused[2].endswith(
            f"ConfigError: another process trains into {place}; wait until it is done, or give another "
            "--output\n"
        )
    assert curate(*words).code == 0
    assert not list(Path().glob(".run*"))


def test_a_decision_to_forget_is_carried_out_once_by_whoever_finds_it(
    curate: Any, pool_file: Path, printed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curate.store.upkeep import forget

    assert curate("ingest", pool_file).code == 0
    assert curate("score", "--scorer", "mtld").code == 0
    with monkeypatch.context() as patch:  # as by a kill right after the decision was written
        patch.setattr(forget, "_carry_out", lambda *_: None)
        assert curate("forget", "--where", "n_chars < 15", "--yes").code == 0
    left = documents(at_once([("status", "--json")] * 3, printed))
    assert len({one["n_examples"] for one in left}) == 1
    assert left[0]["n_examples"] < 26
    findings = curate("doctor", "--deep", "--json").json["findings"]
    assert [one for one in findings if one["level"] != "ok"] == []
    assert curate("score", "--scorer", "mtld", "--json").json["score_sets"][0]["n_scored"] == 0
