"""Rows end to end without padding: attention with explicit boundaries, and the check that it is exact."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

import torch
from torch import Tensor, nn

from curate.models.memory import is_device_error, is_out_of_memory

if TYPE_CHECKING:
    from curate.models.load import LoadedModel

ATTENTION: Final = "curate_packed"  # what transformers knows our attention by
FLASH_DTYPES: Final = (torch.bfloat16, torch.float16)
PROBE_LENGTHS: Final = (7, 16, 1, 12)
PACKED_TOLERANCE: Final = {"float32": 1e-4, "bfloat16": 5e-2, "float64": 1e-9}  # of the largest

_UNKNOWN: Final = ("softcap", "s_aux", "position_bias", "sinks")  # what would change the numbers


@final
@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """What rows attend to that go on from others: the tokens those begin with, and their own.

    Parameters
    ----------
    places
        Where the tokens lie, row after row, (k,), on the device.
    starts
        First of each row's and the end of the last's, (rows + 1,), int32, on the device.
    lengths
        Tokens each row attends to, at least its own, on the host.
    """

    places: Tensor
    starts: Tensor
    lengths: tuple[int, ...]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Boundaries:
    """Where rows that lie end to end begin and stop.

    Parameters
    ----------
    starts
        First token of each row and the end of the last, (rows + 1,), int32, on the device.
    lengths
        Tokens of each row, on the host.
    keys
        What rows attend to beside themselves, if they are the runs of a `PrefixTree`.
    """

    starts: Tensor
    lengths: tuple[int, ...]
    keys: Keys | None = None
    masks: dict[tuple[int, int, int | None], Tensor] = field(default_factory=dict)
    elsewhere: "dict[torch.device, Boundaries]" = field(default_factory=dict)

    def on(self, device: torch.device) -> "Boundaries":
        """Return the same for layers on a device; copied once to each that layers are on."""
        if self.starts.device == device:
            return self
        if device not in self.elsewhere:
            keys = self.keys
            if keys is not None:
                keys = Keys(keys.places.to(device), keys.starts.to(device), keys.lengths)
            self.elsewhere[device] = Boundaries(self.starts.to(device), self.lengths, keys)
        return self.elsewhere[device]

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(self.lengths)

    def mask(self, n: int, n_keys: int, window: int | None, like: Tensor) -> Tensor | None:
        """Return what is added to the scores of a row's last ``n`` tokens, (n, n_keys); None if nothing.

        Made once for all layers. A row that attends to itself alone is causal without it.
        """
        limit = window if window is not None and n_keys > window else None
        if limit is None and n in (1, n_keys):
            return None
        if (n, n_keys, limit) not in self.masks:
            keys = torch.arange(n_keys, device=like.device)
            apart = keys[n_keys - n :, None] - keys[None]
            seen = apart >= 0 if limit is None else (apart >= 0) & (apart < limit)
            nothing = torch.zeros((), dtype=like.dtype, device=like.device)
            self.masks[n, n_keys, limit] = torch.where(seen, nothing, float("-inf"))
        return self.masks[n, n_keys, limit]


_ROWS: ContextVar[Boundaries | None] = ContextVar("packed rows", default=None)


class PackingError(RuntimeError):
    """Attention that cannot be computed on packed rows."""


@contextmanager
def packed_attention(backbone: nn.Module, rows: Boundaries) -> Iterator[None]:
    """Let every attention layer of a backbone see only the row a token belongs to."""
    config: Any = backbone.config
    before = config._attn_implementation
    _register()
    token = _ROWS.set(rows)
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before
        _ROWS.reset(token)


def packed_hidden(backbone: nn.Module, ids: Tensor, positions: Tensor, rows: Boundaries) -> Tensor:
    """Return the final hidden states, (tokens, dim), of rows that lie end to end.

    Parameters
    ----------
    backbone
        A decoder without its head.
    ids, positions
        Token ids, and the place of each token in its row, (tokens,).
    rows
        Where each row begins.
    """
    with packed_attention(backbone, rows):
        output = backbone(input_ids=ids[None], position_ids=positions[None], use_cache=False)
    states: Tensor = output.last_hidden_state[0]
    return states


def _register() -> None:
    from transformers import AttentionInterface

    if ATTENTION not in AttentionInterface._global_mapping:
        AttentionInterface.register(ATTENTION, _attention)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend within rows: (1, heads, tokens, dim) in, (1, tokens, heads, dim) out."""
    rows = _ROWS.get()
    changed = [name for name in _UNKNOWN if options.get(name) is not None]
    if rows is None or attention_mask is not None or changed or len(query) != 1:
        what = f"with {changed[0]}" if changed else "of this shape"
        raise PackingError(f"attention {what} cannot be computed on packed rows")
    if query.is_cuda and torch.is_autocast_enabled("cuda"):
        dtype = torch.get_autocast_dtype("cuda")
        query, key, value = (tensor.to(dtype) for tensor in (query, key, value))
    rows = rows.on(query.device)
    by_row = _row_by_row if rows.keys is None else _run_by_run
    run = _flash if query.is_cuda and query.dtype in FLASH_DTYPES else by_row
    return run(query, key, value, rows, dropout, scaling, sliding_window), None


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rows: Boundaries,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """Run the flash kernel torch brings, all rows in one launch; it reads grouped keys as they are."""
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    starts, longest = rows.starts, rows.longest
    if rows.keys is not None:  # causal from the end: the last token of a row sees all of its keys
        k, v = k.index_select(0, rows.keys.places), v.index_select(0, rows.keys.places)
        starts, longest = rows.keys.starts, max(rows.keys.lengths)
    output: Tensor = torch.ops.aten._flash_attention_forward(
        q, k, v, rows.starts, starts, rows.longest, longest, dropout, True, False,
        scale=scaling, window_size_left=None if window is None else window - 1,
        window_size_right=None if window is None else 0,
    )[0]  # fmt: skip
    return output[None]


def _row_by_row(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rows: Boundaries,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """Attend row by row: for float32, for the CPU, and as the reference of the kernel."""
    key, value = (_each_head(tensor, query) for tensor in (key, value))
    lengths = list(rows.lengths)
    pieces = zip(
        *(torch.split(tensor, lengths, dim=2) for tensor in (query, key, value)), strict=True
    )
    done = []
    for (q, k, v), n in zip(pieces, lengths, strict=True):
        mask = None
        if window is not None and n > window:
            apart = torch.arange(n, device=q.device)
            apart = apart[:, None] - apart[None]
            mask = (apart >= 0) & (apart < window)
        done.append(
            nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scaling
            )
        )
    return torch.cat(done, dim=2).transpose(1, 2)


def _each_head(tensor: Tensor, query: Tensor) -> Tensor:
    """Repeat grouped keys or values, (1, groups, n, width), for each head of the queries."""
    group = query.shape[1] // tensor.shape[1]
    return tensor.repeat_interleave(group, dim=1) if group > 1 else tensor


def _run_by_run(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rows: Boundaries,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """Attend as `_row_by_row` does, each row to its keys; no more of them are copied at a time."""
    assert rows.keys is not None
    key, value = (_each_head(tensor, query) for tensor in (key, value))
    queries = torch.split(query, list(rows.lengths), dim=2)
    places = torch.split(rows.keys.places, list(rows.keys.lengths))
    done = []
    for q, at in zip(queries, places, strict=True):
        k, v = key.index_select(2, at), value.index_select(2, at)
        mask = rows.mask(q.shape[2], len(at), window, q)
        done.append(
            nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=dropout, scale=scaling,
                is_causal=mask is None and q.shape[2] > 1,
            )
        )  # fmt: skip
    return torch.cat(done, dim=2).transpose(1, 2)


# The check ---------------------------------------------------------------------------------------


def packing_flaw(model: "LoadedModel") -> str | None:
    """Return why a loaded model cannot run packed rows exactly, or None if it can.

    Runs a few short made-up rows: packed they must be what they are padded, and no row may change
    with the row before it or with its own later tokens. Costs four small forward passes.
    """
    return first_flaw(lambda: _compare(model))


def first_flaw(check: Callable[[], str | None]) -> str | None:
    """Return what a check finds, or the error that a model cannot run it with.

    A device that fails, or has no memory left, says nothing about the model: that error is raised.
    """
    try:
        with torch.inference_mode():
            return check()
    except (RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        if is_device_error(error) or is_out_of_memory(error):
            raise
        return (str(error).splitlines() or [type(error).__name__])[0]


def _compare(model: "LoadedModel") -> str | None:
    device, n_ids = model.device, len(model.head.weight)
    ids = torch.arange(sum(PROBE_LENGTHS), device=device) * 37 % n_ids
    padded = torch.zeros((len(PROBE_LENGTHS), max(PROBE_LENGTHS)), dtype=torch.int64, device=device)
    pieces = torch.split(ids, list(PROBE_LENGTHS))
    for number, piece in enumerate(pieces):
        padded[number, : len(piece)] = piece
    wide = model.hidden(padded)
    wanted = torch.cat([wide[n, : len(piece)] for n, piece in enumerate(pieces)])
    packed = _run(model, ids)
    apart = float((packed - wanted).abs().max() / wanted.abs().max())
    if not apart <= PACKED_TOLERANCE[model.dtype]:
        return f"packed rows differ from padded ones by {apart:.1e} of the largest value"
    other = ids.clone()
    first, second = PROBE_LENGTHS[0], sum(PROBE_LENGTHS[:2])
    other[:first] = (other[:first] + 11) % n_ids
    if not torch.equal(_run(model, other)[first:], packed[first:]):
        return "a row changes with the row before it"
    other = ids.clone()
    other[second - 1] = (other[second - 1] + 11) % n_ids
    if not torch.equal(_run(model, other)[: second - 1], packed[: second - 1]):
        return "a token changes with the one after it"
    return None


def _run(model: "LoadedModel", ids: Tensor) -> Tensor:
    positions = torch.cat([torch.arange(n, device=ids.device) for n in PROBE_LENGTHS])
    return packed_hidden(model.backbone, ids, positions, boundaries(PROBE_LENGTHS, ids.device))


def boundaries(lengths: Sequence[int], device: torch.device) -> Boundaries:
    """Return the boundaries of rows of some lengths; copies to the device, which waits for it."""
    starts = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    return Boundaries(starts.to(device), tuple(lengths))
