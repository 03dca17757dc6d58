import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curate.errors import ConfigError, ExampleFailure, ScoreError
from curate.scorers.verifiers import confined, python_tests
from curate.scorers.verifiers.load import VerifierSettings
from curate.scorers.verifiers.python_tests import program

TESTS = "assert f(1) == 2\nassert f(-1) == 0"
RIGHT = "def f(x): return x + 1"


def check(code, tests=TESTS, limit_s=1.0, memory_mib=2_048):
    return (
        VerifierSettings("python", limit_s=limit_s, memory_mib=memory_mib).load().check(code, tests)
    )


def test_a_program_is_right_where_its_tests_pass():
    assert check(f"Like this:\n```python\n{RIGHT}\n```\nDone.").outcome == "right"
    assert check(RIGHT, '["assert f(1) == 2", "assert f(2) == 3"]').outcome == "right"
    assert check("def f(x): return x").why == "AssertionError"
    assert check("def f(x) return").why == "SyntaxError"
    assert check("").why == "no program"


MISDEEDS = {
    "fork": "import os\nos.fork()",
    "threads": "import threading\nthreading.Thread(target=print).start()",
    "programs": "import subprocess\nsubprocess.run(['ls'])",
    "sockets": "import socket\nsocket.socket()",
    "kill": "import os\nos.kill(os.getppid(), 9)",
    "reads stdin": "input()",
    "chmod": "import os\nos.chmod('{victim}', 0o600)",
    "remove": "import os\nos.remove('{victim}')",
    "overwrite": "open('{victim}', 'w')",
    "truncate": "import os\nos.truncate('{victim}', 0)",
    "write beside": "open('{victim}.new', 'w')",
    "rename": "import os\nos.rename('{victim}', '{victim}.new')",
    "large file": "open('large', 'wb').write(bytes(2**22))",
    "raise limits": "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (900, 900))",
    "leaves": "import sys\nsys.exit(0)",
    "leaves at once": "import os\nos._exit(0)",
}


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_what_a_program_must_not_do_fails_it_and_changes_nothing(misdeed, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    victim.chmod(0o644)
    code = MISDEEDS[misdeed].replace("{victim}", str(victim))
    assert check(f"{code}\n{RIGHT}").outcome == "wrong"
    assert os.listdir(tmp_path) == ["victim"]
    assert victim.read_text() == "mine"
    assert victim.stat().st_mode & 0o777 == 0o644


CALLS = """
import ctypes, fcntl, os, struct
libc, pipe, refused = ctypes.CDLL(None, use_errno=True), os.pipe()[0], []

def attempt(call, *arguments):
    ctypes.set_errno(0)
    try:
        failed = call(*arguments) == -1 and ctypes.get_errno() == 1
    except PermissionError:
        failed = True
    refused.append(failed)

own = {pid}
"""
REFUSED = {
    "signals of files": """
attempt(fcntl.fcntl, pipe, 8, own)
attempt(fcntl.fcntl, pipe, 10, 9)
attempt(fcntl.fcntl, pipe, 15, struct.pack("ii", 1, own))
attempt(fcntl.ioctl, pipe, 0x8901, struct.pack("i", own))
attempt(fcntl.ioctl, pipe, 0x8902, struct.pack("i", own))""",
    "priorities": """
attempt(os.setpriority, 0, own, 5)
attempt(os.sched_setaffinity, own, [0])
attempt(os.sched_setscheduler, own, os.SCHED_BATCH, os.sched_param(0))
attempt(os.sched_setparam, own, os.sched_param(0))""",
    "shared memory": """
attempt(libc.shmget, 0, 4096, 0o1600)
attempt(libc.shmat, 0, None, 0)
attempt(libc.semget, 0, 1, 0o1600)
attempt(libc.msgget, 0, 0o1600)
attempt(libc.mq_open, b"/curate-test", 0o102, 0o600, None)""",
    "to outlive its parent": """
attempt(libc.prctl, 1, 0, 0, 0, 0)""",
}


@pytest.mark.parametrize("what", REFUSED)
def test_calls_that_reach_others_are_refused(what):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        code = CALLS.replace("{pid}", str(other.pid)) + REFUSED[what]
        verdict = check(code, "assert len(refused) and all(refused), refused", 5.0)
        alive = other.poll() is None
        other.kill()
    assert alive
    assert (verdict.outcome, verdict.why) == ("right", "")


def test_fcntl_and_ioctl_that_harm_nobody_are_allowed():
    code = "import fcntl, os\nend = os.pipe()[0]\nfcntl.fcntl(end, fcntl.F_SETFL, os.O_NONBLOCK)"
    assert (
        check(code, "assert not os.get_blocking(end)\nfcntl.ioctl(end, 0x541B, bytes(4))").why == ""
    )


def test_what_is_left_to_be_done_at_exit_is_not_done():
    assert check(f"import atexit, os\natexit.register(os._exit, 1)\n{RIGHT}").outcome == "right"


def test_a_program_may_write_files_of_its_own_and_print():
    code = f"open('mine', 'w').write('x')\nfor _ in range(99): print('x' * 2**20)\n{RIGHT}"
    assert check(code, f"{TESTS}\nassert open('mine').read() == 'x'", 4.0).outcome == "right"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def f(x): return bytearray(2**33)", "memory"),
        ("import os\nos.abort()", "crash"),
        ("import ctypes\nctypes.string_at(0)", "crash"),
    ],
)
def test_want_of_memory_and_crashes_are_undecided(code, why):
    assert check(code).text == f"undecided: {why}"


@pytest.mark.slow  # it computes for its whole second
def test_an_endless_program_is_undecided():
    assert check("while True: pass").text == "undecided: time"


def test_a_program_that_waits_is_ended(monkeypatch):
    monkeypatch.setattr(python_tests, "WAITING", 0.2)
    began = time.monotonic()
    assert check("import time\ntime.sleep(60)").text == "undecided: time"
    assert time.monotonic() - began < 5


def test_folders_of_programs_are_removed(monkeypatch, tmp_path):
    monkeypatch.setattr(python_tests.tempfile, "tempdir", str(tmp_path))
    assert check(f"open('mine', 'w').write('x')\n{RIGHT}").outcome == "right"
    assert os.listdir(tmp_path) == []


def replace_in_script(monkeypatch, tmp_path, old, new):
    text = Path(confined.__file__).read_text()
    assert text.count(old) == 1
    lame = tmp_path / "lame.py"
    lame.write_text(text.replace(old, new))
    monkeypatch.setattr(confined, "__file__", str(lame))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("if abi < 1:", "if True:", "the kernel has no Landlock"),
        ("if abi < _LEAST_LANDLOCK:", "if 2 < _LEAST_LANDLOCK:", "lets files be emptied"),
    ],
)
def test_no_program_runs_where_it_cannot_be_confined(monkeypatch, tmp_path, old, new, why):
    replace_in_script(monkeypatch, tmp_path, old, new)
    with pytest.raises(ConfigError, match=f"cannot be confined here .*{why}.*Linux 6.2 or later"):
        check(RIGHT)


def test_a_checker_that_cannot_start_is_no_wrong_answer(monkeypatch, tmp_path):
    replace_in_script(
        monkeypatch, tmp_path, "    random.seed(0)\n", "    raise OSError('no room')\n"
    )
    with pytest.raises(
        ScoreError, match="does not start .status 1.: .*OSError: no room; free memory"
    ):
        check(RIGHT)


def test_a_program_cannot_say_that_it_is_unconfined():
    code = """
import gc, os
job = next(d for d in gc.get_objects() if isinstance(d, dict) and "token" in d and "cpu_s" in d)
for place in range(3, 64):
    try:
        os.write(place, (job["token"] + " unconfined by me\\n").encode())
    except OSError:
        continue
os._exit(0)
"""
    assert check(code).outcome == "wrong"
    assert check("import os\nfor place in range(3, 9):\n    try: os.write(place, b'x right\\n')"
                 "\n    except OSError: pass\nos._exit(0)").outcome == "wrong"  # fmt: skip


def test_a_lower_limit_of_the_machine_stays():
    code = "import os\nopened = []\ntry:\n  while True: opened += os.pipe()\nexcept OSError: pass"
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
        "from curate.scorers.verifiers.python_tests import PythonVerifier\n"
        f"print(PythonVerifier(1.0, 2048).check({code!r}, 'assert len(opened) < 40'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "outcome='right'" in done.stdout, done.stderr


def test_a_program_holds_no_capability_and_cannot_read_its_parent():
    code = """
import os
held = [line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapEff", "CapPrm"))]
try:
    read = open(f"/proc/{os.getppid()}/environ", "rb").read()
except PermissionError:
    read = None
"""
    verdict = check(code, "assert held == ['0' * 16] * 2, held\nassert read is None")
    assert (verdict.outcome, verdict.why) == ("right", "")


def test_an_example_without_tests_cannot_be_checked():
    with pytest.raises(ExampleFailure, match="no_reference"):
        VerifierSettings("python").load().accept(" ")


def test_tests_that_are_nested_too_deep_for_json_are_wrong():
    assert check(RIGHT, "[" * 100_000).outcome != "right"


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("```bash\nls\n```\nThen:\n```python\nx = 1\n```\n", "x = 1\n"),
        ("```python\na = 1\n```\nSays\n```text\nbye\n```\n```py\nb = 2\n```\n", "a = 1\nb = 2\n"),
        ("```Python\r\nx = 1\r\n```\r\n", "x = 1\r\n"),
        ("Cut off:\n```python\nx = 1\ny =", "x = 1\ny ="),
        ("```\nx = 1\n```\n", "x = 1\n"),
        ("````python\ns = '```'\n```\n````\n", "s = '```'\n```\n"),
        ("```bash\nls\n```\n", ""),
        ("x = 1", "x = 1"),
    ],
)
def test_the_program_of_an_answer(answer: str, wanted: str) -> None:
    assert program(answer) == wanted
