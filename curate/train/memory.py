"""What a training run says when memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

from curate.errors import DeviceError
from curate.models.memory import is_out_of_memory
from curate.train.config import TrainConfig


@contextmanager
def memory_of(config: TrainConfig, device: str) -> Iterator[None]:
    """Turn a lack of memory in the body into a `DeviceError` that says what to type instead.

    Fewer tokens a forward pass leave a run what it was: they are no part of its identity.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, DeviceError) or not is_out_of_memory(error):
            raise
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        micro = config.data.micro_tokens or 1
        other = (
            ""
            if config.method.lora
            else ", or train an adapter alone with --lora and another output folder"
        )
        raise DeviceError(
            f"memory ran out on {device} while training ({first}); saved steps are kept; rerun the "
            f"same command with --micro-tokens {max(1, micro // 2)}: tokens per forward pass, now "
            f"{micro}, which change neither the batch nor the run{other}"
        ) from error
