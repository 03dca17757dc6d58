"""AdamW whose moments are kept in eight bits, by bitsandbytes."""

from importlib.util import find_spec
from typing import Any, Final

from curate.errors import ConfigError, MissingPackageError

PACKAGE: Final = "bitsandbytes"


def check_eight_bit(device: str) -> None:
    """Raise `ConfigError` where the optimiser cannot run, before anything is loaded."""
    if not device.startswith("cuda"):
        raise ConfigError(
            f"optimiser.eight_bit needs a GPU, and the device is {device}; leave it out"
        )
    if find_spec(PACKAGE) is None:
        raise MissingPackageError(
            f"optimiser.eight_bit needs the package {PACKAGE}; type: pip install 'curate-sft[eight-bit]'"
        )


def eight_bit_adamw(groups: list[dict[str, Any]], **settings: Any) -> Any:
    """Make the optimiser; tensors of fewer than 4,096 numbers keep their moments in float32."""
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(groups, **settings)
