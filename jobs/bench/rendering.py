"""Figures of rendering with tokenisation, against the tokenizer's own way to a mask of the same rows."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from curate.contracts import Example, Rendering
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.paired import interleave, listed

ROWS: Final = "alpaca_quality"
BATCH: Final = 64
TURNS: Final = 4
TEMPLATE: Final = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

Conversation = Sequence[Mapping[str, Any]]


def one_turn(bench: Bench) -> Figure:
    """Rows a second of conversations of one turn."""
    return _rendered(bench, "render-one-turn", 1)


def four_turns(bench: Bench) -> Figure:
    """Rows a second of conversations of four turns, each put together from four rows."""
    return _rendered(bench, "render-four-turns", TURNS)


def _rendered(bench: Bench, name: str, turns: int) -> Figure:
    from curate.models.load import load_tokenizer
    from curate.models.text.chat_options import ChatOptions
    from curate.models.text.render import Renderer

    tokenizer = load_tokenizer(str(bench.inputs.tokenizer()))
    renderer = Renderer(tokenizer, None, ChatOptions(template=TEMPLATE))
    singles = [row.messages for row in bench.inputs.examples(ROWS, bench.sizes.rendered)]
    talks = [
        tuple(message for talk in singles[start : start + turns] for message in talk)
        for start in range(0, len(singles) - turns + 1, turns)
    ]
    work = [talks[start : start + BATCH] for start in range(0, len(talks), BATCH)]

    def ours(piece: Sequence[Conversation]) -> object:
        examples = [Example(f"{n:032x}", tuple(talk)) for n, talk in enumerate(piece)]
        rows = renderer.render(examples, Rendering("chat"))
        if any(isinstance(row, str) for row in rows):
            raise AssertionError("a row of the benchmark cannot be rendered")
        return rows

    def masked(given: Any) -> object:
        return tokenizer.apply_chat_template(
            given, chat_template=TEMPLATE, return_dict=True, return_assistant_tokens_mask=True
        )

    def each(piece: Sequence[Conversation]) -> object:
        return [masked(list(talk)) for talk in piece]

    def together(piece: Sequence[Conversation]) -> object:
        return masked([list(talk) for talk in piece])

    alone = interleave(bench, ours, each, work, bench.sizes.runs)
    batched = interleave(bench, ours, together, work, bench.sizes.runs)
    seconds = statistics.median(alone.ours)
    detail = (
        f"{len(talks):,} conversations, {len(talks) / seconds:,.0f} a second in batches of {BATCH}; "
        f"the single runs: {listed(alone.speedups)}; against the reference given {BATCH} conversations "
        f"a call: {statistics.median(batched.speedups):,.2f} x ({listed(batched.speedups)})"
    )
    reference = (
        "rows/s by those of apply_chat_template(return_assistant_tokens_mask=True), called for one "
        f"conversation after the other as trainers do; {turns} turn{'s' if turns > 1 else ''} each"
    )
    return judged(name, statistics.median(alone.speedups), Goal(">=", 1.0, "x"), reference, detail)
