"""Iterative kMQ: rounds of drawing, training, and measuring where training helped."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np
from jaxtyping import Float

from curate import (
    Budget,
    BudgetError,
    ConfigError,
    Evaluate,
    Outcome,
    Procedure,
    Result,
    Score,
    Select,
    Step,
    Train,
    Union,
    WeightUpdate,
    register,
    training_settings,
    update_cluster_weights,
)


@register
@final
@dataclass(frozen=True)
class KMQIterative(Procedure):
    """Rounds of kMQ: draw from clusters, train on all drawn so far, weight clusters by how it went.

    Iterative kMQ [1]_, section 2.2 and Algorithm 1: every round spends an equal part of the budget
    on examples not drawn before, fine-tunes the target model from the start on everything drawn, scores
    the trained model on it, averages the scores by cluster (equation 5) and updates the clusters'
    weights (equation 6). The rounds are disjoint and add up to the budget exactly.

    Deviations. Algorithm 1 begins with the same budget for every cluster. Such a draw covered the tasks of a
    pool less evenly than one in proportion to size, and at a budget of 1% fewer of them than random draws
    (`reports/kmq-coverage.md`), so the default begins in proportion to size, as static `kmq` does.
    Equation 6 multiplies the weights with shares of the scores, which may be negative: ``update=hedge`` multiplies with exp(score / tau) instead and normalises; ``official`` is
    the published code's softmax of the scores alone. Clusters not drawn from yet get the mean
    score. The published code draws as many times too few examples as there are clusters; not here.
    ``scorer=likelihood-gain`` is ours: the loss of the untrained model minus that of the trained one,
    which needs no generation. ``perplexity`` is the paper's equation 7, log PPL of the reference
    minus log PPL of the trained model's own greedy answer, each over the tokens of the answer, where
    the paper has prompt and answer together; more means the reference is the harder of the two.
    ``reward`` is the paper's best: the reward of the reference minus that of the trained model's own
    greedy answer, in the reward model's own scale; its spread and ``tau`` belong together. An empty
    answer is ignored under either.

    Cost: as many fine-tunings as rounds, the last one's only for the weights it would give, so it is
    left out; and forward passes over what was drawn. The references' rewards are computed once and
    kept; answers are written and scored again in every round.

    Evidence: worse than random in our proof on the demo's pool, with 20 clusters and an epoch a round, where for
    static `kmq` no difference was shown (`reports/proof-demo.md`: +0.069 nats a token). Whom the rounds can
    reach, beside the published code: `reports/method-faults.md`.

    Parameters
    ----------
    rounds
        The paper's 3, "arbitrarily selected".
    k
        Clusters; 512 in the published code. A round that draws fewer examples than this leaves some
        clusters out, by chance; a warning says so.
    init
        What the weights of the first round are in proportion to: the ``size`` of a cluster, or nothing
        (``uniform``), as in Algorithm 1. With ``update=hedge`` later rounds keep it.
    scorer
        ``likelihood-gain``, ``perplexity``, or ``reward``, which needs a reward model:
        ``--model-for reward=MODEL``.
    update
        ``hedge`` or ``official``.
    tau
        Temperature of ``hedge``; higher changes the weights less.
    rescore
        Score ``all`` that was drawn, as Algorithm 1 says, or only what is ``new``: cheaper.
    epochs, lr
        Of each fine-tuning: 3 epochs at 2e-5 are what the published scripts use.
    batch_tokens
        Of each fine-tuning. None: 16,384, or a quarter of what it trains on if that is less.
    template
        Of the fine-tunings: a text template, ``chat``, or ``auto``.
    max_new_tokens
        Of the answers of ``perplexity`` and ``reward``; 512 in the published code.
    reward_format
        How the reward model reads a conversation: ``format`` of the scorer ``reward``.

    References
    ----------
    .. [1] Yu et al., Diversify and Conquer: Diversity-Centric Data Selection with Iterative
       Refinement, 2024. https://arxiv.org/abs/2409.11378
    """

    name: ClassVar[str] = "kmq-iterative"
    purpose: ClassVar[str] = "diversity"
    experimental: ClassVar[str] = (
        "static kMQ with 2048 clusters beats the iterative one in the paper's own tables"
    )
    rounds: int = 3
    k: int = 512
    init: Literal["size", "uniform"] = "size"
    scorer: Literal["likelihood-gain", "perplexity", "reward"] = "likelihood-gain"
    update: WeightUpdate = "hedge"
    tau: float = 1.0
    rescore: Literal["all", "new"] = "all"
    epochs: int = 3
    lr: float = 2e-5
    batch_tokens: int | None = None
    template: str = "auto"
    max_new_tokens: int = 128
    reward_format: Literal["chat", "oasst", "pair"] = "chat"

    def __post_init__(self) -> None:
        for name in ("rounds", "k", "epochs", "batch_tokens", "max_new_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(
                    f"kmq-iterative.{name} must be at least 1, got {getattr(self, name)}"
                )
        if not 0 < self.tau < np.inf:
            raise ConfigError(f"kmq-iterative.tau must be positive, got {self.tau!r}")

    def run(self, budget: Budget | None, seed: int) -> Generator[Step, Result, Outcome]:
        """Yield one draw per round and, before every round but the first, what its weights are based on."""
        if budget is None:
            raise BudgetError("kmq-iterative needs a budget; add --budget 10%, 5000 or 2Mtok")
        yield Score("embedding")
        clusters = yield Score("clusters", {"k": self.k, "seed": seed})
        weights = np.full(self.k, 1 / self.k)
        drawn: list[Result] = []
        rewarded: list[str] = []
        for number in range(self.rounds):
            if drawn and self.scorer == "reward":
                rewarded.append((yield self._rewards_of(drawn[-1])).id)
            if drawn:
                weights = yield from self._reweighted(weights, drawn, clusters, seed, rewarded)
            spent = self._part(budget, number, drawn)
            config = {
                "clusters.k": self.k, "clusters.seed": seed,
                "weights": ",".join(f"{weight:.17g}" for weight in weights),
                "by_size": self.init == "size" and (not drawn or self.update == "hedge"),
            }  # fmt: skip
            without = tuple(draw.id for draw in drawn)
            drawn.append(
                (yield Select("cluster-draw", spent, config, None, seed + number, without))
            )
        united = yield Union(tuple(draw.id for draw in drawn))
        return Outcome(united.id, tuple(self._small_rounds(drawn)))

    def _small_rounds(self, drawn: list[Result]) -> Iterator[str]:
        """Warn of rounds that draw less than one example a cluster."""
        sizes = [int(draw.facts["n_selected"]) for draw in drawn]
        if min(sizes) < self.k:
            yield (
                f"rounds of {', '.join(map(str, sizes))} examples from {self.k} clusters: at least "
                f"{self.k - min(sizes)} clusters give none to a round, by chance, and have no score of "
                f"their own after it; use fewer with --set kmq-iterative.k={max(1, min(sizes) // 2)}, "
                "or select more"
            )

    def _reweighted(
        self,
        weights: Float[np.ndarray, " k"],
        drawn: list[Result],
        clusters: Result,
        seed: int,
        rewarded: list[str],
    ) -> Generator[Step, Result, Float[np.ndarray, " k"]]:
        """Train on what was drawn, score it by cluster, and return the next round's weights."""
        everything = (yield Union(tuple(draw.id for draw in drawn))).id
        trained = yield Train(everything, self._settings(), "target", seed)
        evaluated = yield Evaluate(
            trained.id,
            everything if self.rescore == "all" else drawn[-1].id,
            "clusters.cluster",
            {"clusters": clusters.id},
            minus="" if self.scorer == "likelihood-gain" else None,
            answers=0 if self.scorer == "likelihood-gain" else self.max_new_tokens,
            rewards=tuple(rewarded if self.rescore == "all" else rewarded[-1:]),
        )
        groups: Mapping[str, Any] = evaluated.facts["groups"]
        scores = np.full(self.k, np.nan)
        for cluster, (_, mean) in groups.items():
            scores[int(cluster)] = mean
        return update_cluster_weights(weights, scores, self.update, self.tau)

    def _rewards_of(self, drawn: Result) -> Score:
        return Score("reward", {"format": self.reward_format}, "reward", drawn.id)

    def _part(self, budget: Budget, number: int, drawn: list[Result]) -> str:
        """Return this round's part of the budget: an equal share of what is left."""
        left = self.rounds - number
        if not drawn and budget.unit in ("share", "token-share"):
            return str(Budget(budget.amount / left, budget.unit))
        if budget.counts_tokens:
            if budget.unit == "token-share":
                return str(Budget(budget.amount / self.rounds, budget.unit))
            spent = sum(int(draw.facts["n_tokens"]) for draw in drawn)
            return str(Budget((budget.amount - spent) // left, "tokens"))
        total = budget.amount
        if budget.unit == "share":
            total = budget.share_of(int(drawn[0].facts["n_pool"]))
        spent = sum(int(draw.facts["n_selected"]) for draw in drawn)
        part = int(total - spent) // left
        if part < 1:
            raise BudgetError(
                f"budget {budget} is less than one example for each of {self.rounds} rounds; "
                "ask for more, or lower kmq-iterative.rounds"
            )
        return str(Budget(part))

    def _settings(self) -> dict[str, Any]:
        return training_settings(self.epochs, self.lr, self.template, self.batch_tokens)
