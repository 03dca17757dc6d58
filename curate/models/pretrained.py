"""Reads a model with transformers: from safetensors alone, without code that comes with it."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from curate.errors import ModelError

# What libraries raise for a file whose content is not what they expect.
UNREADABLE: Final = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError)


def read_pretrained(
    auto: Any,
    name: str,
    folder: str,
    dtype: str,
    kind: str,
    hint: str = "",
    device: str | Mapping[str, str] = "cpu",
) -> tuple[Any, Mapping[str, Any]]:
    """Return a model from its folder, and the report on its weights: what is missing, what is extra.

    Parameters
    ----------
    auto
        One of transformers' classes ``AutoModelFor...``.
    name
        What errors call the model.
    dtype
        A name such as ``bfloat16``.
    kind, hint
        What it is loaded as, for the message of the `ModelError` for a model that is something
        else, and what that message ends with.
    device
        A GPU the weights go to as they are read, so that processes of one machine hold no copies in its
        memory; and cpu. Or the device of each module, by its name.
    """
    import torch

    by_module = {"": device} if isinstance(device, str) else dict(device)
    placed = {} if by_module == {"": "cpu"} else {"device_map": by_module}
    try:
        with no_progress_bar(), _no_load_report():
            loaded: tuple[Any, Mapping[str, Any]] = auto.from_pretrained(
                folder, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True,
                trust_remote_code=False, output_loading_info=True, **placed,
            )  # fmt: skip
    except (*UNREADABLE, RuntimeError) as error:
        raise ModelError(
            f"model {name!r} cannot be loaded as {kind}: {first_line(error)}{hint}"
        ) from error
    return loaded


def read_causal(name: str, folder: str, dtype: str, device: str | Mapping[str, str] = "cpu") -> Any:
    """Read a causal language model from its folder, all of its weights; nothing is made up.

    Raises `ModelError` for any other architecture, and for weights that transformers would draw.
    """
    from transformers import AutoModelForCausalLM

    model, report = read_pretrained(
        AutoModelForCausalLM, name, folder, dtype, "a causal language model", device=device
    )
    lacking = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if lacking:
        named = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if lacking[3:] else "")
        unread = sorted(report["unexpected_keys"])
        hint = f"; they hold {unread[0]} instead" if unread else ""
        raise ModelError(
            f"the weights of model {name!r} lack {named}{hint}; "
            "random ones would take their place, so it is refused: copy the model again, or save it "
            "with model.save_pretrained(folder)"
        )
    return model


def first_line(error: Exception) -> str:
    """Return the first sentence or line of a library's error, without its full stop."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if "custom code" in line:
        return "it needs code of its own (auto_map), and code that comes with a model is never run"
    return line.split(". ")[0].rstrip(".")


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Suppress transformers' own progress bars while it reads or writes weights."""
    from transformers.utils import logging as transformers_logging

    library: Any = transformers_logging
    shown = library.is_progress_bar_enabled()
    library.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            library.enable_progress_bar()


@contextmanager
def _no_load_report() -> Iterator[None]:
    """Suppress transformers' table of missing weights: the error that follows names them."""
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(_is_no_load_report)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_load_report)


def _is_no_load_report(record: logging.LogRecord) -> bool:
    words = record.getMessage()
    return "LOAD REPORT" not in words or not ("MISSING" in words or "MISMATCH" in words)
