"""The contracts of ways to train: objectives, batch policies and mixtures."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.contracts import BatchPolicy, BatchStats, Labels, Loss, Mixture, Objective
from curate.testing.common import check_config, name_of, require

if TYPE_CHECKING:
    from torch import Tensor

SIZES: Final = (3, 1, 5, 2)  # response tokens of the examples an objective is tried on
N_BATCHES: Final = 12
_CLOSE: Final = 1e-9


def check_objective(objective: Objective) -> None:
    """Check every promise of an objective on made-up hidden states, in float64 and float32.

    Configuration (frozen, hashable, pickles); a finite scalar loss with a finite gradient; the
    plain NLL of every position, without gradient, for the record; the same for the same input; a
    sum, so that a batch computed in pieces (between examples, or anywhere without
    ``whole_examples``) has the loss and gradient of the whole; in proportion to the training
    weights, so that an example of weight 0 takes no part; finite for tokens the model is certain
    of and for tokens it holds for impossible; nothing it is given is changed.

    Raises
    ------
    ContractError
        A promise is broken; the message says which.
    """
    import torch

    check_config(objective)
    label = f"objective {name_of(objective)}"
    for dtype in (torch.float64, torch.float32):
        _check_loss(objective, _Batch.made_up(dtype), label)
    whole = _Batch.made_up(torch.float64)
    _check_sum(objective, whole, label)
    _check_weights(objective, whole, label)
    for scale in (200.0, -200.0):
        certain = whole.with_hidden(whole.target_rows() * scale)
        _check_loss(
            objective, certain, f"{label}, where a target has almost all or no probability,"
        )


def check_policy(policy: BatchPolicy) -> None:
    """Check every promise of a batch policy on made-up batches.

    Configuration (frozen, hashable, pickles); a size between 1 and the number of candidates; that
    many distinct rows of the batch; the same for the same losses, generator and state, whatever
    other randomness there is; a state that JSON holds, that is new for every run, and from which a
    run stopped after any batch resumes as if it never stopped; nothing it is given is changed.

    Raises
    ------
    ContractError
        A promise is broken; the message says which.
    """
    check_config(policy)
    label = f"policy {name_of(policy)}"
    for n in (*range(1, 20), 257):
        size = policy.size(n)
        require(
            isinstance(size, int) and 1 <= size <= n,
            f"{label} keeps {size!r} of {n} rows; it must be a whole number from 1 to {n}",
        )
    _check_state(policy, label)
    whole = _kept(policy, label)
    require(_kept(policy, label) == whole, f"{label} keeps other rows when it is asked again")
    for stop in range(1, N_BATCHES):
        require(
            _kept(policy, label, stop) == whole,
            f"{label} keeps other rows when the run is resumed after batch {stop}",
        )


def check_mixture(mixture: Mixture) -> None:
    """Check every promise of a mixture on made-up losses.

    Configuration (frozen, hashable, pickles); a whole number of steps between two updates, or None;
    a weight for every source and for nothing else, finite, not negative and not all 0: also for
    sources not seen yet, for one source, and for losses that are all 0; the same for the same
    losses in any order; nothing it is given is changed.

    Raises
    ------
    ContractError
        A promise is broken; the message says which.
    """
    check_config(mixture)
    label = f"mixture {name_of(mixture)}"
    every = mixture.every
    require(
        every is None or (isinstance(every, int) and every >= 1),
        f"{label} wants to be asked every {every!r} steps; give a whole number from 1 on, or None",
    )
    for losses in _loss_cases():
        for step in (0, 1, 1_000):
            _check_shares(mixture, step, losses, label)


# Objectives --------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class _LinearHead:
    """A head of seven tokens and no bias."""

    weight: "Tensor"

    def project(self, hidden: "Tensor") -> "Tensor":
        import torch

        return torch.nn.functional.linear(hidden, self.weight)

    def finish(self, raw: "Tensor") -> "Tensor":
        return raw


@final
@dataclass(frozen=True, eq=False)
class _Batch:
    """What an objective is given: hidden states, (T, dim), a head, targets and weights, (T,)."""

    hidden: "Tensor"
    head: _LinearHead
    labels: Labels
    weights: "Tensor"

    @classmethod
    def made_up(cls, dtype: Any) -> "_Batch":
        import torch

        generator = torch.Generator().manual_seed(0)
        owner = torch.repeat_interleave(torch.arange(len(SIZES)), torch.tensor(SIZES))
        n, dim, vocabulary = len(owner), 5, 7
        hidden = torch.randn(n, dim, generator=generator, dtype=torch.float64)
        weight = torch.randn(vocabulary, dim, generator=generator, dtype=torch.float64)
        targets = torch.randint(vocabulary, (n,), generator=generator)
        weights = torch.tensor([1.0, 0.5, 2.0, 3.0], dtype=torch.float64)[owner]
        ids = tuple(f"{number:032x}" for number in range(len(SIZES)))
        return cls(
            hidden.to(dtype),
            _LinearHead(weight.to(dtype)),
            Labels(targets, owner, ids),
            weights.to(dtype),
        )

    def target_rows(self) -> "Tensor":
        """Return the head's row of each target, (T, dim), by length: its logit is the largest."""
        import torch

        return torch.nn.functional.normalize(self.head.weight[self.labels.targets], dim=1)

    def with_hidden(self, hidden: "Tensor") -> "_Batch":
        return _Batch(hidden, self.head, self.labels, self.weights)

    def with_weights(self, weights: "Tensor") -> "_Batch":
        return _Batch(self.hidden, self.head, self.labels, weights)

    def part(self, start: int, stop: int) -> "_Batch":
        """Return some positions as the loop cuts them: owners and ids stay those of the batch."""
        labels = Labels(
            self.labels.targets[start:stop], self.labels.owner[start:stop], self.labels.ids
        )
        return _Batch(self.hidden[start:stop], self.head, labels, self.weights[start:stop])

    def nll(self) -> "Tensor":
        import torch

        logits = self.head.project(self.hidden)
        return torch.nn.functional.cross_entropy(logits, self.labels.targets, reduction="none")


def _loss_of(objective: Objective, batch: _Batch) -> tuple[Loss, "Tensor"]:
    """Return the loss of a batch and its gradient by the hidden states, (T, dim)."""
    import torch

    hidden = batch.hidden.clone().requires_grad_()
    loss = objective.loss(hidden, batch.head, batch.labels, batch.weights)
    [gradient] = torch.autograd.grad(loss.total, hidden)
    return loss, gradient


def _check_loss(objective: Objective, batch: _Batch, label: str) -> None:
    import torch

    given = [batch.head.weight, batch.labels.targets, batch.labels.owner, batch.weights]
    before = [tensor.clone() for tensor in given]
    n = len(batch.hidden)
    loss = objective.loss(
        batch.hidden.clone().requires_grad_(), batch.head, batch.labels, batch.weights
    )
    unchanged = all(torch.equal(a, b) for a, b in zip(given, before, strict=True))
    require(unchanged, f"{label} changes what it is given")
    require(
        tuple(loss.total.shape) == () and loss.total.requires_grad,
        f"{label} returns a total of shape {tuple(loss.total.shape)}; it must be one number with a "
        "gradient",
    )
    require(
        tuple(loss.nll.shape) == (n,) and not loss.nll.requires_grad,
        f"{label} returns an nll of shape {tuple(loss.nll.shape)}; it must be ({n},), one number a "
        "position, detached",
    )
    first, gradient = _loss_of(objective, batch)
    finite = bool(torch.isfinite(first.total)) and bool(torch.isfinite(gradient).all())
    require(finite, f"{label} has a loss or a gradient that is not finite")
    tolerance = 1e-9 if batch.hidden.dtype == torch.float64 else 1e-4
    require(
        torch.allclose(first.nll, batch.nll(), rtol=tolerance, atol=tolerance),
        f"{label} does not return the plain NLL of each position beside its loss",
    )
    again, other = _loss_of(objective, batch)
    same = torch.equal(first.total, again.total) and torch.equal(gradient, other)
    require(same, f"{label} gives another loss or gradient when it is asked again")


def _check_sum(objective: Objective, whole: _Batch, label: str) -> None:
    import torch

    edges = np.cumsum(SIZES).tolist()
    cuts = edges[:-1] if objective.whole_examples else range(1, edges[-1])
    loss, gradient = _loss_of(objective, whole)
    for cut in cuts:
        parts = [_loss_of(objective, whole.part(*at)) for at in ((0, cut), (cut, edges[-1]))]
        total = sum(float(part.total.detach()) for part, _ in parts)
        joined = torch.cat([part_gradient for _, part_gradient in parts])
        where = "between two examples" if cut in edges else "inside an example"
        require(
            math.isclose(total, float(loss.total.detach()), rel_tol=_CLOSE, abs_tol=_CLOSE)
            and torch.allclose(joined, gradient, rtol=_CLOSE, atol=_CLOSE),
            f"{label} is not a sum over positions: cut {where}, the parts add up to another loss or "
            "gradient; return a sum, or set whole_examples = True where an example must stay whole",
        )


def _check_weights(objective: Objective, batch: _Batch, label: str) -> None:
    import torch

    loss, gradient = _loss_of(objective, batch)
    doubled, twice = _loss_of(objective, batch.with_weights(2 * batch.weights))
    require(
        math.isclose(float(doubled.total.detach()), 2 * float(loss.total.detach()), rel_tol=_CLOSE)
        and torch.allclose(twice, 2 * gradient, rtol=_CLOSE, atol=_CLOSE),
        f"{label} is not in proportion to the training weights: twice the weights must be twice the "
        "loss",
    )
    left_out = batch.labels.owner == 2
    _, rest = _loss_of(objective, batch.with_weights(batch.weights.masked_fill(left_out, 0.0)))
    require(
        not bool(rest[left_out].any()),
        f"{label} has a gradient at an example of training weight 0",
    )


# Policies ----------------------------------------------------------------------------------------


def _check_state(policy: BatchPolicy, label: str) -> None:
    state = policy.initial_state()
    try:
        copy = json.loads(json.dumps(state, allow_nan=False))
    except (TypeError, ValueError) as error:
        require(False, f"{label} has an initial state that JSON does not hold: {error}")
        return
    require(copy == state, f"{label} has an initial state that JSON does not give back the same")
    _kept(policy, label, state=state)
    require(
        policy.initial_state() == copy,
        f"{label} begins with what an earlier run left in its state; make a new one each time",
    )


def _batches(policy: BatchPolicy) -> Iterator[BatchStats]:
    rng = np.random.default_rng(0)
    for number in range(N_BATCHES):
        n = (1, 2, 9, 30)[number % 4]
        losses = np.round(rng.gamma(2.0, size=n), 1)  # rounded, so that there are ties
        if not policy.needs_stats:
            losses = np.full(n, np.nan)
        ids = [f"{draw:032x}" for draw in rng.choice(60, size=n, replace=False)]
        yield BatchStats(ids, losses, rng.integers(1, 40, size=n))


def _kept(
    policy: BatchPolicy, label: str, stop: int = 0, state: dict[str, Any] | None = None
) -> list[list[int]]:
    """Return the rows kept of each batch; the state goes through JSON after batch ``stop``."""
    state = policy.initial_state() if state is None else state
    by_batch = []
    for number, stats in enumerate(_batches(policy)):
        if number and number == stop:
            state = json.loads(json.dumps(state))
        losses, n_tokens = stats.losses.copy(), stats.n_tokens.copy()
        n = len(losses)
        k = policy.size(n)
        kept = np.asarray(policy.keep(stats, k, np.random.default_rng([7, number]), state))
        require(
            kept.shape == (k,) and np.issubdtype(kept.dtype, np.integer),
            f"{label} keeps rows of shape {kept.shape} and type {kept.dtype}; they must be {k} indices",
        )
        rows = kept.tolist()
        require(
            len(set(rows)) == k and all(0 <= row < n for row in rows),
            f"{label} keeps the rows {rows} of {n}; they must be distinct and from 0 to {n - 1}",
        )
        require(
            np.array_equal(stats.losses, losses, equal_nan=True)
            and np.array_equal(stats.n_tokens, n_tokens),
            f"{label} changes what it is given",
        )
        try:
            json.dumps(state, allow_nan=False)
        except (TypeError, ValueError) as error:
            require(False, f"{label} keeps a state that JSON does not hold: {error}")
        by_batch.append(rows)
    return by_batch


# Mixtures ----------------------------------------------------------------------------------------


def _loss_cases() -> tuple[dict[str, float], ...]:
    nan = math.nan
    return (
        {"": 1.5},
        {"a": nan},
        {"a": nan, "b": nan, "c": nan},
        {"a": 0.5, "b": nan, "c": 3.0},
        {"a": 2.0, "b": 1.0, "c": 0.25, "d": 9.0},
        {"a": 0.0, "b": 0.0},
        {"a": 0.0, "b": 4.0},
        {"a": 1e-30, "b": 1e3},
    )


def _check_shares(mixture: Mixture, step: int, losses: Mapping[str, float], label: str) -> None:
    given = dict(losses)
    shares = dict(mixture.weights(step, given))
    where = f"{label}, asked at step {step} with the losses {dict(losses)},"
    require(
        list(given) == list(losses) and np.array_equal([*given.values()], [*losses.values()], True),
        f"{where} changes what it is given",
    )
    require(set(shares) == set(losses), f"{where} weighs {sorted(shares)}")
    values = [float(value) for value in shares.values()]
    require(
        all(math.isfinite(value) and value >= 0 for value in values) and sum(values) > 0,
        f"{where} gives the weights {shares}; they must be finite, not negative and not all 0",
    )
    again = mixture.weights(step, dict(reversed([*losses.items()])))
    same = all(math.isclose(shares[name], again[name], rel_tol=_CLOSE) for name in shares)
    require(same, f"{where} gives other weights when it is asked again, in another order")
