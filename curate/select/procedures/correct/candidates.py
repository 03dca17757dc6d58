"""Candidates: what a fine-tuned model answers to the prompts of some examples."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import pyarrow as pa

from curate.contracts import OUT_OF_MEMORY, Example, LoadContext, Rendering
from curate.data.revisions import revised_example
from curate.errors import ExampleFailure
from curate.models.classifiers.text_model import make_each
from curate.models.text.chat_options import ChatOptions
from curate.models.text.prompts import Prompter
from curate.models.text.render import PROMPT_EXCEEDS_CONTEXT, Renderer
from curate.models.text.templates import turn_text
from curate.scorers.bsdetector.prompts import NO_PROMPT
from curate.select.procedures.correct.parts import Part

if TYPE_CHECKING:
    from curate.models.generation.decoding import Decoder, Sample, Sampling
    from curate.train.data import TrainRow

SCHEMA: Final = pa.schema(
    [
        ("parent_id", pa.string()), ("id", pa.string()), ("response", pa.string()),
        ("n_tokens", pa.int64()), ("parent_confidence", pa.float64()), ("failure", pa.string()),
    ]
)  # fmt: skip
EMPTY: Final = "empty"
UNFINISHED: Final = "unfinished"
UNCHANGED: Final = "unchanged"
TOOL_CALL: Final = "calls_a_tool"


@final
@dataclass(frozen=True, eq=False)
class Answerer:
    """A loaded model that answers prompts, part by part.

    An answer that is empty, does not end before its cap, or equals the current response is not a
    candidate, and a prompt that does not fit gives none. Their ``failure`` says so.

    Parameters
    ----------
    prompter
        Of the template the model was trained in.
    confidence
        Of the current response, by example id.
    counted
        Template in which the tokens of an example are counted, or None to leave them out.
    chat
        How they go through a chat template, or None for the defaults.
    """

    decoder: "Decoder"
    prompter: "Prompter"
    drawing: "Sampling"
    confidence: Mapping[str, float]
    counted: str | None
    chat: ChatOptions | None = None

    def __call__(self, rows: "Sequence[TrainRow]") -> Part:
        """Answer the prompts of some examples; the facts are tokens and seconds."""
        began = time.perf_counter()
        examples = [row.example for row in rows]
        prompts, places, reasons = make_each(examples, self._prompt)
        answers = self.decoder.draw(prompts, [examples[p].id for p in places], self.drawing)
        texts: list[str | None] = [None] * len(examples)
        tokens = 0
        for place, prompt, drawn in zip(places, prompts, answers, strict=True):
            tokens += len(prompt) + sum(answer.n_tokens for answer in drawn or ())
            text, reasons[place] = _candidate(examples[place], drawn)
            texts[place] = text if reasons[place] is None else None
        made = [
            revised_example(example, text) if text is not None else None
            for example, text in zip(examples, texts, strict=True)
        ]
        columns: dict[str, Sequence[Any]] = {
            "parent_id": [example.id for example in examples],
            "id": [revised and revised.id for revised in made],
            "response": texts,
            "n_tokens": self._counts(made),
            "parent_confidence": [self.confidence[example.id] for example in examples],
            "failure": reasons,
        }
        table = pa.Table.from_pydict(columns, schema=SCHEMA)
        return table, {"tokens": tokens, "seconds": time.perf_counter() - began}

    def _prompt(self, example: Example) -> list[int]:
        *history, last = example.messages
        if not history:
            raise ExampleFailure(NO_PROMPT)
        if last.get("tool_calls"):
            raise ExampleFailure(TOOL_CALL)
        turn_text(last)  # raises for what a judge could not be shown
        ids = self.prompter.ids(history, example.tools)
        if self.decoder.context is not None and len(ids) >= self.decoder.context:
            raise ExampleFailure(PROMPT_EXCEEDS_CONTEXT)
        return ids

    def _counts(self, made: Sequence[Example | None]) -> list[int | None]:
        if self.counted is None:
            return [None] * len(made)
        renderer = Renderer(self.decoder.tokenizer, None, self.chat)
        rendered = iter(
            renderer.render(
                [example for example in made if example is not None], Rendering(self.counted)
            )
        )
        counts: list[int | None] = []
        for example in made:
            row = None if example is None else next(rendered)
            counts.append(None if row is None or isinstance(row, str) else len(row.ids))
        return counts


def load_answerer(
    context: LoadContext,
    template: str,
    drawing: "Sampling",
    confidence: Mapping[str, float],
    counted: str | None,
) -> Answerer:
    """Load a fine-tuned model to answer in the template it was trained in."""
    from curate.models.generation.decoding import load_decoder

    decoder = load_decoder(context)
    prompter = Prompter(decoder.tokenizer, template, context.chat)
    return Answerer(decoder, prompter, drawing, confidence, counted, context.chat)


def _candidate(example: Example, drawn: "Sequence[Sample] | None") -> tuple[str, str | None]:
    """Return the text of an answer, and why it is not a candidate, if so."""
    if drawn is None:
        return "", OUT_OF_MEMORY
    text = drawn[0].text.strip()
    if not text:
        return text, EMPTY
    if not drawn[0].ended:
        return text, UNFINISHED
    return text, UNCHANGED if text == turn_text(example.messages[-1]).strip() else None
