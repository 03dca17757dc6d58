"""What bash and zsh are offered after a beginning."""

import os
import subprocess
import sys

import pytest

import curate
from curate.cli.app import main
from curate.cli.completion import completion_of


@pytest.fixture
def bash(monkeypatch, capsys, tmp_path):
    """Return what bash is offered for the last word of a line."""
    monkeypatch.chdir(tmp_path)

    def offered(line: str) -> list[str]:
        words = line.split(" ")
        monkeypatch.setenv("_CURATE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().out.split()

    return offered


@pytest.fixture
def scored(tmp_path):
    """Return a store in the working folder with one scored pool and a named selection."""
    pool = curate.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest([{"prompt": f"Say {n}.", "response": f"It is {n}."} for n in range(4)])
    pool.score("text_stats")
    pool.select("random", budget=2, name="first-try")
    return pool


def test_bash_is_offered_names_of_methods_and_scorers(bash):
    assert bash("curate select --method gr") == ["grape"]
    assert bash("curate score --scorer likelihood,ifd,mt") == ["likelihood,ifd,mtld"]
    assert {"kmq.init=", "kmq.temperature="} <= set(bash("curate select --set kmq."))
    assert "kmq." in bash("curate select --set km")
    assert bash("curate select --method div") == ["diverse"]
    assert "diverse.init=" in bash("curate select --set diverse.")
    assert bash("curate methods diver") == ["diverse"]
    assert bash("curate methods near_d") == ["near_duplicate"]
    assert bash("curate export x --trainer llama") == ["llama-factory"]
    assert bash("curate train --objective df") == ["dft"]


def test_bash_is_offered_what_the_store_has(bash, scored):
    assert {"first-try", "latest", "latest:random"} <= set(bash("curate export --selection "))
    assert bash("curate export --selection first") == ["first-try"]
    assert bash("curate select --rank text_stats.refus") == ["text_stats.refusals"]
    assert bash("curate select --where text_stats.words>3&text_stats.refus") == [
        "text_stats.words>3&text_stats.refusals"
    ]


def test_nothing_is_offered_where_there_is_no_store(bash):
    assert bash("curate export --selection fir") == []
    assert bash("curate select --rank text") == []


def test_zsh_is_offered_the_same(monkeypatch, capsys):
    monkeypatch.setenv("_CURATE_COMPLETE", "complete_zsh")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "curate select --method gr")
    with pytest.raises(SystemExit):
        main()
    assert "grape" in capsys.readouterr().out


def test_a_path_is_left_to_the_shell():
    assert completion_of("ingest", "data") is None


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/bin/bash"), reason="there is no bash here")
def test_a_real_bash_completes_by_the_script_that_is_installed(tmp_path):
    command = tmp_path / "curate"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m curate "$@"\n')
    command.chmod(0o755)
    script = """
        source <(_CURATE_COMPLETE=source_bash curate)
        complete -p curate
        COMP_WORDS=(curate select --method div) COMP_CWORD=3
        _curate_completion curate
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["/bin/bash", "--norc", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "complete -o default -F _curate_completion curate", "diverse"
    ]  # fmt: skip
