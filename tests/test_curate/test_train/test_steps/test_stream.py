"""A batch that the rows of a run fill."""

from types import SimpleNamespace

import numpy as np
import pytest

from curate.train.config import LengthConfig, TrainConfig
from curate.train.data_config import DataConfig
from curate.train.steps.stream import fitted

DEFAULT = DataConfig().batch_tokens


def batch(tokens: int, **settings: object) -> tuple[int, str | None]:
    """Return the batch and what is said of it, for so many tokens in rows of ten."""
    config = TrainConfig(model="m", **settings)
    config, said = fitted(SimpleNamespace(lengths=np.full(tokens // 10, 10)), config)
    return config.data.batch_tokens, said


def test_few_tokens_make_at_least_four_updates_and_it_is_said() -> None:
    assert batch(260) == (
        65,
        (
            "260 tokens to train on are less than one batch of 16,384: batches of 65 instead; set "
            "batch_tokens to choose another"
        ),
    )


@pytest.mark.parametrize(
    ("tokens", "settings", "expected"),
    [
        (DEFAULT + 6, {}, DEFAULT),
        (200_000, {"length": LengthConfig(max_tokens=400)}, 100),
        (260, {"data": DataConfig(batch_tokens=1_000)}, 1_000),
        (260, {"data": DataConfig(batch_tokens=100)}, 100),
    ],
)
def test_only_the_default_is_made_smaller(
    tokens: int, settings: dict[str, object], expected: int
) -> None:
    assert batch(tokens, **settings)[0] == expected
