"""Verdicts: a judge compares candidates with the responses they would replace, in both orders."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from curate.contracts import OUT_OF_MEMORY, Example, Judge, LoadContext
from curate.errors import ExampleFailure
from curate.models.classifiers.text_model import make_each
from curate.models.text.prompts import Prompter
from curate.models.text.render import PROMPT_EXCEEDS_CONTEXT
from curate.scorers.bsdetector.comparison import comparison_prompts, verdict_prompts
from curate.scorers.bsdetector.letters import letter_log_probs, letter_tokens
from curate.scorers.bsdetector.prompts import LETTERS, OPENING, chosen_letter
from curate.scorers.bsdetector.verdict import shares_of, verdict_of
from curate.scorers.reflection import reflect
from curate.scorers.reflection_generated import value_of
from curate.select.procedures.correct.parts import Part

if TYPE_CHECKING:
    from curate.models.generation.decoding import Decoder

INSTEAD: Final = "--set clear-correct.mode=sample --set clear-correct.reflection=generate"
SCHEMA: Final = pa.schema(
    [
        ("parent_id", pa.string()), ("better_second", pa.float64()), ("better_first", pa.float64()),
        ("consistency", pa.float64()), ("reflection", pa.float64()), ("confidence", pa.float64()),
        ("agree", pa.bool_()), ("mass", pa.float64()), ("failure", pa.string()),
    ]
)  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class Pair:
    """An example and a possible new response, or why there is none."""

    example: Example
    candidate: str | None
    failure: str | None


@final
@dataclass(frozen=True, slots=True)
class _Asked:
    """Token ids of the prompts that compare, and of those that reflect on the verdict."""

    choice: list[list[int]]
    reflection: list[list[int]]


@final
@dataclass(frozen=True, slots=True)
class _Said:
    """Probabilities or shares of A, B and C by prompt, their mass, and the tokens that took."""

    shares: Float[np.ndarray, "m 3"]
    mass: float
    tokens: int


@final
@dataclass(frozen=True, eq=False)
class LoadedJudge:
    """A loaded model that compares responses, part by part.

    Parameters
    ----------
    letters
        Ids of the ways to write each letter; None if the judge writes everything out.
    """

    decoder: "Decoder"
    prompter: "Prompter"
    step: Judge
    letters: "dict[str, tuple[int, ...]] | None"

    def __call__(self, pairs: Sequence[Pair]) -> Part:
        """Judge some candidates; the facts are tokens and seconds."""
        began = time.perf_counter()
        able = [number for number, pair in enumerate(pairs) if pair.failure is None]
        by_id = {pairs[number].example.id: pairs[number] for number in able}
        examples = [pairs[number].example for number in able]
        made, places, reasons = make_each(
            examples, lambda example: self._prompts(by_id[example.id])
        )
        ids = [examples[place].id for place in places]
        choices = self._choices([prompt.choice for prompt in made], ids)
        reflections = self._reflections([prompt.reflection for prompt in made], ids)
        rows = [{"parent_id": p.example.id, "failure": p.failure} for p in pairs]
        tokens = 0
        for number, reason in zip(able, reasons, strict=True):
            rows[number]["failure"] = reason
        for place, choice, reflected in zip(places, choices, reflections, strict=True):
            if choice is None or reflected is None:
                rows[able[place]]["failure"] = OUT_OF_MEMORY
                continue
            rows[able[place]] |= _columns(choice, reflected[0])
            tokens += choice.tokens + reflected[1]
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        return table, {"tokens": tokens, "seconds": time.perf_counter() - began}

    def _prompts(self, pair: Pair) -> _Asked:
        *history, original = pair.example.messages
        candidate = {"role": "assistant", "content": pair.candidate}
        sampled, decoded = self.step.mode == "sample", self.step.reflection == "generate"
        compared = comparison_prompts(history, original, candidate, reasoned=sampled)
        reflected = verdict_prompts(history, original, candidate, reasoned=decoded)
        asked = _Asked(self._ids(compared, sampled), self._ids(reflected, decoded))
        if self.decoder.context is not None:
            room = [(asked.choice, sampled), (asked.reflection, decoded)]
            if any(len(i) + writes > self.decoder.context for ids, writes in room for i in ids):
                raise ExampleFailure(PROMPT_EXCEEDS_CONTEXT)
        return asked

    def _ids(self, texts: Sequence[str], writes: bool) -> list[list[int]]:
        opening = "" if writes else OPENING
        return [
            self.prompter.ids([{"role": "user", "content": text}], None, opening) for text in texts
        ]

    def _choices(
        self, prompts: Sequence[Sequence[list[int]]], ids: Sequence[str]
    ) -> list[_Said | None]:
        if self.step.mode == "logits":
            return [reading and _likely(*reading) for reading in self._read(prompts, ids)]
        return [
            written and _counted(*written)
            for written in self._written(prompts, ids, self.step.k, 1.0)
        ]

    def _reflections(
        self, prompts: Sequence[Sequence[list[int]]], ids: Sequence[str]
    ) -> list[tuple[float, int] | None]:
        """Return the reflection on each verdict, and the tokens it took."""
        if self.step.reflection == "generate":
            return [
                written and (float(np.mean([value_of(text) for [text] in written[0]])), written[1])
                for written in self._written(prompts, ids, 1, 0.0)
            ]
        return [
            reading and (reflect(reading[0])[0], reading[1]) for reading in self._read(prompts, ids)
        ]

    def _read(
        self, prompts: Sequence[Sequence[list[int]]], ids: Sequence[str]
    ) -> list[tuple[Float[np.ndarray, "m 3"], int] | None]:
        """Return the log-probabilities of the letters after each row of prompts, and its tokens."""
        assert self.letters is not None
        tokens = list(dict.fromkeys(token for ways in self.letters.values() for token in ways))
        choices = self.decoder.choices(prompts, ids, tokens)
        return [
            None
            if log_probs is None
            else (letter_log_probs(log_probs, tokens, self.letters), self.decoder.tokens_run(row))
            for row, log_probs in zip(prompts, choices, strict=True)
        ]

    def _written(
        self, prompts: Sequence[Sequence[list[int]]], ids: Sequence[str], k: int, temperature: float
    ) -> list[tuple[list[list[str]], int] | None]:
        """Return ``k`` replies to every prompt of each row, and the tokens of the row."""
        from curate.models.generation.decoding import Sampling

        drawing = Sampling(k, self.step.max_new_tokens, temperature, self.step.seed)
        names = [f"{i}-{n}" for i, row in zip(ids, prompts, strict=True) for n in range(len(row))]
        replies = iter(self.decoder.draw([p for row in prompts for p in row], names, drawing))
        written: list[tuple[list[list[str]], int] | None] = []
        for row in prompts:
            drawn = [next(replies) for _ in row]
            whole = [texts for texts in drawn if texts is not None]
            if len(whole) < len(drawn):
                written.append(None)
                continue
            run = sum(map(len, row)) + sum(text.n_tokens for texts in whole for text in texts)
            written.append(([[text.text for text in texts] for texts in whole], run))
        return written


def load_judge(context: LoadContext, step: Judge) -> LoadedJudge:
    """Load a model to judge with.

    Raises `ModelError` for a tokenizer without a token for some letter, when letters are to be read.
    """
    from curate.models.generation.decoding import load_decoder

    decoder = load_decoder(context)
    letters = None
    if "logits" in (step.mode, step.reflection):
        letters = dict(letter_tokens(decoder.tokenizer, str(context.model), INSTEAD))
    prompter = Prompter(decoder.tokenizer, step.template, context.chat)
    return LoadedJudge(decoder, prompter, step, letters)


def _columns(choice: _Said, reflection: float) -> dict[str, Any]:
    verdict = verdict_of(choice.shares, reflection)
    return {
        "better_second": float(choice.shares[0, 1]),
        "better_first": float(choice.shares[1, 0]),
        "consistency": verdict.consistency,
        "reflection": verdict.reflection,
        "confidence": verdict.confidence,
        "agree": verdict.agree,
        "mass": choice.mass,
    }


def _likely(log_probs: Float[np.ndarray, "m 3"], tokens: int) -> _Said:
    mass = float(np.exp(np.logaddexp.reduce(log_probs, axis=-1)).mean())
    return _Said(shares_of(log_probs), mass, tokens)


def _counted(replies: Sequence[Sequence[str]], tokens: int) -> _Said:
    """Return the share of the replies to each prompt that choose each letter."""
    chosen = [[chosen_letter(text) for text in row] for row in replies]
    shares = np.array([[row.count(letter) / len(row) for letter in LETTERS] for row in chosen])
    return _Said(shares, float(shares.sum(axis=-1).mean()), tokens)
