"""The documentation site: it builds, its links lead somewhere, its commands and code are real."""

import ast
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import curate
from curate import errors, registry
from curate.api.commands.option import by_word
from curate.api.pool import Pool
from curate.api.selection import StoredSelection
from curate.cli.app import COMMANDS, _parser
from curate.store import Store
from curate.store.expressions import FUNCTIONS, parse
from curate.store.query.viewing import EXAMPLE_KINDS
from curate.train.config import SEAMS, LoraConfig, TrainConfig

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NAMES = [path.relative_to(DOCS).as_posix() for path in PAGES]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
TABLES = ("examples", "rows", "score_sets", "failures", "selections", "selection_rows", "revisions",
          "trials", "trial_evals", "targets", "shard_runs", "vectors")  # fmt: skip


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every command line of `curate` in a block that is not of another language."""
    for language, block in FENCE.findall(text):
        if language not in ("", "bash"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("curate "):
                yield shlex.split(line, comments=True)[1:]


def parsed(words: list[str]) -> dict[str, Any]:
    """Return what the real parser makes of a command line; it raises for what does not exist."""
    command = _parser().commands[words[0]]
    found: dict[str, Any] = command.make_context(words[0], list(words[1:])).params
    return found


def settings_of(given: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the owner and the field of every ``--set owner.field=value`` of a command."""
    for setting in given.get("settings") or ():
        owner, dot, field = setting.partition("=")[0].partition(".")
        if dot:
            yield owner, field


def fields_of(owner: str) -> set[str]:
    """Return the fields of a scorer, method or way to train, of training settings, or of a recipe's step."""
    groups = {"lora": LoraConfig, **{entry.name: entry.type for entry in fields(TrainConfig)}}
    if owner in groups:
        return {entry.name for entry in fields(groups[owner])}
    found = set(by_word(COMMANDS[owner], "recipe")) if owner in COMMANDS else set()
    for kind in ("scorer", "method", *SEAMS):
        if owner in registry.names(kind):
            found |= {entry.name for entry in fields(registry.get(kind, owner))}
    return found


def named_by(given: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the scorers and methods that a parsed command names, with their kind."""
    for scorer in (given.get("scorers") or "").split(","):
        if scorer and isinstance(given["scorers"], str):
            yield "scorer", scorer.strip()
    for key in ("method", "methods"):
        for method in re.split(r"[|,]", given.get(key) or ""):
            if method.strip():
                yield "method", re.split(r"[:(]", method.strip())[0].strip()


@pytest.mark.parametrize("name", [*NAMES, "../README.md"])
def test_every_command_line_is_one_the_parser_takes(name: str) -> None:
    for words in commands(read(name)):
        given = parsed(words)
        for kind, called in named_by(given):
            registry.get_method(called) if kind == "method" else registry.get_scorer(called)
        for expression in filter(None, (given.get("where"), given.get("rank"))):
            parse(expression, registry.names("scorer"))
        for owner, field in settings_of(given):
            assert field in fields_of(owner), f"{owner} has no field {field!r}: {words}"


def test_commands_that_are_wrong_are_found() -> None:
    for wrong in ("select --methode ifd", "select --seed many", "train --set x.y=1"):
        with pytest.raises(Exception, match=r"No such option|a valid integer|Missing parameter"):
            parsed(shlex.split(wrong))
    assert "methode" not in fields_of("kmq") and "k" in fields_of("kmq")
    assert list(named_by({"methods": "kmq,perplexity:which=high"})) == [
        ("method", "kmq"), ("method", "perplexity"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_python_compiles_and_calls_what_there_is(name: str) -> None:
    known = {"cu": curate, "pool": Pool, "chosen": StoredSelection}
    for language, block in FENCE.findall(read(name)):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(block)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id in known):
                continue
            called = getattr(known[node.func.value.id], node.func.attr)
            given: list[Any] = list(node.args)
            if node.func.value.id != "cu":
                given.insert(0, None)
            named = {str(word.arg): word.value for word in node.keywords}
            inspect.signature(called).bind(*given, **named)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as the site makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    plain = [re.sub(r"[`*]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading)) for heading in plain}


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_file_and_a_heading(name: str) -> None:
    text = read(name)
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (DOCS / name).parent / path if path else DOCS / name
        assert target.exists(), f"{name} links to {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{name} links to {link}"


@pytest.mark.parametrize("name", NAMES)
def test_no_page_names_a_machine_or_is_without_a_heading(name: str) -> None:
    text = read(name)
    assert re.search(r"^# \S", text, re.MULTILINE)
    assert not re.findall(
        r"(?<![\w.])/(?:work|root|home|tmp|opt|mnt)/|localhost:\d|\.internal\b", text
    )


def test_every_method_has_a_page_and_there_is_no_other() -> None:
    pages = {path.stem for path in (DOCS / "methods").glob("*.md")} - {"index"}
    assert pages == set(registry.names("method"))


@pytest.mark.parametrize("name", registry.names("method"))
def test_a_method_page_says_what_it_does_costs_and_whether_it_won(name: str) -> None:
    text = read(f"methods/{name}.md")
    about = registry.describe(registry.get_method(name))
    for heading in ("Evidence", "Cost and needs", "Settings"):
        assert f"\n## {heading}\n" in text
    assert all(f"| `{field.name}` |" in text for field in about.fields)
    assert ("Experimental" in text) == bool(about.experimental)
    verdicts = [
        result["methods"][name]["verdict"]
        for path in sorted((ROOT / "reports").glob("proof-*.json"))
        for result in json.loads(path.read_text(encoding="utf-8"))["results"]
        if name in result["methods"] and name != "random"
    ]
    assert text.count("| **worse** |") == verdicts.count("worse")
    assert text.count("| **better** |") == verdicts.count("better")


@pytest.mark.parametrize("name", registry.names("scorer"))
def test_every_column_of_every_scorer_is_on_its_page(name: str) -> None:
    text = read("scorers.md")
    assert f"\n## {name}\n" in text
    assert all(f"| `{name}.{column}` |" in text for column in registry.get_scorer(name).outputs)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("site") / "a.duckdb", create=True)


@pytest.mark.parametrize("relation", TABLES)
def test_the_documented_columns_are_those_of_the_store(store: Store, relation: str) -> None:
    [row] = re.findall(rf"^\| `{relation}` \| (.*) \|$", read("expressions.md"), re.MULTILINE)
    columns = store.query(f"describe {relation}")["column_name"].to_pylist()
    assert re.findall(r"`(\w+)`", row) == columns


def test_every_function_and_column_of_an_expression_is_listed() -> None:
    text = read("expressions.md").split("## Tables")[0]
    rows = "\n".join(re.findall(r"^\| (?:functions|either|columns).*$", text, re.MULTILINE))
    assert {name.partition("(")[0] for name in re.findall(r"`([a-z_0-9]+[^`]*)`", rows)} == {
        *FUNCTIONS, *EXAMPLE_KINDS, "messages", "prompt", "response",
    }  # fmt: skip


def test_the_exit_codes_are_those_of_the_errors() -> None:
    codes = set(re.findall(r"^\| (\d+) \|", read("troubleshooting.md"), re.MULTILINE))
    raised = {
        str(cls.exit_code)
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.CurateError)
    }
    assert codes == raised | {"0"}


@pytest.mark.parametrize(
    "words",
    [
        "is held by", "and was not released within", "memory ran out on", "while training",
        "finished shards are kept", "batches are halved until they fit", "saved steps are kept",
        "needs more memory than DuckDB may take", "is not a local folder, is not in the local cache",
        "the hub cannot be reached", "has no locks", "from schema",
    ],
)  # fmt: skip
def test_the_messages_of_troubleshooting_are_those_users_meet(words: str) -> None:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "curate").rglob("*.py"))
    assert any(words in re.sub(r'"\s*f?"', "", source) for source in sources)
    assert words in read("troubleshooting.md")


def test_every_command_is_shown_somewhere() -> None:
    shown = {words[0] for name in NAMES for words in commands(read(name))}
    shown |= {word for name in NAMES for word in re.findall(r"`curate (\w+)", read(name))}
    assert set(COMMANDS) <= shown


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    page = (tmp_path / "methods" / "kmq.html").read_text(encoding="utf-8")
    assert 'href="../reports/proof-demo.html"' in page
    fetched = re.findall(r'(?:src|rel="stylesheet" href)="(https?://[^"]+)', page)
    assert fetched == [], "a reader's browser fetches nothing from elsewhere"
