"""What starts a job elsewhere parses, says nothing that the command line refuses, and is in the docs."""

import json
import re
import runpy
import subprocess
from pathlib import Path

import polars as pl
import pytest
import yaml

from curate.api.commands.option import options_of
from curate.api.commands.score import ScoreCommand
from curate.scoring.slices import Slice

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "jobs" / "launch"
FILES = sorted(path.name for path in FOLDER.iterdir() if path.is_file())


GENERAL = {"--store"}


@pytest.mark.parametrize("name", FILES)
def test_a_launch_file_is_in_the_docs_and_names_options_there_are(name: str) -> None:
    assert f"jobs/launch/{name}" in (ROOT / "docs" / "many-machines.md").read_text()
    text = (FOLDER / name).read_text()
    known = GENERAL | {option.flag for option in options_of(ScoreCommand)}
    for command in re.findall(r"curate score((?:.|\\\n)*?)(?:\n|$)", text.replace("\\\n", " ")):
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", command)) <= known, command
    if name.endswith(".sh"):
        subprocess.run(["bash", "-n", FOLDER / name], check=True)


def test_sky_nodes_take_a_slice_each() -> None:
    task = yaml.safe_load((FOLDER / "skypilot.yaml").read_text())
    assert set(task) == {"name", "num_nodes", "resources", "volumes", "envs", "setup", "run"}
    found = []
    for rank in range(task["num_nodes"]):
        given = {"SKYPILOT_NODE_RANK": str(rank), "SKYPILOT_NUM_NODES": str(task["num_nodes"])}
        script = task["run"].replace("curate score", "printf '%s\\n'", 1)
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, check=True,
            env={**task["envs"], **given, "SKYPILOT_NUM_GPUS_PER_NODE": "1"},
        )  # fmt: skip
        found.append(Slice.parse(ran.stdout.split()[-1]))
    assert found == [Slice(1, 2), Slice(2, 2)]


def test_a_job_on_the_hub_leaves_a_table_that_can_be_imported(tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {n}.", "response": f"{n} " * (n + 1)} for n in range(4)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    score = runpy.run_path(str(FOLDER / "hf_job.py"))["score"]
    [table] = score(str(tmp_path / "rows.jsonl"), ["mtld"], None, tmp_path)
    assert table.name == "mtld.parquet"
    found = pl.read_parquet(table)
    assert (found.height, found.columns[0], "mtld" in found.columns[1]) == (4, "id", True)
