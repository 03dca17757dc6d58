"""A decoder that knows what to say: stands in for a loaded model in tests of what reads its words."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from curate.models.generation.decoding import Sample, Sampling


class StubDecoder:
    """Answers by a function of the prompt's text and the example's id.

    Parameters
    ----------
    reply
        Returns ``k`` texts.
    letter
        Returns the letter the model would write, and its probability; the rest is shared by the others.
    """

    context = None

    def __init__(
        self,
        tokenizer: Any,
        reply: Callable[[str, str, int], Sequence[str]],
        letter: Callable[[str], tuple[str, float]] = lambda text: ("C", 1.0),
    ) -> None:
        self.tokenizer, self.reply, self.letter = tokenizer, reply, letter

    def draw(self, prompts, ids, drawing: Sampling):
        texts = [self.tokenizer.decode(prompt) for prompt in prompts]
        return [
            [Sample(text, 1 + len(text.split()), True) for text in self.reply(prompt, i, drawing.k)]
            for prompt, i in zip(texts, ids, strict=True)
        ]

    def choices(self, prompts, ids, tokens):
        by_letter: dict[str, list[int]] = {}
        for place, token in enumerate(tokens):
            by_letter.setdefault(self.tokenizer.decode([token]).strip(" (").upper(), []).append(
                place
            )
        found = []
        for row in prompts:
            values = np.full((len(row), len(tokens)), 1e-9)
            for number, prompt in enumerate(row):
                chosen, share = self.letter(self.tokenizer.decode(prompt))
                for letter, places in by_letter.items():
                    values[number, places[0]] = (
                        share if letter == chosen else (1 - share) / 2 + 1e-9
                    )
            found.append(np.log(values))
        return found

    @staticmethod
    def tokens_run(prompts) -> int:
        return sum(map(len, prompts))
