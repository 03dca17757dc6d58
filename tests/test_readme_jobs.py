"""The eight jobs of the README run as printed, on files with columns of their owner's."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from toured import BLOCK, README, run_block

JOBS = README.split("<!-- jobs:begin -->")[1].split("<!-- jobs:end -->")[0]
LEAKED = "one two three four five six seven eight nine ten red blue green count"


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def own(tmp_path: Path, tiny_model: Path) -> Path:
    """A folder with everything the jobs name: 300 rows, 4 of them copies, 2 leaked."""
    rows: list[dict[str, object]] = [
        {
            "question": f"Name colour {i} of {i % 17}.", "answer": f"colour {i * 7 % 291}",
            "category": ("math", "code", "chat")[i % 3],
        }
        for i in range(294)
    ]  # fmt: skip
    rows += [{**row, "answer": f"{row['answer']}."} for row in rows[:4]]
    rows += [{"question": f"{n}?", "answer": LEAKED, "category": "leak"} for n in range(2)]
    _write(tmp_path / "own.jsonl", rows)
    _write(
        tmp_path / "answers.jsonl",
        [{"question": f"Say {i}.", "responses": [f"{i}", f"no {i}", "red"]} for i in range(12)],
    )
    _write(tmp_path / "benchmark.jsonl", [{"q": "short", "a": "b"}, {"q": LEAKED, "a": "b"}])
    _write(tmp_path / "wanted.jsonl", rows[17:67])
    for name in ("gsm8k", "dolly", "chat"):
        _write(
            tmp_path / f"{name}.jsonl",
            [{"question": f"{name} {i}?", "answer": f"{i}", "of": name} for i in range(60)],
        )
    model = shutil.copytree(tiny_model, tmp_path / "model")
    for name, field in (
        ("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")
    ):  # fmt: skip
        facts = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps({**facts, field: 512}))  # a template needs room
    return tmp_path


@pytest.mark.slow
def test_the_eight_jobs_run_as_printed(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = BLOCK.findall(JOBS)
    assert sum(text.count("# ") for kind, text in blocks if kind == "bash") == 8
    printed = ""
    for kind, text in blocks:
        capsys.readouterr()
        run_block(kind, text, own)
        if kind == "python":
            printed = capsys.readouterr().out
    assert len(_read(own / "best.jsonl")) == 30
    one_of_n = _read(own / "one-of-n.jsonl")
    assert len(one_of_n) == len({str(row["question"]) for row in one_of_n}) == 12
    assert len(_read(own / "diverse.jsonl")) == 200
    wrong = _read(own / "likely-wrong.jsonl")
    assert len(wrong) == 15
    assert all(str(row["curate_reason"]).startswith("ifd.ratio_loss = ") for row in wrong)
    gains = [float(str(row["curate_gain"])) for row in wrong]
    assert gains == sorted(gains, reverse=True)
    rows = _read(own / "own.jsonl")
    assert 0 < len(rows) - len(_read(own / "distinct.jsonl")) < 150
    clean = _read(own / "clean.jsonl")
    assert len(clean) == 298
    assert not any(row["category"] == "leak" for row in clean)
    assert all(row in rows for row in clean), "rows are written as they were"
    assert len(_read(own / "like-wanted.jsonl")) == 30
    mixed = Counter(str(row["of"]) for row in _read(own / "mixed.jsonl"))
    assert mixed == {"gsm8k": 50, "dolly": 30, "chat": 20}
    assert "benchmark.jsonl" in printed
    assert "shape: (2, 4)" in printed
