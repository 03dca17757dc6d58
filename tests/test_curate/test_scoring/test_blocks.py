"""A row scorer gets fewer examples at once where its model is slow."""

import pytest

from curate.models.load import ResolvedModel
from curate.scoring.blocks import row_block


def model_of(n_parameters: int | None) -> ResolvedModel:
    model = ResolvedModel.__new__(ResolvedModel)
    object.__setattr__(model, "n_parameters", n_parameters)
    return model


@pytest.mark.parametrize(
    ("n_parameters", "device", "block"),
    [
        (None, "cpu", 256),
        (3_000_000, "cpu", 256),  # 0.08 s a row of 256 tokens at 20 GFLOP/s
        (6_000_000, "cpu", 128),
        (135_000_000, "cpu", 8),  # 3.5 s a row: eight take half a minute
        (7_000_000_000, "cpu", 8),
        (1_500_000_000, "cuda:1", 256),
        (70_000_000_000, "cuda", 16),
    ],
)
def test_a_block_takes_about_twenty_seconds(
    n_parameters: int | None, device: str, block: int
) -> None:
    assert row_block(model_of(n_parameters), device) == block


def test_without_a_model_blocks_are_largest_and_on_a_server_small() -> None:
    assert row_block(None, "cpu") == 256
    assert row_block(None, "cpu", served=True) == 64
