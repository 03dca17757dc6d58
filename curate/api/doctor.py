"""What `curate doctor` checks: this installation, and one store."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, get_args

from curate import registry
from curate.contracts.display import counted
from curate.data.write.manifest import library_versions
from curate.errors import CurateError

LOW_DISK_GIB: Final = 5.0


def diagnose(path: Path, *, deep: bool = False) -> list[dict[str, str]]:
    """Return findings, each with ``level`` (ok, warning, error), ``what``, ``found`` and ``advice``."""
    return [*_packages(), *_devices(), *_registry(), _disk(path), *_store(path, deep)]


def rebuild_store(path: Path) -> dict[str, Any]:
    """Rebuild the DuckDB file from the parts beside it; the old file is kept as ``.old``."""
    from curate.store.upkeep.rebuild import rebuild

    return rebuild(path)


def _finding(level: str, what: str, found: str, advice: str = "") -> dict[str, str]:
    return {"level": level, "what": what, "found": found, "advice": advice}


def _packages() -> list[dict[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    findings = [_finding("ok", "versions", versions)]
    for package, advice in (
        ("faiss", "for k-means methods: pip install 'curate-sft[cpu]' (or [gpu])"),
        ("sentence_transformers", "for encoder embeddings: pip install 'curate-sft[encoder]'"),
    ):
        present = find_spec(package) is not None
        findings.append(
            _finding("ok" if present else "warning", package, "installed" if present else "missing",
                     "" if present else advice)
        )  # fmt: skip
    return findings


def _devices() -> list[dict[str, str]]:
    import torch

    if not torch.cuda.is_available():
        return [
            _finding("ok", "device", f"cpu ({torch.get_num_threads()} threads), no CUDA device")
        ]
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [_finding("ok", "device", ", ".join(names))]


def _registry() -> list[dict[str, str]]:
    try:
        counts = ", ".join(
            counted(len(registry.names(kind)), kind, "policies" if kind == "policy" else None)
            for kind in get_args(registry.Kind)
        )
    except CurateError as error:
        return [_finding("error", "methods", str(error), "repair or remove that package")]
    return [_finding("ok", "methods", counts)]


def _disk(path: Path) -> dict[str, str]:
    folder = path.resolve().parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    low = free < LOW_DISK_GIB
    return _finding(
        "warning" if low else "ok", "disk", f"{free:,.1f} GiB free at {folder}",
        "parts and vectors may not fit; see curate score --dry-run" if low else "",
    )  # fmt: skip


def _store(path: Path, deep: bool) -> list[dict[str, str]]:
    from curate.store import Store

    if not path.exists():
        return [
            _finding(
                "ok", "store", f"no store at {path} yet", "run curate ingest DATA to create one"
            )
        ]
    try:
        findings = Store(path, create=False).check(deep=deep)
    except CurateError as error:
        return [_finding("error", "store", str(error))]
    return [_finding(f.level, f.check, f.message, f.action) for f in findings]
