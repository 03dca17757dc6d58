"""What this machine is: its processor, and the memory that a new process may take."""

from functools import cache
from pathlib import Path
from typing import Final

_CPUINFO: Final = Path("/proc/cpuinfo")
_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP: Final = Path("/sys/fs/cgroup")
_HAVE: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # of x86, and of Arm
_ABOUT: Final = (
    "vendor_id", "cpu family", "model", "model name", "stepping", "flags", "Features",
    "CPU implementer", "CPU part", "CPU variant",
)  # fmt: skip


def has_bfloat16() -> bool:
    """Return whether the processor multiplies in bfloat16; False where Linux does not say so."""
    said = _said_of_processor()
    return any(_HAVE.intersection(said.get(name, "").split()) for name in ("flags", "Features"))


def processor() -> dict[str, str]:
    """Return what tells the kind of this processor from others, as Linux says it; else nothing."""
    return {name: text for name, text in _said_of_processor().items() if name in _ABOUT}


def free_bytes() -> int | None:
    """Return the memory that is free for new processes, within a container's limit; None if nothing says so."""
    free = _available()
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if limit is None or used is None:
        return free
    within = max(0, limit - used)
    return within if free is None else min(free, within)


def _available() -> int | None:
    for line in _text(_MEMINFO).splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None  # "max" where there is no limit


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@cache
def _said_of_processor() -> dict[str, str]:
    """Return what Linux says of the first processor; nothing elsewhere."""
    first = _text(_CPUINFO).split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
