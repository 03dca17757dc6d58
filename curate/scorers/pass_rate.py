"""How often a model's own answers to a prompt are right."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

import numpy as np

from curate.contracts import (
    FAILURE,
    Column,
    Columns,
    DerivedScorer,
    Example,
    LoadContext,
    Need,
    Role,
)
from curate.errors import ConfigError
from curate.models.classifiers.text_model import make_each, object_column
from curate.models.text.said import answer_start
from curate.registry import register
from curate.scorers.bsdetector.answers import PromptStyle, parse_answer
from curate.scorers.verifiers.load import VerifierSettings
from curate.scorers.verifiers.reference import RESPONSE, Reference
from curate.scorers.verifiers.verdict import Verdict, VerifierName

_SAMPLING: Final = ("k", "prompt", "max_new_tokens", "temperature", "seed")


@register
@final
@dataclass(frozen=True)
class PassRate(DerivedScorer):
    r"""The share of a model's sampled answers that are right: ``--rank pass_rate.learnability``.

    ``k`` answers to the prompt are sampled (the score set ``samples``, computed first and kept) and each
    is checked by a verifier; another verifier or reference samples nothing anew. A rate near 0 is
    beyond the model, one near 1 teaches it nothing; the variance of one answer, ``p (1 - p)``, is
    highest between. Datasets for reinforcement learning are filtered by it [1]_, [2]_.

    The reference is the response, unless ``reference`` names a column of the input rows. Against the
    response of the example the rate says how far the model agrees with it, and that finds
    wrong responses where the model is right more often than not.

    - ``number``: the last numbers are equal as exact fractions: ``1,000``, ``$1000.0`` and ``1e3``
      are one, ``50%`` is 50 and 0.5, ``1/3`` is not 0.33. What follows ``####`` wins.
    - ``boxed``: the last ``\boxed{}`` equals the reference as mathematics, by Math-Verify [3]_
      (``pip install "curate-sft[math]"``).
    - ``exact``: the texts are equal but for blanks.
    - ``regex``: ``pattern`` is found; ``{reference}`` in it stands for the reference.
    - ``python``: the reference, a program of tests, ends without an exception after the answer's
      fenced blocks (all of it, without any). It runs in a process of its own that can start no
      other and no thread, open no socket, change no file outside its empty folder, and has
      ``limit_s`` of processor time and ``memory_mib``. That takes Linux 6.2 or later; elsewhere
      nothing runs. A program that looks for the checker itself can still deceive it.

    What exceeds its time or memory, or crashes, is *undecided*: counted in ``n_undecided`` and not in
    ``n``, never a wrong answer. An example with no decided answer fails with ``undecided``, one
    without a reference with ``no_reference``. What is checked follows the model's thought; one that
    never ends has no answer and is wrong. An answer cut at ``max_new_tokens`` is checked as it is;
    ``n_capped`` counts them. Cost: that of `samples`, ``k`` decoded answers to each prompt, and for
    ``python`` a process for each distinct answer (0.1 s and what the program takes). Twelve fields, because they include those of the samples.

    Parameters
    ----------
    k
        Answers to each prompt.
    verifier
        Which check.
    reference
        ``response``, or a column of the input rows as ``row.NAME``. Default: the response; for
        ``python`` ``row.tests``, for ``regex`` without a pattern ``row.pattern``.
    pattern
        Of ``regex``.
    limit_s
        Seconds a program, a formula or a pattern may compute.
    memory_mib
        Memory it may take.
    prompt, max_new_tokens, temperature, seed, server, served_model
        Of the samples; see the scorer `samples`.

    References
    ----------
    .. [1] Yu et al., DAPO: An Open-Source LLM Reinforcement Learning System at Scale, 2025,
       section 3.2. https://arxiv.org/abs/2503.14476
    .. [2] Foster et al., Learning to Reason at the Frontier of Learnability, 2025,
       ``p (1 - p)``. https://arxiv.org/abs/2502.12272
    .. [3] https://github.com/huggingface/Math-Verify

    Examples
    --------
    >>> PassRate(k=8).requires()["samples"].config["k"], PassRate("python", k=1).row_columns()
    (8, ('tests',))
    """

    name: ClassVar[str] = "pass_rate"
    version: ClassVar[int] = 2
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "rate": Column("float", "share of the decided answers that are right, p, 0 to 1"),
        "n": Column("int", "answers that were decided"),
        "any_correct": Column("bool", "whether one of them is right"),
        "learnability": Column("float", "p (1 - p), 0 to 0.25; higher is better"),
        "n_undecided": Column("int", "answers whose check ran out of time or memory, or crashed"),
        "n_capped": Column("int", "answers that were cut at the cap; fewer is better"),
        "verdicts": Column("text", "the verdict on each sample, a JSON list in their order"),
    }
    verifier: VerifierName = "number"
    reference: str = ""
    pattern: str = ""
    k: int = 4
    prompt: PromptStyle = "plain"
    max_new_tokens: int = 512
    temperature: float = 1.0
    seed: int = 0
    server: str = ""
    served_model: str = ""
    limit_s: float = 5.0
    memory_mib: int = 2_048

    def __post_init__(self) -> None:
        self._settings().check(self.name)
        self._reference()
        check_draws(self.name, self.k, self.temperature)

    def requires(self) -> Mapping[str, Need]:
        config: dict[str, Any] = {name: getattr(self, name) for name in _SAMPLING}
        if self.server or self.served_model:
            config |= {"server": self.server, "served_model": self.served_model}
        return {"samples": Need("samples", "target", config)}

    def row_columns(self) -> tuple[str, ...]:
        return self._reference().columns

    def load(self, context: LoadContext) -> Callable[[Sequence[Example], Columns], Columns]:
        verifier, reference = self._settings().load(), self._reference()

        def check(example: Example, texts: str) -> list[Verdict]:
            wanted = reference.read(example)
            verifier.accept(wanted)
            answers = [self._answer(text) for text in json.loads(texts)]
            known = {answer: verifier.verdict(answer, wanted) for answer in dict.fromkeys(answers)}
            return [known[answer] for answer in answers]

        def score(examples: Sequence[Example], read: Columns) -> Columns:
            texts = dict(zip((e.id for e in examples), read["samples.texts"], strict=True))
            made, places, reasons = make_each(examples, lambda e: check(e, texts[e.id]))
            columns = _empty(len(examples))
            columns["n_capped"] = np.asarray(read["samples.n_capped"])
            for place, verdicts in zip(places, made, strict=True):
                _fill(columns, place, verdicts)
                if not columns["n"][place]:
                    reasons[place] = verdicts[0].text
            return {**columns, FAILURE: object_column(reasons)}

        return score

    def _answer(self, text: str) -> str | None:
        """Return what a sample answers after its thought; None where that never ends."""
        start = answer_start(text)
        return None if start is None else parse_answer(text[start:], self.prompt).text

    def _settings(self) -> VerifierSettings:
        return VerifierSettings(self.verifier, self.pattern, self.limit_s, self.memory_mib)

    def _reference(self) -> Reference:
        return Reference.of(self.name, self.reference, self.verifier, self.pattern, RESPONSE)


def check_draws(owner: str, k: int, temperature: float) -> None:
    """Raise `ConfigError` for several answers without chance, which would all be equal."""
    if temperature == 0 and k > 1:
        raise ConfigError(
            f"{owner}.temperature=0 is greedy, so all {k} answers to a prompt would be equal; "
            f"take {owner}.k=1, or a temperature above 0"
        )


def _empty(n: int) -> dict[str, Any]:
    return {
        "rate": np.full(n, np.nan), "n": np.zeros(n, dtype=int), "any_correct": np.zeros(n, dtype=bool),
        "learnability": np.full(n, np.nan), "n_undecided": np.zeros(n, dtype=int),
        "n_capped": np.zeros(n, dtype=int), "verdicts": object_column(["[]"] * n),
    }  # fmt: skip


def _fill(columns: Mapping[str, Any], place: int, verdicts: Sequence[Verdict]) -> None:
    """Write one example's row."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    n = counts["right"] + counts["wrong"]
    columns["n"][place], columns["n_undecided"][place] = n, counts["undecided"]
    columns["any_correct"][place] = counts["right"] > 0
    columns["verdicts"][place] = json.dumps([verdict.text for verdict in verdicts])
    if n:
        rate = counts["right"] / n
        columns["rate"][place], columns["learnability"][place] = rate, rate * (1 - rate)
