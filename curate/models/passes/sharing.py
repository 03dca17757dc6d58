"""The check that rows computed from a common beginning are what they are on their own."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from curate.models.passes.device_batch import HostBatch, tree_hidden
from curate.models.passes.packing import PACKED_TOLERANCE, first_flaw
from curate.models.text.render import Rendered

if TYPE_CHECKING:
    from curate.models.load import LoadedModel

COMMON: Final = 19  # tokens that the probe's rows begin with
BRANCHES: Final = (9, 1, 14, 0)  # tokens of each row beyond them
LATER: Final = 8  # tokens beyond the first branch, of one more row

_BY_LONGEST: Final = {"longrope", "dynamic"}


def sharing_flaw(model: "LoadedModel") -> str | None:
    """Return why a loaded model cannot compute what rows begin with once, or None if it can.

    Runs a few short made-up rows: together they must be what they are padded, each on its own, and
    none may change with a neighbour or with its own later tokens. Costs three small forward passes.
    Rotary embeddings that depend on the longest row of a batch are refused: short rows run with long ones.
    """
    rope = getattr(model.backbone.config, "rope_parameters", None) or {}
    kinds = {
        str(one.get("rope_type")) for one in (rope, *rope.values()) if isinstance(one, Mapping)
    }
    if varying := sorted(kinds & _BY_LONGEST):
        return f"its rotary embedding ({varying[0]}) depends on the longest row of a batch"
    return first_flaw(lambda: _compare(model))


def _compare(model: "LoadedModel") -> str | None:
    rows = _probe(len(model.head.weight))
    wanted = _padded(model, rows)
    found = _shared(model, rows)
    apart = float((found - wanted).abs().max() / wanted.abs().max())
    if not apart <= PACKED_TOLERANCE[model.dtype]:
        return f"rows that share what they begin with differ from padded ones by {apart:.1e} of the largest value"
    lengths = [len(row) for row in rows]
    kept = torch.ones(sum(lengths), dtype=torch.bool, device=found.device)
    ends = np.cumsum(lengths)
    last = ends[2] - 1  # of the third row: it branches off beside the others
    kept[last] = False
    rows[2] = np.append(rows[2][:-1], (rows[2][-1] + 11) % len(model.head.weight))
    if not torch.equal(_shared(model, rows)[kept], found[kept]):
        return "a row changes with a later token, or with one of a row that begins alike"
    return None


def _probe(n_ids: int) -> list[np.ndarray]:
    """Return rows with a common beginning, one that goes on from another, and one apart."""
    sizes = [COMMON, *BRANCHES, LATER, COMMON]
    pieces = np.split(np.arange(sum(sizes)) * 37 % n_ids, np.cumsum(sizes)[:-1])
    common, *branches, later, other = pieces
    rows = [np.concatenate([common, branch]) for branch in branches]
    return [*rows, np.concatenate([rows[0], later]), other]


def _padded(model: "LoadedModel", rows: Sequence[np.ndarray]) -> Tensor:
    wide = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for number, row in enumerate(rows):
        wide[number, : len(row)] = row
    states = model.hidden(torch.from_numpy(wide).to(model.device))
    return torch.cat([states[n, : len(row)] for n, row in enumerate(rows)])


def _shared(model: "LoadedModel", rows: Sequence[np.ndarray]) -> Tensor:
    nothing = np.zeros(0, dtype=np.int64)
    rendered = [
        Rendered(row, nothing, nothing, nothing.astype(bool), truncated=False, n_scored=0)
        for row in rows
    ]
    batch = HostBatch.of(rendered, packed=True, shared=True)
    at = batch.to(model.device)
    hidden = tree_hidden(model, batch, at)
    return hidden.index_select(0, at["tokens"].to(hidden.device))
