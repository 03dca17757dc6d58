"""The rest of the attack list: bombs, recipes, names, SQL, places, secrets, the page, servers, terminals."""

import bz2
import gzip
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import curate as cu
from curate.api.recipe import load_recipe
from curate.api.reproduce import reproduce
from curate.cli import main
from curate.contracts.display import printable
from curate.contracts.progress import SilentProgress
from curate.data.read import records
from curate.data.write.portable import Portable
from curate.errors import ConfigError, CurateError, DataError
from curate.models.generation.addresses import check_address

CONTROL = ("../x", "a/b", "a'b", 'a"b', "a\nb", "a\x1b[2Jb", "a\0b", "..", "x" * 300, "a\ud800", "")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("users-very-own-place")
    rows = [{"prompt": f"Say {i}.", "response": "so" * i + "."} for i in range(1, 7)]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = cu.open(folder / "curate.duckdb", create=True)
    made.ingest(str(folder / "pool.jsonl"))
    return made


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [b"a", b"[", b'{"a":', b'"'])
@pytest.mark.parametrize("ending", [".jsonl.gz", ".json.gz", ".csv.gz", ".jsonl.zst"])
def test_a_bomb_is_refused_by_the_length_of_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: bytes, ending: str
) -> None:
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 1 << 20)
    content = unit * ((4 << 20) // len(unit))
    packed = (
        gzip.compress(content)
        if ending.endswith("gz")
        else pa.Codec("zstd").compress(content, asbytes=True)
    )
    path = tmp_path / f"bomb{ending}"
    path.write_bytes(packed)
    with pytest.raises(DataError) as caught:
        cu.open(tmp_path / "s.duckdb", create=True).ingest(str(path))
    assert "longer than 1 MiB, the most one record may have" in str(caught.value)


def test_compression_that_is_not_read_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl.bz2"
    path.write_bytes(bz2.compress(b'{"prompt": "a", "response": "b"}\n'))
    with pytest.raises(DataError, match=r"unknown file type '.jsonl.bz2'; write .jsonl, .json"):
        cu.open(tmp_path / "s.duckdb", create=True).ingest(str(path))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"prompt": ' + "9" * 5_000 + ', "response": "a"}', "4300 digits"),
        ('{"prompt": ' + "[" * 100_000, "nested too deeply"),
        ('{"prompt": "\\ud800", "response": "a"}', "half of a surrogate pair"),
        ('{"messages": NaN}', "does not fit any known format"),
    ],
)
def test_what_json_can_write_and_no_example_can_hold_is_named(
    tmp_path: Path, row: str, said: str
) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text(row + "\n")
    with pytest.raises(DataError, match=said):
        cu.open(tmp_path / "s.duckdb", create=True).ingest(str(path))


# Recipes ------------------------------------------------------------------------------------------


def recipe(tmp_path: Path, text: str) -> str:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, {})
    said = str(caught.value)
    assert said.startswith(f"recipe {str(path)!r} ") and len(said) < 700
    return said


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    first = "demo:\n  a0: &a0 [" + "x, " * 9 + "x]\n"
    lists = [f"  a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)]
    assert "has more than 1,000,000 values once its aliases are followed" in recipe(
        tmp_path, first + "".join(lists) + "select: {where: *a9}\n"
    )
    merged = [f"  a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 10)]
    assert "has more than 1,000,000 values" in recipe(
        tmp_path, "demo:\n  a0: &a0 {k: 1}\n" + "".join(merged)
    )
    assert "or one that holds itself" in recipe(tmp_path, "select: &a {where: *a}\n")


def test_values_that_yaml_cannot_read_are_one_error(tmp_path: Path) -> None:
    assert "has a value that cannot be read: month must be in 1..12; quote it" in recipe(
        tmp_path, "store: 2026-13-45\n"
    )
    assert "has a value that cannot be read" in recipe(tmp_path, "store: " + "9" * 5_000)
    assert "is nested too deeply to be read" in recipe(tmp_path, "[" * 50_000)
    assert "is not valid YAML" in recipe(tmp_path, "!!python/object/apply:os.system ['touch ran']")


# Names --------------------------------------------------------------------------------------------


def test_names_that_lead_elsewhere_or_command_a_terminal_are_refused(pool: Any) -> None:
    for name in CONTROL:
        with pytest.raises(ConfigError, match="is no name for a selection"):
            pool.select(rank="n_chars", budget=2, name=name)
        with pytest.raises(ConfigError, match="is no name for a score set"):
            pool.score("text-stats", alias=name)
        with pytest.raises(ConfigError, match="cannot name a folder|at most 100|say which target"):
            pool.target.add(name, str(pool.store.path.parent / "pool.jsonl"))


@pytest.mark.parametrize("name", ["a\0b", "a\ud800", "x" * 300])
def test_outputs_and_stores_that_no_file_can_be_called_are_refused(
    pool: Any, tmp_path: Path, name: str
) -> None:
    words = "is no path: it has a character|is too long"
    with pytest.raises(ConfigError, match=words):
        pool.select(rank="n_chars", budget=2).export(f"{tmp_path}/{name}.jsonl")
    with pytest.raises(ConfigError, match=words):
        cu.open(f"{tmp_path}/{name}.duckdb", create=True)


# SQL ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    ["with t as (delete from internal.examples returning id) select count(*) from t",
     "with t as (insert into internal.examples select * from internal.examples returning id) select * from t",
     "from 'x.csv'", "from read_csv('x.csv')", "select * from read_text('/etc/passwd')", "from glob('/etc/*')",
     "from query('select * from read_text(''/etc/passwd'')')", "from query_table('x.csv')", "from sniff_csv('x')",
     "from 'https://example.com/a.csv'", "select getenv('HOME')", "from duckdb_secrets()", "load httpfs",
     "install httpfs", "attach '/tmp/a.db' as a", "export database 'out'", "copy (select 1) to 'o.csv'",
     "set enable_external_access = true", "pragma database_list", "call pragma_version()", "force checkpoint",
     "from force_checkpoint()", "from enable_logging(storage='file', storage_path='logs')", "from enable_profiling()",
     "prepare p as delete from internal.examples", "execute p", "select 1; delete from internal.examples",
     "explain analyze select 1", "explain /* a */ (analyze) select 1", "create temp table t as select 1",
     "update extensions", "vacuum", "begin", "commit", "use memory", "select '\ud800'", "\0", "", ";"],
)  # fmt: skip
def test_sql_that_does_more_than_read_the_store_is_refused(pool: Any, query: str) -> None:
    with pytest.raises(ConfigError):
        pool.sql(query)


def test_nothing_was_changed_by_any_of_it(pool: Any) -> None:
    assert pool.sql("select count(*) from examples").item() == 6
    assert pool.sql("/* a */ select 1 -- ; delete\n").item() == 1


# Places and secrets -------------------------------------------------------------------------------


def test_no_artefact_tells_where_it_was_made_nor_a_secret(
    pool: Any, roomy_model: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Everything that is handed on, made in a folder with a name of its own."""
    secret = "hf_aVerySecretWord"
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "CURATE_SERVER_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, secret)
    home = pool.store.path.parent
    model = home / "model"
    model.symlink_to(roomy_model)
    out = home / "out"
    out.mkdir()
    pool.score("likelihood", model=str(model), workers=1)
    chosen = pool.select(rank="likelihood.mean_logp", budget=3)
    chosen.export(out / "subset.jsonl")
    for trainer in ("trl", "axolotl", "llama-factory"):
        chosen.export(out / trainer, trainer=trainer)
    pool.train(selection=chosen, model=str(model), output=str(out / "run"), epochs=1)
    pool.report(out / "report.html")
    steps = home / "r.yaml"
    steps.write_text(
        f"store: {pool.store.path}\nselect: {{rank: n_chars, budget: 2}}\nexport: {{output: {out}/r.jsonl}}\n"
    )
    monkeypatch.setattr("sys.argv", ["curate", "run", str(steps)])
    with pytest.raises(SystemExit):
        main()
    made = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".safetensors"]
    made += pool.store.parts.glob("logs/*")
    assert {"record.json", "report.html", "README.md", "axolotl.yaml"} <= {p.name for p in made}
    assert any(path.name.startswith("shards-") for path in made)
    for path in made:
        text = path.read_bytes()
        for place in (home.name, str(home.parent), str(Path.cwd()), sys.prefix):
            assert place.encode() not in text, f"{path} tells of {place}"
        assert secret.encode() not in text
    for path in pool.store.parts.rglob("*.json"):
        assert secret.encode() not in path.read_bytes()
    captured = capsys.readouterr()
    assert secret not in captured.out + captured.err
    manifest = json.loads((out / "subset.jsonl.manifest.json").read_text())
    assert manifest["store"] == "../curate.duckdb"
    assert [dataset["name"] for dataset in manifest["inputs"]] == ["pool.jsonl"]
    [spec] = manifest["specs"].values()
    assert not os.path.isabs(spec["run"]["model"])
    monkeypatch.chdir("/")
    for rescore in (False, True):
        said = reproduce(
            out / "subset.jsonl.manifest.json", store=None, output=None, rescore=rescore, workers=1,
            progress=SilentProgress(),
        )  # fmt: skip
        assert said["identical"], said["differences"]


def test_a_login_given_to_a_background_job_is_kept_nowhere(pool: Any) -> None:
    with pytest.raises(ConfigError, match="parts holds an address with a user name, a password or"):
        pool.start("score", scorer="mtld", parts="s3://ada:hunter2@bucket/a")
    assert pool.jobs() == []
    for path in pool.store.path.parent.rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes()


def test_manifests_of_earlier_versions_with_absolute_paths_are_read(
    pool: Any, tmp_path: Path
) -> None:
    out = tmp_path / "old.jsonl"
    pool.select(rank="n_chars", budget=2).export(out)
    place = tmp_path / "old.jsonl.manifest.json"
    manifest = json.loads(place.read_text())
    manifest["store"] = str(pool.store.path)
    manifest["inputs"][0]["name"] = str(pool.store.path.parent / "pool.jsonl")
    place.write_text(json.dumps(manifest))
    said = reproduce(
        place, store=None, output=None, rescore=False, workers=None, progress=SilentProgress()
    )
    assert said["identical"]


def test_a_path_is_relative_where_both_are_at_home_and_a_bare_name_elsewhere() -> None:
    portable = Portable(Path("/home/ada/pools/out"), [Path("/home/ada/pools")])
    assert portable.value({"a": ["/home/ada/pools/m", "/srv/models/q"], "b": 1}) == {
        "a": ["../m", "q"], "b": 1,
    }  # fmt: skip
    assert portable.text("read /home/ada/pools/pool.jsonl again") == "read pool.jsonl again"
    assert portable.text("a / b") == "a / b" and portable.text("/") == "/"


def test_no_error_repeats_a_login() -> None:
    said = str(CurateError("no file 'https://ada:hunter2@example.com/a'; s3://key:secret@b/c"))
    assert said == "no file 'https://***@example.com/a'; s3://***@b/c"
    assert str(CurateError("a@b.c, http://b/@c")) == "a@b.c, http://b/@c"


# The page -----------------------------------------------------------------------------------------


@pytest.fixture
def page(pool: Any) -> Any:
    from starlette.testclient import TestClient

    from curate.views.explore.server import application
    from curate.views.explore.session import Session

    made = application(Session(pool.store, "ada"), "token")
    headers = {"authorization": "Bearer token"}
    return TestClient(made, base_url="http://127.0.0.1:8000", headers=headers)


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/assets/app.js", "/%2e%2e/curate.duckdb", "/app.js%00",
     "//etc/passwd", "/api/../app.py", "/api/" + "a" * 5_000, "/.env"],
)  # fmt: skip
def test_paths_lead_to_nothing_but_the_files_of_the_page(page: Any, path: str) -> None:
    assert page.get(path).status_code in (400, 404)


def test_bodies_and_questions_of_any_size_are_refused_in_words(page: Any) -> None:
    assert page.post("/api/mark", content=b"[" * 90_000).status_code == 415
    kind = {"content-type": "application/json"}
    assert page.post("/api/mark", content=b"[" * 1_000_000, headers=kind).status_code in (400, 413)
    assert page.post("/api/mark", content=b"[" * 90_000, headers=kind).status_code == 400
    for where in ("(" * 20_000, "a" * 30_000, "'\ud800'", "1 = 1; drop table x", "\0"):
        answer = page.get("/api/points", params={"where": where.encode("utf-8", "replace")})
        assert answer.status_code in (400, 404), (where[:10], answer.status_code)


def test_fifty_clients_at_once_are_answered_alike(page: Any) -> None:
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda _: page.get("/api/pool"), range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1


# Addresses the prompts of a pool are sent to ------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["134744072", "0x08080808", "010.010.010.010", "8.526344", "0x8.8.8.8", "8.8.8.8",
     "[::ffff:8.8.8.8]", "[::ffff:808:808]", "[64:ff9b::808:808]", "[2002:808:808::]",
     "[2001:4860:4860::8888]", "\uff11\uff13\uff14\uff17\uff14\uff14\uff10\uff17\uff12", "evil\u3002com",
     "example.com", "8.8.8.8."],
)  # fmt: skip
def test_an_address_elsewhere_is_refused_in_any_notation(host: str) -> None:
    with pytest.raises(ConfigError, match="is not on this machine or its private network"):
        check_address("samples.server", f"http://{host}:8000/v1", "m")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "2130706433", "0x7f000001", "127.1", "10.0.0.7", "192.168.1.2", "[::1]",
     "[::ffff:127.0.0.1]", "[fe80::1]", "[fd00::1]", "localhost", "gpu-box", "node.lan"],
)  # fmt: skip
def test_an_address_of_this_network_is_taken(host: str) -> None:
    check_address("samples.server", f"http://{host}:8000/v1", "m")


@pytest.mark.parametrize("url", ["http://[::1", "http://[zz]:8000/v1", "http://a:99999/v1", "//a"])
def test_an_address_that_is_none_is_one_clear_error(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_address("samples.server", url, "m")
    assert str(caught.value) == (
        f"samples.server={url!r} is not an address; give one such as http://127.0.0.1:8000/v1"
    )


# Terminals ----------------------------------------------------------------------------------------


def test_what_commands_a_terminal_is_spelt_out() -> None:
    hostile = "\x1b[2J\x1b]0;title\x07\r\x9b31m\x7f\u202etxt.exe\u2066\ud800"
    shown = printable(f"a\n\tb{hostile}é→")
    assert shown == (
        "a\n\tb\\u001b[2J\\u001b]0;title\\u0007\\u000d\\u009b31m\\u007f\\u202etxt.exe\\u2066\\ud800é→"
    )
    assert json.loads(printable(json.dumps({"a": hostile}, ensure_ascii=False))) == {"a": hostile}


def test_escapes_of_a_data_set_reach_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b]0;owned\x07\x9b2J"
    path, store = tmp_path / f"{evil}.jsonl", tmp_path / "curate.duckdb"
    rows = [{"id": f"one{evil}", "prompt": f"Say{evil}", "response": f"so{evil}", "source": evil}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    commands: list[tuple[str, ...]] = [
        ("ingest", str(path)), ("status",), ("explain", f"one{evil}"), ("explain", f"none{evil}"),
        ("explain", f"one{evil}", "--json"), ("ingest", f"gone{evil}.jsonl"),
    ]  # fmt: skip
    for command in commands:
        monkeypatch.setattr(sys, "argv", ["curate", *command, "--store", str(store)])
        with pytest.raises(SystemExit):
            main()
        captured = capsys.readouterr()
        said = captured.out + captured.err
        assert not {"\x1b", "\x07", "\x9b"} & set(said)
        spelt = said.replace("\\x1b", "\\u001b")  # as a message quotes what was typed
        assert "\\u001b]0;owned" in spelt or command[0] == "status"  # a table folds long names
