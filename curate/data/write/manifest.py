"""The manifest beside every exported subset: everything needed to reproduce and check it."""

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from curate.errors import DataError

FORMAT_VERSION: Final = 1
_PACKAGES: Final = (
    "curate-sft", "torch", "transformers", "tokenizers", "datasets", "numpy", "duckdb", "pyarrow",
)  # fmt: skip
_REQUIRED: Final = (
    "store", "method", "config", "budget", "seed", "where", "include", "exclude", "quota", "within",
    "datasets", "score_sets", "specs", "inputs", "output", "selection_id", "versions",
)  # fmt: skip


def library_versions() -> dict[str, str]:
    """Return the versions that affect scores and files, including Python's; absent packages are left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def manifest_path(output: Path) -> Path:
    """Return where the manifest of an export goes: beside a file, inside a folder."""
    if output.is_dir():
        return output / "manifest.json"
    return output.with_name(f"{output.name}.manifest.json")


def exported_path(manifest: Path, document: Mapping[str, Any]) -> Path:
    """Return the export a manifest belongs to: the file beside it, or the folder around it."""
    if document["output"].get("container") == "folder":
        return manifest.resolve().parent
    return manifest.parent / str(document["output"]["name"])


def write_manifest(output: Path, document: Mapping[str, Any]) -> Path:
    """Write a manifest beside an export, atomically; return its path."""
    path = manifest_path(output)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps(
        {"manifest_version": FORMAT_VERSION, **document}, indent=2, ensure_ascii=False
    )
    temporary.write_text(text + "\n", encoding="utf-8")
    os.replace(temporary, path)
    return path


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest; raise `DataError` if it is missing, not one of ours or from a newer version."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"cannot read manifest {str(path)!r}: {error.strerror}; "
            "give the *.manifest.json beside an export"
        ) from error
    except ValueError as error:
        raise DataError(
            f"manifest {str(path)!r} is not valid JSON: {error}; "
            "give the *.manifest.json beside an export"
        ) from error
    found = document.get("manifest_version") if isinstance(document, dict) else None
    if not isinstance(found, int) or not set(_REQUIRED) <= set(document):
        raise DataError(
            f"{str(path)!r} is not a manifest of curate; give the *.manifest.json beside an export"
        )
    if found > FORMAT_VERSION:
        raise DataError(
            f"manifest {str(path)!r} has version {found}, but this version of curate reads up to "
            f"{FORMAT_VERSION}; upgrade it: pip install -U curate-sft"
        )
    return dict(document)
