"""GRAPE: the response to each instruction that fits the model best."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar, Final, Literal, NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float, Int

from curate import (
    Budget,
    ConfigError,
    Expression,
    Need,
    Selection,
    Selector,
    View,
    keep_within,
    places_in_group,
    register,
)

_NAMES: Final = {"mean": "mean log-probability", "sum": "log-probability"}


@register
@final
@dataclass(frozen=True)
class GRAPE(Selector):
    """For each instruction, the response the base model finds most likely.

    Responses to one instruction compete by their log-probability per token under the target model
    [1]_; instructions never compete, so none is dropped for its score. The order is in rounds:
    every instruction's best response, then every second best, and so on, and inside a round the
    instructions come in one seeded uniform order. Without a budget the first ``k`` rounds are
    taken. A smaller budget therefore keeps a uniform draw of the instructions, and a larger one
    adds second-best responses round-robin. Gains are scores in nats. Ties go to the smaller id.
    O(n log n).

    An instruction with one distinct response offers no choice and is left out. A truncated
    response has a biased score and is left out unless all responses to its instruction are
    truncated.

    The scorer's defaults are the paper's: its template, response tokens alone, no end of turn.
    ``--set likelihood.score_tokens=all`` is the literal reading of the paper's perplexity formula.

    Evidence: in our proofs better than random on the demo's pool, whose responses differ in style and a
    fifth of which are wrong (`reports/proof-demo.md`: -0.109 nats a token), and worse on sampled
    solutions of GSM8K (`reports/proof-gsm8k-solutions.md`: +0.040, +0.019 to +0.061).

    Parameters
    ----------
    k
        Responses per instruction when no budget is given; 1 in the paper's Tulu experiments.
    normalize
        ``mean``: per response token, as in the camera-ready paper. ``sum``: arXiv v1 read
        literally; it favours short responses.
    keep_single
        Keep instructions with one response.

    References
    ----------
    .. [1] Zhang, Dai and Peng, The Best Instruction-Tuning Data are Those That Fit, NeurIPS 2025.
       https://arxiv.org/abs/2502.04194

    Examples
    --------
    >>> view = View(
    ...     np.array([b"a", b"b", b"c", b"d"]),
    ...     {
    ...         "likelihood.mean_logp": np.array([-2.0, -1.0, -3.0, -4.0]),
    ...         "likelihood.truncated": np.zeros(4, dtype=bool),
    ...     },
    ...     groups=np.array([0, 0, 1, 1]),
    ... )
    >>> sorted(GRAPE().select(view, None, np.random.default_rng(0)).indices.tolist())
    [1, 2]
    """

    name: ClassVar[str] = "grape"
    purpose: ClassVar[str] = "fit to a model"
    budget_optional: ClassVar[bool] = True
    k: int = 1
    normalize: Literal["mean", "sum"] = "mean"
    keep_single: bool = False

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"grape.k={self.k} keeps nothing; give at least 1 per instruction")

    def requires(self) -> Mapping[str, Need | Expression]:
        return {"likelihood": Need("likelihood", "target")}

    def refuse_pool(self, view: View, budget: Budget | None) -> None:
        """Refuse a pool in which too few instructions have several responses."""
        groups = view.group_codes()
        n_responses = np.bincount(groups, minlength=1)[groups]
        rows = np.flatnonzero((n_responses > 1) | self.keep_single)
        if len(view) and not len(rows):
            raise ConfigError(_no_choice(len(view), int(np.unique(groups).size)))
        if budget is not None and not budget.counts_tokens:
            single = {"only response to its instruction": len(view) - len(rows)}
            keep_within(rows, budget, replace(view, excluded={**view.excluded, **single}))

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        scores = view.scores(f"likelihood.{self.normalize}_logp")
        pool = _candidates(view, scores, self.keep_single)
        instructions = view.group_codes()[pool.rows]
        standing = _Standing(*places_in_group(-scores[pool.rows], instructions))
        ranking = np.lexsort((_uniform_order(instructions, rng), standing.places))
        if budget is None:
            ranking = ranking[: int((standing.places <= self.k).sum())]
        considered = replace(view, excluded={**view.excluded, **pool.excluded})
        picks = keep_within(pool.rows[ranking], budget, considered)
        ranking = ranking[: len(picks)]
        warnings = (
            *_left_out(int((standing.places == 1).sum()), len(picks), budget),
            *_only_truncated(int(pool.truncated[ranking].sum())),
            *_length_ratio(view, picks),
        )
        reasons = _reasons(_NAMES[self.normalize], scores[pool.rows], pool, standing, ranking)
        return Selection(picks, scores[picks], None, reasons, pool.excluded, warnings)


class _Candidates(NamedTuple):
    """Rows of the view that compete, (m,), with per row what the reasons say about it."""

    rows: Int[np.ndarray, " m"]
    truncated: Bool[np.ndarray, " m"]
    n_responses: Int[np.ndarray, " m"]  # responses to its instruction, truncated ones included
    excluded: dict[str, int]


class _Standing(NamedTuple):
    """Where each candidate stands in its instruction, as `places_in_group` returns it."""

    by_group: Int[np.ndarray, " m"]
    places: Int[np.ndarray, " m"]
    sizes: Int[np.ndarray, " m"]


def _candidates(view: View, scores: Float[np.ndarray, " n"], keep_single: bool) -> _Candidates:
    groups = view.group_codes()
    n_groups = int(groups.max(initial=-1)) + 1
    scored = np.isfinite(scores)
    truncated = view.column("likelihood.truncated").astype(bool)
    n_responses = np.bincount(groups[scored], minlength=n_groups)[groups]
    n_complete = np.bincount(groups[scored & ~truncated], minlength=n_groups)[groups]
    single = scored & (n_responses == 1) & (not keep_single)
    if not keep_single and int(n_responses.max(initial=0)) < 2:
        raise ConfigError(_no_choice(len(view), int(np.unique(groups[scored]).size)))
    cut_short = scored & ~single & truncated & (n_complete > 0)
    excluded = {
        "log-probability is not finite": int((~scored).sum()),
        "only response to its instruction": int(single.sum()),
        "truncated": int(cut_short.sum()),
    }
    rows = np.flatnonzero(scored & ~single & ~cut_short)
    counted = {reason: count for reason, count in excluded.items() if count}
    return _Candidates(rows, truncated[rows], n_responses[rows], counted)


def _no_choice(n_examples: int, n_instructions: int) -> str:
    return (
        "grape chooses among several responses to one instruction, and no instruction here has two "
        f"({n_examples} examples, {n_instructions} instructions); ingest data with several "
        "responses per instruction, or keep every single response with --set grape.keep_single=true"
    )


def _uniform_order(
    instructions: Int[np.ndarray, " m"], rng: np.random.Generator
) -> Int[np.ndarray, " m"]:
    distinct, codes = np.unique(instructions, return_inverse=True)
    return rng.permutation(len(distinct))[codes]


def _left_out(n_instructions: int, n_picks: int, budget: Budget | None) -> Iterator[str]:
    if budget is not None and n_picks < n_instructions:
        yield (
            f"budget {budget} reaches {n_picks} of {n_instructions} instructions; the other "
            f"{n_instructions - n_picks} were left out by a seeded uniform draw, not by score"
        )


def _only_truncated(n_picks: int) -> Iterator[str]:
    if n_picks:
        yield (
            f"{n_picks} picks are truncated, like all responses to their instruction; their scores "
            "do not cover the end of the response"
        )


def _length_ratio(view: View, picks: Int[np.ndarray, " k"]) -> Iterator[str]:
    if "likelihood.n_tokens" not in view.columns or len(picks) == 0:
        return
    n_tokens = view.scores("likelihood.n_tokens")
    picked, everything = float(n_tokens[picks].mean()), float(n_tokens.mean())
    if everything > 0:
        yield (
            f"selected responses are {picked / everything:.2f} times as long as the pool's "
            f"(mean {picked:.1f} and {everything:.1f} tokens)"
        )


def _reasons(
    what: str,
    scores: Float[np.ndarray, " m"],
    pool: _Candidates,
    standing: _Standing,
    ranking: Int[np.ndarray, " k"],
) -> list[str]:
    position = np.empty(len(scores), dtype=np.int64)
    position[standing.by_group] = np.arange(len(scores))
    places, sizes = standing.places[ranking], standing.sizes[ranking]
    rival = position[ranking] + np.where(places > 1, 1 - places, np.where(sizes > 1, 1, 0))
    rival_scores = scores[standing.by_group[rival]]
    return [
        _reason(what, place, size, n_responses, truncated, score, other)
        for place, size, n_responses, truncated, score, other in zip(
            places.tolist(),
            sizes.tolist(),
            pool.n_responses[ranking].tolist(),
            pool.truncated[ranking].tolist(),
            scores[ranking].tolist(),
            rival_scores.tolist(),
            strict=True,
        )
    ]


def _reason(
    what: str, place: int, size: int, n_responses: int, truncated: bool, score: float, rival: float
) -> str:
    kind = " truncated" if truncated else ""
    if size == 1:
        only = f"only{kind} response" if n_responses == 1 else f"only complete one of {n_responses}"
        return f"{only} ({what} {score:.3f})"
    if place == 1:
        return f"best of {size}{kind} ({what} {score:.3f}, next {rival:.3f})"
    return f"{_ordinal(place)} best of {size}{kind} ({what} {score:.3f}, best {rival:.3f})"


@cache
def _ordinal(place: int) -> str:
    words = {2: "second", 3: "third"}
    last = {1: "st", 2: "nd", 3: "rd"}.get(place % 10 if place % 100 not in (11, 12, 13) else 0)
    return words.get(place, f"{place}{last or 'th'}")
