"""`curate gather`: what it prints, and that a kill midway changes nothing of what is gathered."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from forked import forked_curate


def test_what_came_of_each_model_is_printed(curate, pool_file: Path, tiny_model: Path) -> None:
    curate("ingest", pool_file)
    asked = ("gather", tiny_model, "-k", "2", "--max-new-tokens", "4", "--limit", "3")
    planned = curate(*asked, "--dry-run").out
    assert planned == f"{tiny_model}: would be asked 3 of 3 prompts, 24 tokens to write at most\n"
    done = curate(*asked, "--verifier", "exact")
    assert done.code == 0, done.err
    assert done.out.startswith(f"{tiny_model}: asked 3 prompts, 6 samples (6 wrong); added ")
    assert "2 samples of 3 prompts" in done.err
    again = curate(*asked, "--verifier", "exact")
    assert again.out == f"{tiny_model}: had answered all of 3 prompts\n"
    unread = curate(*asked, "--verifier", "boxed", "--reference", "row.none", "--seed", "1")
    assert unread.code == 3 and "6 samples (6 not checked)" in unread.out
    document = curate(*asked, "--json").json["models"][0]
    assert document["n_asked"] == 3 and document["verdicts"] is None
    shown = curate("explain", _gathered(Path("curate.duckdb")))
    assert f"gathered from {tiny_model}: sample " in shown.out
    assert "temperature 1, seed 0, template chat, to the prompt of " in shown.out


def _gathered(path: Path) -> str:
    from curate.store import Store

    found = Store(path, create=False).read(
        "select id from examples where starts_with(source, 'gathered') order by id limit 1"
    )
    return str(found["id"][0].as_py())


@pytest.mark.slow  # three processes
@pytest.mark.timeout(900)
def test_after_a_kill_the_same_command_gathers_the_same_bytes(tmp_path, tiny_model: Path) -> None:
    from curate.data.read.ingest import ingest
    from curate.store import Store

    rows = [{"prompt": f"what is {n}?", "response": f"{n}"} for n in range(300)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def gathered(name: str, kill: bool) -> list[bytes]:
        folder = tmp_path / name
        folder.mkdir()
        store = folder / "curate.duckdb"
        ingest(Store(store), str(tmp_path / "rows.jsonl"))
        words = [
            "gather", str(tiny_model), "-k", "2", "--max-new-tokens", "4", "--verifier", "number",
            "--workers", "2" if kill else "1", "--store", str(store), "--quiet",
        ]  # fmt: skip
        if kill:
            job = forked_curate(words, folder)
            while not list((folder / "curate.parts" / "scores").glob("*/*-0*.parquet")):
                assert job.poll() is None, job.communicate()
                time.sleep(0.002)
            os.killpg(job.pid, signal.SIGKILL)
            job.communicate(timeout=60)
        job = forked_curate(words, folder)
        _, err = job.communicate(timeout=600)
        assert job.returncode == 0, err
        return [
            path.read_bytes() for path in (folder / "curate.parts" / "gathered").glob("*.jsonl")
        ]

    assert gathered("killed", True) == gathered("unbroken", False) != []
