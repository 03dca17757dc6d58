"""DEITA: complex and good examples, none of them near a better one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float, Int

from curate import (
    DEFAULT_EMBEDDING,
    Budget,
    Comparable,
    ConfigError,
    Expression,
    Need,
    Selection,
    Selector,
    View,
    apart,
    embedding_need,
    keep_within,
    most_picks,
    register,
)


@register
@final
@dataclass(frozen=True)
class Deita(Selector):
    """The examples with the highest complexity times quality, leaving out those near a better one.

    Examples are gone through by falling ``complexity * quality``; one is taken unless its cosine with an
    example taken before it is above the threshold [1]_. Picks are those of the published code with its
    batch size of 1, which compares one example at a time; here they are compared in blocks. Without
    a budget every example that passes is taken. Where a budget asks for more than pass, the others follow by
    score, and a warning says how many: the published code returns fewer.

    Any two numeric expressions can stand for the scores; larger must mean more complex and better. By
    a judge: ``curate score --scorer judge --as complexity --set judge.preset=complexity`` and ``--as
    quality --set judge.preset=quality``, then ``deita.complexity=complexity.score`` and
    ``deita.quality=quality.score``; ``deita-complexity`` and ``deita-quality`` are for the published scorers.
    The published ones are expected ratings, 1 to 6, by two LLaMA models fine-tuned on rankings by ChatGPT,
    added up over the turns of a conversation. Deviations: the embedding is any stored one
    (published: the last hidden state of LLaMA-1-13B), ties go to the smaller id (published: unstable),
    and an embedding that is not finite or of length 0 leaves its example out (published: kept).

    Evidence: the authors report 10,000 of 300,000 examples ahead of as many random ones (7.32
    to 5.89 on MT-Bench with Mistral-7B); in the tables of later papers it is ahead of random by
    about one point on average. This project has no proof of it yet.

    O(n kept dim), and no more of the ranking than the budget needs.

    Parameters
    ----------
    complexity, quality
        Expressions over the columns of any scorer, higher is more complex, or better; not negative.
    threshold
        Cosine above which an example is too near to one taken before; 0.9 as published.
    embedding
        Alias of the score set whose ``vector`` is compared. The default is computed where it is missing.

    References
    ----------
    .. [1] Liu et al., What Makes Good Data for Alignment? A Comprehensive Study of Automatic Data
       Selection in Instruction Tuning, ICLR 2024. https://arxiv.org/abs/2312.15685

    Examples
    --------
    >>> from curate import Vectors
    >>> points = Vectors(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]))
    >>> scores = {"complexity": np.array([3.0, 2.0, 1.0]), "quality": np.array([1.0, 1.0, 1.0])}
    >>> view = View(np.array([b"a", b"b", b"c"]), scores, vectors_by_column={"embedding.vector": points})
    >>> Deita("x", "y").select(view, Budget(2), np.random.default_rng(0)).indices.tolist()
    [0, 2]
    """

    name: ClassVar[str] = "deita"
    purpose: ClassVar[str] = "quality and difficulty"
    budget_optional: ClassVar[bool] = True
    complexity: str
    quality: str
    threshold: float = 0.9
    embedding: str = DEFAULT_EMBEDDING

    def __post_init__(self) -> None:
        for field in ("complexity", "quality"):
            if not getattr(self, field).strip():
                raise ConfigError(
                    f"deita.{field} is empty; name a score, such as --set deita.{field}=reward.reward"
                )
        if not -1 < self.threshold <= 1:
            raise ConfigError(
                f"deita.threshold={self.threshold:g} is a cosine, above -1 and at most 1; try 0.9"
            )

    def requires(self) -> Mapping[str, Need | Expression]:
        return {
            **embedding_need(self.embedding),
            "complexity": Expression(self.complexity),
            "quality": Expression(self.quality),
        }

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        comparable = Comparable.of(view, self.embedding)
        excluded = dict(comparable.excluded)
        complexity, quality = view.scores("complexity"), view.scores("quality")
        scored = (np.isfinite(complexity) & np.isfinite(quality))[comparable.rows]
        rows = comparable.rows[scored]
        if len(rows) < len(scored):
            excluded["complexity or quality is not finite"] = len(scored) - len(rows)
        self._check_signs(complexity[rows], quality[rows])
        score = complexity * quality
        ranking = rows[np.argsort(-score[rows], kind="stable")]
        considered = replace(view, excluded={**view.excluded, **excluded})
        keep_within(ranking, budget, considered)  # refuses a budget over all there are
        limit = None if budget is None else most_picks(budget, considered, ranking)
        taken = apart(comparable.vectors, ranking, self.threshold, limit)
        full = ranking if budget is None else _then_the_rest(taken, ranking)
        indices = taken if budget is None else keep_within(full, budget, considered)
        reasons = [f"complexity * quality = {value:.6g}" for value in score[indices].tolist()]
        n_near = max(len(indices) - len(taken), 0)
        near = f", cosine above {self.threshold:g} with one of those before"
        reasons[len(indices) - n_near :] = [
            reason + near for reason in reasons[len(indices) - n_near :]
        ]
        warnings = self._too_many(len(indices), n_near)
        return Selection(indices, score[indices], None, reasons, excluded, warnings)

    def _check_signs(self, *scores: Float[np.ndarray, " n"]) -> None:
        for name, values in zip(("complexity", "quality"), scores, strict=True):
            if len(values) and values.min() < 0:
                raise ConfigError(
                    f"deita.{name}={getattr(self, name)!r} is {values.min():.6g} for some example, and a "
                    "product of negative scores ranks the worst first; shift or scale it, as in "
                    f"--set 'deita.{name}=exp({getattr(self, name)})'"
                )

    def _too_many(self, n_chosen: int, n_near: int) -> tuple[str, ...]:
        if not n_near:
            return ()
        warning = (
            f"{n_chosen:,} examples were asked for and only {n_chosen - n_near:,} are at a cosine of "
            f"{self.threshold:g} or less from all better ones: the other {n_near:,} are nearer; ask for "
            f"at most {n_chosen - n_near:,}, or raise deita.threshold"
        )
        return (warning,)


def _then_the_rest(
    taken: Int[np.ndarray, " k"], ranking: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    return np.concatenate([taken, ranking[~np.isin(ranking, taken)]])
