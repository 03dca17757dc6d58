"""Runs a program that a model wrote, and its tests, where it can do no harm. Started as a script.

The process gives up what the program must not have, before it reads the program: new processes and
threads, sockets, signals to others, changes of files outside one folder, and more than its share of
memory and processor time. Linux alone has what is needed (Landlock of Linux 6.2 and seccomp); where it
is missing nothing runs. Only the standard library, so that it starts in no time.
"""

import ctypes
import json
import os
import platform
import random
import resource
import signal
import struct
import sys
from typing import Any, Final

MAX_FILE_BYTES: Final = 1 << 20
MAX_OPEN_FILES: Final = 64

# What must not be called, by machine: processes and programs; sockets and io_uring, which opens some;
# signals to others; limits; other namespaces and processes; modes, owners and times of files; what
# outlives the process (priorities, memory, queues and semaphores shared with others, keys); what only
# root can do (the clock, names, mounts, modules of the kernel); and the timer that ends it.
_FORBIDDEN: Final = {
    "x86_64": (
        0xC000003E,
        (
            56, 57, 58, 59, 435, 322, 41, 53, 425, 426, 427, 62, 200, 234, 129, 297, 424, 434, 438, 109,
            112, 160, 302, 272, 308, 101, 310, 311, 312, 321, 298, 323, 248, 249, 250, 90, 91, 268, 452,
            92, 93, 94, 260, 132, 235, 261, 280, 188, 189, 190, 197, 198, 199, 463, 466, 469, 76, 133,
            259, 141, 142, 144, 203, 314, 251, 29, 30, 31, 64, 65, 66, 220, 68, 69, 70, 71, 240, 241, 242,
            243, 244, 245, 169, 170, 171, 164, 227, 159, 305, 175, 176, 313, 246, 320, 165, 166, 155, 161,
            428, 429, 430, 431, 432, 433, 442, 467, 167, 168, 163, 179, 443, 256, 279, 440, 448, 300, 304,
            103, 153, 172, 173, 126, 223, 226,
        ),
    ),
    "aarch64": (
        0xC00000B7,
        (
            220, 221, 435, 281, 198, 199, 425, 426, 427, 129, 130, 131, 138, 240, 424, 434, 438, 154, 157,
            164, 261, 97, 268, 117, 270, 271, 272, 280, 241, 282, 217, 218, 219, 52, 53, 452, 55, 54, 88,
            5, 6, 7, 14, 15, 16, 463, 466, 469, 45, 33, 140, 118, 119, 122, 274, 30, 194, 195, 196, 190,
            191, 192, 193, 186, 187, 188, 189, 180, 181, 182, 183, 184, 185, 142, 161, 162, 170, 112, 171,
            266, 105, 106, 273, 104, 294, 40, 39, 41, 51, 428, 429, 430, 431, 432, 433, 442, 467, 224, 225,
            89, 60, 443, 238, 239, 440, 448, 262, 265, 116, 58, 91, 110, 111,
        ),
    ),
}  # fmt: skip
# What must not be asked of fcntl, ioctl and prctl: who is signalled when a file is ready (F_SETOWN,
# F_SETSIG, F_SETOWN_EX, FIOSETOWN, SIOCSPGRP), which kills any process of the user; to take a terminal
# and type into it (TIOCSCTTY, TIOCSTI, TIOCLINUX); to outlive the parent (PR_SET_PDEATHSIG).
_FORBIDDEN_ARGUMENTS: Final = {
    "x86_64": ((72, 1, (8, 10, 15)), (16, 1, (0x8901, 0x8902, 0x540E, 0x5412, 0x541C)), (157, 0, (1,))),
    "aarch64": ((25, 1, (8, 10, 15)), (29, 1, (0x8901, 0x8902, 0x540E, 0x5412, 0x541C)), (167, 0, (1,))),
}  # fmt: skip
_X32: Final = 0x40000000  # numbers from here on are the same calls by another name
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000  # refuse: EPERM
_SET_DEATH_SIGNAL, _SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 1, 38, 22, 2
_DROP_FROM_BOUNDS, _CAPABILITIES_VERSION = 24, 0x20080522
_LEAST_LANDLOCK: Final = 3  # of Linux 6.2, the first that can refuse to empty a file
_TIMER_CALLS: Final = {"x86_64": (222, 223), "aarch64": (107, 110)}  # create, start
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF, _PATH_BENEATH = 444, 445, 446, 1

_WRITE, _REMOVE, _MAKE, _TRUNCATE = 1 << 1, 1 << 5, 1 << 8, 1 << 14
_EVERY_CHANGE: Final = _WRITE | sum(1 << bit for bit in range(4, 13))
_REFER: Final = 1 << 13


class CannotConfineError(Exception):
    """The machine lacks what keeps a program from doing harm."""


def confine(folder: str, cpu_s: int, time_s: float, memory_bytes: int) -> None:
    """Give up everything a program must not have, for good; raise `CannotConfineError` if it cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    for limit, wanted, at_most in (
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 1),
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES, MAX_FILE_BYTES),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES, MAX_OPEN_FILES),
        (resource.RLIMIT_NPROC, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        allowed = at_most if hard == resource.RLIM_INFINITY else min(at_most, hard)
        resource.setrlimit(limit, (min(wanted, allowed), allowed))
    if libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise CannotConfineError("no_new_privs is refused")
    _drop_capabilities(libc)
    _protect_files(libc, folder)
    _end_in(libc, time_s)
    _forbid_calls(libc)


def _drop_capabilities(libc: Any) -> None:
    """Give up what makes root more than a user, such as reading the environment of other processes."""
    for capability in range(
        64
    ):  # refused without the capability to do it: then nothing is left to drop
        libc.prctl(_DROP_FROM_BOUNDS, capability, 0, 0, 0)
    none = struct.pack("6I", *[0] * 6)  # effective, permitted, inheritable, each in two halves
    if libc.capset(struct.pack("Ii", _CAPABILITIES_VERSION, 0), none):
        raise CannotConfineError("capabilities cannot be dropped")


def _end_in(libc: Any, time_s: float) -> None:
    """Have the kernel end this process after a time, whatever becomes of its parent."""
    create, start = _TIMER_CALLS.get(platform.machine(), (0, 0))
    timer = ctypes.c_int()
    event = struct.pack("Qii48x", 0, signal.SIGKILL, 0)
    length = struct.pack("qqqq", 0, 0, int(time_s), int(time_s % 1 * 1e9) + 1)
    if not create or libc.syscall(create, 1, event, ctypes.byref(timer)):
        raise CannotConfineError("no timer can be made")
    if libc.syscall(start, timer.value, 0, length, None):
        raise CannotConfineError("no timer can be started")


def _protect_files(libc: Any, folder: str) -> None:
    """Allow files to be changed in one folder alone (Landlock)."""
    abi = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if abi < 1:
        raise CannotConfineError("the kernel has no Landlock")
    if abi < _LEAST_LANDLOCK:
        raise CannotConfineError("the Landlock of this kernel lets files be emptied")
    handled = _EVERY_CHANGE | _REFER | _TRUNCATE
    rules = libc.syscall(_CREATE_RULESET, struct.pack("Q", handled), 8, 0)
    if rules < 0:
        raise CannotConfineError("Landlock is refused")
    for path, allowed in ((folder, _WRITE | _REMOVE | _MAKE | _TRUNCATE), ("/dev/null", _WRITE)):
        place = os.open(path, os.O_PATH)
        rule = struct.pack("=Qi", allowed & handled, place)
        if libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0):
            raise CannotConfineError(f"Landlock takes no rule for {path}")
        os.close(place)
    if libc.syscall(_RESTRICT_SELF, rules, 0):
        raise CannotConfineError("Landlock is refused")
    os.close(rules)


def _forbid_calls(libc: Any) -> None:
    """Refuse calls of the kernel with EPERM (seccomp)."""
    if platform.machine() not in _FORBIDDEN:
        raise CannotConfineError(f"no list of calls for {platform.machine()}")
    machine, numbers = _FORBIDDEN[platform.machine()]
    refuse = "refuse"  # the place of the last step
    steps: list[tuple[int, int | str, int, int]] = [
        (_LOAD, 0, 0, 4), (_EQUAL, 1, 0, machine), (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0), (_AT_LEAST, refuse, 0, _X32),
    ]  # fmt: skip
    steps += [(_EQUAL, refuse, 0, number) for number in numbers]
    for number, argument, values in _FORBIDDEN_ARGUMENTS[platform.machine()]:
        steps += [(_EQUAL, 0, len(values) + 2, number), (_LOAD, 0, 0, 16 + 8 * argument)]
        steps += [(_EQUAL, refuse, 0, value) for value in values]
        steps += [(_RETURN, 0, 0, _ALLOW)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    code = ctypes.create_string_buffer(
        b"".join(
            struct.pack(
                "HBBI", what, len(steps) - 2 - place if then == refuse else then, other, value
            )
            for place, (what, then, other, value) in enumerate(steps)
        )
    )
    program = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code))
    if libc.prctl(_SET_SECCOMP, _FILTER, program, 0, 0):
        raise CannotConfineError("seccomp is refused")


def run(code: str, tests: str) -> str:
    """Run a program and then its tests in the same names; return the outcome in words."""
    names: dict[str, Any] = {"__name__": "answer"}
    try:
        exec(compile(code, "answer.py", "exec"), names)  # noqa: S102 - confined by now
        exec(compile(tests, "tests.py", "exec"), names)  # noqa: S102
    except MemoryError:
        return "memory"
    except BaseException as error:  # noqa: BLE001 - it may raise anything, or leave
        return f"wrong {type(error).__name__}"
    return "right"


def main() -> None:
    """Read a job, confine this process and say so, run the job, say what came of it and end at once."""
    job_end, verdict_end = map(int, sys.argv[1:])
    with os.fdopen(job_end, "rb") as pipe:
        job = json.load(pipe)
    random.seed(0)
    sys.setrecursionlimit(5_000)
    os.chdir(job["folder"])

    def say(text: str) -> None:
        os.write(verdict_end, f"{job['token']} {text}\n".encode(errors="replace"))

    try:
        confine(job["folder"], job["cpu_s"], job["time_s"], job["memory_mib"] * 2**20)
    except CannotConfineError as error:
        say(f"unconfined {error}")
        os._exit(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)  # until now it tells why no program can be run
    os.close(nowhere)
    say("confined")
    say(run(job["code"], job["tests"]))
    os._exit(0)  # without what the program left to be done at exit


if __name__ == "__main__":
    main()
