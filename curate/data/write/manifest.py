"""The manifest beside every exported subset: everything needed to reproduce and check it."""

import json
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from curate.contracts.libraries import versions_of
from curate.errors import DataError

FORMAT_VERSION: Final = 1
_PACKAGES: Final = (
    "curate-sft", "torch", "transformers", "tokenizers", "datasets", "numpy", "duckdb", "pyarrow",
)  # fmt: skip
_TEXT_OR_NONE: Final = (str, type(None))
_SPEC: Final = {
    "key": {"scorer": str, "config": {}, "dtype?": _TEXT_OR_NONE},
    "run": {
        "model?": _TEXT_OR_NONE, "adapter?": _TEXT_OR_NONE, "revision?": _TEXT_OR_NONE,
        "batch_tokens?": (int, type(None)), "inputs?": {},
    },
}  # fmt: skip
_OUTPUT: Final = {
    "name": str, "sha256": str, "container?": str, "to?": str, "order?": str, "annotate?": bool,
    "keep_duplicates?": bool, "lossy?": bool, "shard_rows?": (int, type(None)),
    "trainer?": _TEXT_OR_NONE, "validation?": _TEXT_OR_NONE, "seed?": int,
}  # fmt: skip
_SHAPE: Final[Mapping[str, Any]] = {
    "store": str, "method": str, "made_by?": str, "config": {}, "budget": _TEXT_OR_NONE, "seed": int,
    "where": _TEXT_OR_NONE, "include": [str], "exclude": [str], "quota": {"*": str},
    "mix?": {"*": str}, "quota_of?": str,
    "within": _TEXT_OR_NONE, "without?": [str], "datasets": [str],
    "score_sets": {"*": {"set_id": str, "content_hash": str}}, "specs": {"*": _SPEC},
    "inputs": [{"dataset_id": str, "name": str, "content_hash": str}], "output": _OUTPUT,
    "selection_id": str, "selections?": [str], "versions": {},
    "revise?": {"verdicts": str, "above": (float, int), "limit?": (int, type(None))},
}  # fmt: skip
_BITS: Final = 63  # of a whole number in the store, beside its sign
_KINDS: Final[Mapping[type, str]] = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null",
}  # fmt: skip


def library_versions() -> dict[str, str]:
    """Return the versions that affect scores and files, including Python's; absent packages are left out."""
    return {"python": platform.python_version(), **versions_of(_PACKAGES)}


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
    from curate.store.parts import TMP_MARK, owner

    path = manifest_path(output)
    text = json.dumps(
        {"manifest_version": FORMAT_VERSION, **document}, indent=2, ensure_ascii=False
    )
    temporary = path.with_name(f".{path.name}{TMP_MARK}{owner()}")
    try:
        temporary.write_text(text + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
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
    except RecursionError as error:
        raise DataError(
            f"manifest {str(path)!r} is nested too deeply to be one of curate; "
            "give the *.manifest.json beside an export"
        ) from error
    manifest_version = document.get("manifest_version") if isinstance(document, dict) else None
    if not isinstance(manifest_version, int) or not any(key in document for key in _SHAPE):
        raise DataError(
            f"{str(path)!r} is not a manifest of curate; give the *.manifest.json beside an export"
        )
    if manifest_version > FORMAT_VERSION:
        raise DataError(
            f"manifest {str(path)!r} has version {manifest_version}, but this version of curate "
            f"reads up to {FORMAT_VERSION}; upgrade it: pip install -U curate-sft"
        )
    problem = _misfit(document, _SHAPE, "") or _misnamed(document["output"]["name"])
    if problem:
        raise DataError(
            f"manifest {str(path)!r} is damaged or was edited: {problem}; "
            "give the *.manifest.json as the export wrote it, or export again"
        )
    return dict(document)


def _misfit(value: Any, shape: Any, place: str) -> str:
    """Return in words the first place where a value is not as a manifest has it, or ""."""
    if isinstance(shape, Mapping):
        if not isinstance(value, dict):
            return f"{place} is not a mapping"
        return next(filter(None, _misfits(value, shape, place)), "")
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{place} is not a list"
        return next(
            filter(None, (_misfit(v, shape[0], f"{place}[{i}]") for i, v in enumerate(value))), ""
        )
    kinds = shape if isinstance(shape, tuple) else (shape,)
    if type(value) is int and value.bit_length() > _BITS:
        return f"{place} has {value.bit_length()} bits, and the store keeps 63"
    if type(value) is int and value < 0 and place.rpartition(".")[2] == "seed":
        return f"{place} is {value}, but no seed is negative"
    if type(value) in kinds:
        return ""
    return f"{place} is not {' or '.join(_KINDS[kind] for kind in kinds)}"


def _misfits(value: Mapping[str, Any], shape: Mapping[str, Any], place: str) -> Iterator[str]:
    for key, inner in shape.items():
        name = key.removesuffix("?")
        if name == "*":
            yield from (_misfit(v, inner, f"{place}.{k}") for k, v in value.items())
        elif name in value:
            yield _misfit(value[name], inner, f"{place}.{name}".lstrip("."))
        elif name == key:
            yield f"{place}.{name} is missing".lstrip(".")


def _misnamed(name: str) -> str:
    """Return what is wrong with the name of an output, which must lead to no other folder."""
    if name in ("", ".", "..") or "/" in name or "\0" in name or os.sep in name:
        return f"output.name {name!r} is not the bare name of a file or folder"
    return ""
