"""How many examples a row scorer is given at once: few where a model is slow, so that little is lost."""

from typing import Final

from curate.models.load import ResolvedModel

ROW_BLOCK: Final = 256  # at most; part of what decides a row scorer's bits
BLOCK: Final = "row_block"  # run parameter, of sets with fewer
SERVED_BLOCK: Final = 64  # of a model on a server: what is asked again after it went away
LEAST: Final = 8
BLOCK_S: Final = 20.0
ROW_TOKENS: Final = 256  # of a row that nobody has read yet
FLOPS_PER_S: Final = {"cpu": 2e10, "cuda": 5e13}  # of one core or one card, far from their peaks


def row_block(model: ResolvedModel | None, device: str, *, served: bool = False) -> int:
    """Return the examples of a block that takes about `BLOCK_S` seconds: a power of two.

    A model of unknown size counts as quick, one that is ``served`` elsewhere as `SERVED_BLOCK` says.
    """
    if served:
        return SERVED_BLOCK
    if model is None or model.n_parameters is None:
        return ROW_BLOCK
    row_s = 2.0 * model.n_parameters * ROW_TOKENS / FLOPS_PER_S[device.partition(":")[0]]
    block = ROW_BLOCK
    while block > LEAST and block * row_s > BLOCK_S:
        block //= 2
    return block
