"""The examples that come with `curate` run as they are, from an empty folder."""

import json
from pathlib import Path

import pytest

from curate.demo.examples import FOLDER, examples

ROOT = Path(__file__).resolve().parents[3]


def test_three_examples_are_listed_with_what_they_show(curate) -> None:
    assert list(examples()) == ["best-responses", "proof", "two-rounds"]
    listed = curate("run", "--list-examples")
    assert listed.code == 0
    assert all(name in listed.out for name in examples())
    assert curate("run", "--list-examples", "--json").json == examples()


def test_jobs_has_the_files_of_the_package() -> None:
    assert (ROOT / "jobs" / "recipes").resolve() == FOLDER.resolve()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["best-responses", "two-rounds", "proof"])
def test_an_example_runs_from_an_empty_folder(curate, name: str) -> None:
    assert list(Path().iterdir()) == []
    ran = curate("run", "--example", name, "--json")
    assert ran.code == 0, ran.err
    commands = [step["step"].split()[0] for step in ran.json["steps"]]
    if name == "best-responses":
        assert commands == ["ingest", "score", "score", "select", "export"]
        first = json.loads(Path("demo/best.jsonl").read_text().splitlines()[0])
        assert first["curate_rank"] == 1
    elif name == "two-rounds":
        _, _, first, warm, scored, second, _, export, _ = ran.json["steps"]
        assert warm["outcome"]["steps"] == 20
        assert scored["score_sets"][0]["n_scored"] > 0  # by the model of the round before
        assert second["n_selected"] == export["n_rows"] != first["n_selected"]
        assert Path("demo/report.html").is_file()
    else:
        proof = json.loads(Path("demo/proof.json").read_text())
        assert set(proof["methods"]) == {"random", "grape", "longest"}
        assert Path("demo/proof.html").is_file()


def test_an_example_is_written_to_a_file_to_change(curate) -> None:
    wrote = curate("run", "--example", "proof", "-o", "mine.yaml")
    assert (wrote.code, wrote.out) == (
        0, "wrote mine.yaml; change it, then: curate run mine.yaml\n",
    )  # fmt: skip
    assert Path("mine.yaml").read_text() == (FOLDER / "proof.yaml").read_text()
    resolved = curate("run", "mine.yaml", "--set", "prove.seeds=7", "--dry-run", "--json").json
    assert (resolved["prove"]["seeds"], resolved["prove"]["max_tokens"]) == (7, 4000)
    assert [path.name for path in Path().iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--example", "prof"), "no example 'prof'; did you mean 'proof'; examples are: best-resp"),
        ((), "give either a RECIPE or --example NAME; see curate run --list-examples"),
        (("r.yaml", "--example", "proof"), "give either a RECIPE or --example NAME"),
        (("r.yaml", "-o", "x.yaml"), "-o writes an example to a file; give it with --example NAME"),
        (("--example", "proof", "-o", "there"), "'there' exists; give -o another name"),
        (("--example", "proof", "-o", "no/x"), "cannot write 'no/x': No such file or directory"),
    ],
)  # fmt: skip
def test_a_wrong_request_says_what_would_be_right(curate, words, error: str) -> None:
    Path("there").write_text("")
    ran = curate("run", *words)
    assert ran.code == 2
    assert error in ran.err
