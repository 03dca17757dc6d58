"""Model folders on disk: whether they are complete, what they contain, and a hash of what determines scores."""

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from curate.errors import ModelError

_TOKENIZER_FILES: Final = (
    "tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt", "merges.txt",
    "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
_ADAPTER: Final = "adapter_config.json"  # as peft writes it
_PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_HUB_PATTERNS: Final = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


def find_folder(name: str, revision: str | None) -> tuple[Path, str | None]:
    """Return the local folder of a model and, for one from the hub, its resolved commit.

    A folder is used as it is; anything else is looked up on the Hugging Face hub or in its cache.
    Raises `ModelError` with the model's name and what to type if it is in neither.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.resolve(), None
    if folder.exists():
        raise ModelError(f"model {name!r} is a file; give the folder that contains config.json")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(
            f"model folder {name!r} does not exist (looked at {folder.absolute()}); "
            "give a folder with config.json, or a Hugging Face id such as org/name"
        )
    return _from_hub(name, revision)


def _from_hub(name: str, revision: str | None) -> tuple[Path, str | None]:
    from huggingface_hub import constants, errors, snapshot_download

    wanted = f"{name}@{revision}" if revision else name
    try:
        path = Path(snapshot_download(name, revision=revision, allow_patterns=list(_HUB_PATTERNS)))
    except errors.HFValidationError as error:
        raise ModelError(
            f"model {name!r} is neither a folder nor a Hugging Face id; write org/name or a path"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise ModelError(
            f"model {wanted!r} is not a local folder, is not in the local cache, and {why}; "
            f"on a machine with network type: hf download {name}, or pass a folder"
        ) from error
    except errors.GatedRepoError as error:
        raise ModelError(
            f"model {wanted!r} is gated; accept its terms on huggingface.co/{name}, "
            "then type: hf auth login"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ModelError(
            f"model {wanted!r} is neither a local folder nor on the Hugging Face hub; "
            "check the spelling, or for a private model type: hf auth login"
        ) from error
    except errors.HfHubHTTPError as error:
        raise ModelError(f"model {wanted!r} cannot be read from the hub: {error}") from error
    return path, path.name


def check_causal_folder(name: str, folder: Path) -> None:
    """Raise `ModelError` unless a folder has a configuration, a tokenizer and safetensors weights."""
    check_tokenizer(name, folder)
    if weight_files(folder):
        return
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ModelError(
            f"model {name!r} has only pickled weights ({pickles[0]}), which can run code when they "
            "are read; save it with save_pretrained(..., safe_serialization=True) and pass that folder"
        )
    raise ModelError(
        f"model {name!r} has no weights: no *.safetensors in {folder}; "
        "save them with model.save_pretrained(folder)"
    )


def check_tokenizer(name: str, folder: Path) -> None:
    """Raise `ModelError` unless a folder has a configuration and a tokenizer."""
    if not (folder / "config.json").is_file() and (folder / _ADAPTER).is_file():
        base = _base_of(folder / _ADAPTER)
        raise ModelError(
            f"{name!r} is an adapter of {base!r}, not a model; pass --model {base} --adapter {name}"
        )
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"model {name!r} has no config.json in {folder}; give the folder save_pretrained wrote"
        )
    if not any((folder / file).is_file() for file in _TOKENIZER_FILES[:5]):
        raise ModelError(
            f"model {name!r} has no tokenizer in {folder}; "
            "save it there with tokenizer.save_pretrained(folder)"
        )


def _base_of(file: Path) -> str:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        return "MODEL"


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder, sorted by name."""
    return sorted(folder.glob("*.safetensors"))


def count_parameters(folder: Path) -> int:
    """Return the number of stored parameters, from the headers of the weight files alone."""
    total = 0
    for path in weight_files(folder):
        for name, entry in _header(path).items():
            if name != "__metadata__":
                size = 1
                for length in entry["shape"]:
                    size *= int(length)
                total += size
    return total


def _header(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        try:
            header = dict(json.loads(file.read(min(length, 100_000_000))))
        except ValueError as error:
            raise ModelError(
                f"weights file {path} is damaged: its header cannot be read; copy the model again"
            ) from error
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    expected, actual = 8 + length + max(ends, default=0), path.stat().st_size
    if actual < expected:
        raise ModelError(
            f"weights file {path} is cut off: it has {actual} of {expected} bytes; "
            "copy the model again"
        )
    return header


def weights_hash(folder: Path) -> str:
    """Return a hash of the configuration and the weights of a local folder.

    Files are read once per process as long as their size and time stay the same.
    """
    paths = [folder / "config.json", *weight_files(folder)]
    return _combine((path.name, _hash_of(path)) for path in paths if path.is_file())


def folder_hash(folder: Path) -> str:
    """Return a hash of all files directly in a folder (an adapter or an encoder) and below it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return _combine((path.relative_to(folder).as_posix(), _hash_of(path)) for path in paths)


def tokenizer_hash(folder: Path) -> str:
    """Return a hash of everything in a folder that decides token ids, chat template excluded."""
    parts = [(n, _hash_of(folder / n)) for n in _TOKENIZER_FILES if (folder / n).is_file()]
    config = folder / "tokenizer_config.json"
    if config.is_file():
        settings = json.loads(config.read_bytes())
        settings.pop("chat_template", None)
        parts.append((config.name, text_hash(json.dumps(settings, sort_keys=True))))
    return _combine(parts)


def text_hash(text: str) -> str:
    """Return 32 hex digits of BLAKE2b over a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _combine(parts: Iterable[tuple[str, str]]) -> str:
    return text_hash("\n".join(f"{name} {digest}" for name, digest in parts))


def _hash_of(path: Path) -> str:
    state = path.stat()
    return _hash_file(str(path.resolve()), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _hash_file(path: str, size: int, mtime_ns: int) -> str:
    return file_hash(Path(path))


def bytes_hash(*pieces: bytes | memoryview) -> str:
    """Return the BLAKE2b-128 hash of bytes in hex: the `file_hash` of a file that holds them in a row."""
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """Return the BLAKE2b-128 hash of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
