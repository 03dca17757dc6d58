"""A process killed at any step leaves the old state or the new one, and the same command finishes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = r'''
import hashlib, json, os, shutil, signal, sys
from pathlib import Path

sys.path.insert(0, sys.argv[3])
import pyarrow as pa
import conftest
from curate.store import Store, schema

base, action = Path(sys.argv[1]), sys.argv[2]
pools = conftest.PoolMaker()
pa.set_cpu_count(1)


def forked(function, *args):
    pid = os.fork()
    if pid == 0:
        try:
            function(*args)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(3)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def prepare(folder):
    store = Store(folder / "curate.duckdb")
    pools.ingest(store, "a", range(90))
    if action != "ingest":
        pools.score(store, "embedding", vector=True)


def act(folder):
    store = Store(folder / "curate.duckdb")
    if action == "ingest":
        if conftest.hex_id("b") not in [known.content_hash for known in store.datasets()]:
            pools.ingest(store, "b", range(60, 120))
    else:
        store.forget("n_chars < 30")


def act_and_die(folder, step):
    count = 0

    def wrapped(function):
        def call(*args, **kwargs):
            nonlocal count
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            return function(*args, **kwargs)
        return call

    os.fsync = lambda descriptor: None  # what a crash of the machine needs, a killed process does not
    for module, name in ((os, "replace"), (shutil, "rmtree"), (schema, "refresh_views")):
        setattr(module, name, wrapped(getattr(module, name)))
    act(folder)


def look(folder, out):
    """Write the state: pool hash, counts, and the bytes of every kept part."""
    store = Store(folder / "curate.duckdb")
    files = {}
    for name in ("rows", "raw", "examples", "skipped"):
        for path in sorted((store.parts / name).rglob("*.parquet")):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            files[str(path.relative_to(store.parts))] = digest
    out.write_text(json.dumps({
        "pool": store.pool_hash(),
        "n": [store.n_examples(), store.read("select count(*) as n from rows")["n"][0].as_py(),
              store.read("select count(*) as n from examples")["n"][0].as_py()],
        "hashes": [s.content_hash for s in store.score_sets()],
        "problems": [f.message for f in store.check() if f.level == "error"],
        "files": files,
    }))


def look_act_look(folder):
    look(folder, base / "before.json")
    act(folder)
    look(folder, base / "after.json")


forked(prepare, base / "start")
shutil.copytree(base / "start", base / "whole")
forked(look, base / "whole", base / "old.json")
assert forked(act, base / "whole") == 0
assert forked(look, base / "whole", base / "new.json") == 0
old, new = (json.loads((base / f"{n}.json").read_text()) for n in ("old", "new"))
step, broken = 0, []
while True:
    folder = base / "killed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base / "start", folder)
    status = forked(act_and_die, folder, step)
    if status == 0:
        break
    assert status == signal.SIGKILL, status
    assert forked(look_act_look, folder) == 0
    seen = json.loads((base / "before.json").read_text())
    if [seen["pool"], seen["n"], seen["problems"]] not in (
        [old["pool"], old["n"], []], [new["pool"], new["n"], []]
    ):
        broken.append([step, "after the kill", seen["n"], seen["problems"]])
    seen = json.loads((base / "after.json").read_text())
    if seen != new:
        broken.append([step, "after running again", seen["n"], seen["hashes"], new["hashes"]])
    step += 1
print(json.dumps({"steps": step, "broken": broken}))
'''


@pytest.mark.parametrize("action", ["ingest", "forget"])
def test_killed_at_every_step_and_run_again(tmp_path: Path, action: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), action, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["broken"] == []
    assert result["steps"] >= 8
