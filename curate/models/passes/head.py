"""The LM head at scored positions only, in chunks: likelihood, entropy, and the head gradient's norm."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, final

import torch
from torch import Tensor

CPU_CHUNK_ELEMENTS: Final = 524_288  # 2 MiB of float32 logits: a chunk stays in a core's cache
CPU_MIN_ROWS: Final = 32
CUDA_CHUNK_ELEMENTS: Final = 134_217_728


@final
@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """How logits come from final hidden states: ``cap * tanh(scale * (W h + b) / cap)``.

    Parameters
    ----------
    weight
        (V, dim), in the model's dtype.
    bias
        (V,), or None.
    scale
        Factor on the logits (Cohere; Granite divides by its inverse).
    softcap
        Soft limit on the logits (Gemma), or None.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    @property
    def is_linear(self) -> bool:
        """Whether the logits are just the weight times the hidden state."""
        return self.bias is None and self.scale == 1.0 and self.softcap is None

    @property
    def chunk_rows(self) -> int:
        """Rows whose logits are computed together; depends on vocabulary and device only."""
        if self.weight.device.type == "cuda":
            return max(1, CUDA_CHUNK_ELEMENTS // len(self.weight))
        return max(CPU_MIN_ROWS, CPU_CHUNK_ELEMENTS // len(self.weight))

    def project(self, hidden: Tensor, block: slice = slice(None)) -> Tensor:
        """Return ``W h`` for some vocabulary rows, (rows, V), in float32, or float64 for a float64 model."""
        weight = self.weight if block == slice(None) else self.weight[block]
        raw = torch.nn.functional.linear(hidden, weight)
        return raw if raw.dtype == torch.float64 else raw.float()

    def finish(self, raw: Tensor, block: slice = slice(None)) -> Tensor:
        """Turn projections into logits; the projections themselves when the head is linear."""
        if self.is_linear:
            return raw
        logits = raw if self.bias is None else raw + self.bias[block].to(raw.dtype)
        logits = logits * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def slope(self, logits: Tensor) -> Tensor | float:
        """Return the derivative of each logit by its projection."""
        if self.softcap is None:
            return self.scale
        return self.scale * (1 - (logits / self.softcap) ** 2)


@final
@dataclass(frozen=True, slots=True)
class HeadWants:
    """What to compute at scored positions beyond the likelihood.

    ``grams`` says over which positions gradient norms are wanted: with the ends of turns (True),
    without (False), or both.
    """

    entropy: bool = False
    grams: frozenset[bool] = frozenset()


@final
@dataclass(frozen=True, slots=True, eq=False)
class HeadStats:
    """What the head measured on one example's scored positions.

    Parameters
    ----------
    nll, entropy
        In nats per position, (T,), on the device; entropy is None when nobody asked.
    inner
        Inner product of the weight with the gradient of each position's loss, (T,), or None.
    sq_norm
        Squared Frobenius norm of the gradient of the summed loss, with and without ends of turns.
    """

    nll: Tensor
    entropy: Tensor | None = None
    inner: Tensor | None = None
    sq_norm: Mapping[bool, Tensor] = field(default_factory=dict)


def head_stats(
    head: Head,
    hidden: Tensor,
    targets: Tensor,
    ends: Sequence[Tensor],
    wants: HeadWants,
) -> list[HeadStats]:
    """Run the head over the scored positions of several examples, a bounded chunk at a time.

    Chunks hold whole examples up to `Head.chunk_rows` rows; a longer example is cut into chunks of
    its own. What is computed for the likelihood does not depend on ``wants``.

    Parameters
    ----------
    head
        Weight and what follows it.
    hidden
        Final hidden states at the scored positions of all examples in order, (rows, dim).
    targets
        Id of the token scored at each position, (rows,).
    ends
        Per example, which of its positions end a turn, (T,) each, the T adding up to rows.
    wants
        What else to compute.
    """
    results: list[HeadStats] = []
    for first, last, start, stop in chunks([len(end) for end in ends], head.chunk_rows):
        rows, wanted = hidden[start:stop], targets[start:stop]
        if stop - start > head.chunk_rows:
            results.append(_long_example(head, rows, wanted, ends[first], wants))
        else:
            results += _whole_examples(head, rows, wanted, ends[first:last], wants)
    return results


def chunks(sizes: Sequence[int], limit: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (first example, last + 1, first row, last + 1) of chunks of whole examples.

    A chunk has at most ``limit`` rows, unless it is one example that has more.
    """
    first = start = stop = 0
    for number, size in enumerate(sizes):
        if number > first and stop + size - start > limit:
            yield first, number, start, stop
            first, start = number, stop
        stop += size
    if first < len(sizes):
        yield first, len(sizes), start, stop


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Distribution:
    """The predictive distributions of a few rows, and what was measured on them."""

    nll: Tensor
    log_total: Tensor  # log of the sum over the vocabulary of exp(logit - top)
    top: Tensor
    entropy: Tensor | None
    exps: Tensor  # (rows, V), exp(logit - top)
    raw: Tensor | None  # (rows, V) projections and their slope, kept for gradients of a curved head
    slope: Tensor | float


def _distribution(
    head: Head, hidden: Tensor, targets: Tensor, *, entropy: bool, gradients: bool
) -> _Distribution:
    raw = head.project(hidden)
    logits = head.finish(raw)
    slope = head.slope(logits) if gradients else 1.0
    top = logits.amax(dim=1)
    aim = logits.gather(1, targets[:, None]).squeeze(1) - top
    shifted = logits.sub_(top[:, None])
    exps = shifted.exp() if entropy else shifted.exp_()
    total = exps.sum(dim=1)
    log_total = total.log()
    spread = log_total - shifted.mul_(exps).sum(dim=1) / total if entropy else None
    kept = raw if gradients and not head.is_linear else None
    return _Distribution(log_total - aim, log_total, top, spread, exps, kept, slope)


def _whole_examples(
    head: Head, hidden: Tensor, targets: Tensor, ends: Sequence[Tensor], wants: HeadWants
) -> list[HeadStats]:
    gradients = bool(wants.grams)
    distribution = _distribution(
        head, hidden, targets, entropy=wants.entropy or gradients, gradients=gradients
    )
    sizes = [len(end) for end in ends]
    nlls = torch.split(distribution.nll, sizes)
    spreads = (
        torch.split(distribution.entropy, sizes)
        if distribution.entropy is not None
        else [None] * len(sizes)
    )
    if not gradients:
        return [HeadStats(nll, spread) for nll, spread in zip(nlls, spreads, strict=True)]
    residual = distribution.exps.div_(distribution.exps.sum(dim=1)[:, None])
    residual.scatter_(1, targets[:, None], torch.expm1(-distribution.nll)[:, None])
    inner = _inner(distribution, residual)
    slopes = distribution.slope
    if not (isinstance(slopes, float) and slopes == 1.0):
        residual = residual * slopes
    results = []
    pieces = zip(
        torch.split(hidden, sizes),
        torch.split(residual, sizes),
        torch.split(inner, sizes),
        strict=True,
    )
    for (h, r, i), nll, spread, end in zip(pieces, nlls, spreads, ends, strict=True):
        norm = _GradientNorm.start(h, end, wants.grams, r.shape[1])
        norm.add(r)
        results.append(HeadStats(nll, spread, i, norm.finish()))
    return results


def _inner(distribution: _Distribution, residual: Tensor) -> Tensor:
    """Return the inner product of the weight with each position's gradient, (rows,)."""
    if distribution.raw is None:
        assert distribution.entropy is not None
        return distribution.nll.double() - distribution.entropy.double()
    return (residual * distribution.slope * distribution.raw).sum(dim=1, dtype=torch.float64)


def _long_example(
    head: Head, hidden: Tensor, targets: Tensor, end: Tensor, wants: HeadWants
) -> HeadStats:
    """Score one example by chunks of rows; its gradient, if wanted, by blocks of the vocabulary."""
    gradients = bool(wants.grams)
    entropy = wants.entropy or gradients
    parts = [
        _distribution(head, h, y, entropy=entropy, gradients=False)
        for h, y in zip(
            torch.split(hidden, head.chunk_rows), torch.split(targets, head.chunk_rows), strict=True
        )
    ]
    nll = torch.cat([part.nll for part in parts])
    spread = torch.cat([p.entropy for p in parts if p.entropy is not None]) if entropy else None
    if not gradients:
        return HeadStats(nll, spread)
    lse = torch.cat([part.top + part.log_total for part in parts])
    norm = _GradientNorm.start(hidden, end, wants.grams, len(head.weight))
    inner = torch.zeros(len(nll), dtype=torch.float64, device=nll.device)
    width = max(1, head.chunk_rows * len(head.weight) // len(nll))
    for low in range(0, len(head.weight), width):
        block = slice(low, low + width)
        raw = head.project(hidden, block)
        logits = head.finish(raw, block)
        residual = (logits - lse[:, None]).exp_()
        at = targets - low
        _set_targets(residual, at, torch.expm1(-nll))
        residual = residual * head.slope(logits)
        inner += (residual * raw).sum(dim=1, dtype=torch.float64)
        norm.add(residual)
    if head.is_linear:
        assert spread is not None
        inner = nll.double() - spread.double()
    return HeadStats(nll, spread, inner, norm.finish())


def _set_targets(residual: Tensor, at: Tensor, values: Tensor) -> None:
    """Write one value into each row whose target lies in this block of the vocabulary."""
    if not residual.is_cuda:
        rows = ((at >= 0) & (at < residual.shape[1])).nonzero().squeeze(1)
        residual[rows, at[rows]] = values[rows]
        return
    inside = (at >= 0) & (at < residual.shape[1])  # no list of rows: its length would be waited for
    column = at.clamp(0, residual.shape[1] - 1)[:, None]
    kept = torch.where(inside, values, residual.gather(1, column).squeeze(1))
    residual.scatter_(1, column, kept[:, None])


@final
@dataclass(slots=True, eq=False)
class _GradientNorm:
    """Squared norm of sum_t r_t h_t^T over blocks of the vocabulary, by the cheaper exact form.

    For T positions the Gram form costs T^2 (V + dim), the direct form T V dim; both hold one block.
    """

    hidden: Tensor
    keeps: dict[bool, Tensor]
    by_gram: bool
    gram: Tensor | None = None
    direct: dict[bool, Tensor] = field(default_factory=dict)

    @classmethod
    def start(
        cls, hidden: Tensor, end: Tensor, grams: Iterable[bool], vocabulary: int
    ) -> "_GradientNorm":
        exact = hidden if hidden.dtype == torch.float64 else hidden.float()
        keeps = {with_end: torch.ones_like(end) if with_end else ~end for with_end in grams}
        t, dim = exact.shape
        return cls(exact, keeps, t * (vocabulary + dim) <= vocabulary * dim)

    def add(self, residual: Tensor) -> None:
        """Add a block of the vocabulary, (T, block)."""
        if self.by_gram:
            block = (residual @ residual.T).double()
            self.gram = block if self.gram is None else self.gram + block
            return
        for with_end, keep in self.keeps.items():
            if residual.is_cuda:  # zeros, as the number of chosen rows would be waited for
                product = (residual * keep[:, None]).T @ self.hidden
            else:
                product = residual[keep].T @ self.hidden[keep]
            part = product.double().square().sum()
            self.direct[with_end] = self.direct.get(with_end, torch.zeros_like(part)) + part

    def finish(self) -> dict[bool, Tensor]:
        """Return the squared norm, with and without ends of turns as asked for."""
        if not self.by_gram:
            return self.direct
        assert self.gram is not None
        full = self.gram * (self.hidden @ self.hidden.T).double()
        if full.is_cuda:
            weights = {with_end: keep.double() for with_end, keep in self.keeps.items()}
            return {
                with_end: (full * weight[:, None] * weight).sum()
                for with_end, weight in weights.items()
            }
        return {with_end: full[keep][:, keep].sum() for with_end, keep in self.keeps.items()}
