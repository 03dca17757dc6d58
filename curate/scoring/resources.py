"""A lack of memory or a lost GPU is no fault of an example: it ends the job and is never stored."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from curate.contracts import OUT_OF_MEMORY
from curate.errors import DeviceError
from curate.models.memory import is_device_error, is_out_of_memory


@contextmanager
def resources_of(shard: str, device: str) -> Iterator[None]:
    """Turn a failure of the device or of memory in the body into a `DeviceError`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, DeviceError) or not (
            is_device_error(error) or is_out_of_memory(error)
        ):
            raise
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if is_out_of_memory(error):
            raise DeviceError(
                f"shard {shard}: memory ran out on {device} ({first}); finished shards are kept; "
                "batches are halved until they fit, so free memory or lower --workers, and run the "
                "same command again"
            ) from error
        raise DeviceError(
            f"shard {shard}: {device} failed ({first}); finished shards are kept; run the same "
            "command again, with --device cpu if it fails at this shard again"
        ) from error


def refuse_lack_of_memory(
    shard: str, ids: Sequence[str], failures: Mapping[int, str], device: str
) -> None:
    """Raise `DeviceError` if an example of a shard did not fit in memory by itself."""
    short = [number for number, reason in failures.items() if reason == OUT_OF_MEMORY]
    if short:
        n = f"{len(short)} examples do" if len(short) > 1 else "1 example does"
        raise DeviceError(
            f"shard {shard}: {n} not fit in the memory of {device} even alone, "
            f"example {ids[min(short)]} first; nothing of this shard was stored; run the same command "
            "with more memory or --dtype bfloat16, or leave the example out: "
            f"curate forget --where \"id = '{ids[min(short)]}'\""
        )
