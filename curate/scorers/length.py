"""How long prompt and response are, in a model's tokens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from curate.contracts import Column, Columns, Example, LoadContext, Rendering, Role, RowScorer
from curate.errors import ExampleFailure
from curate.models.files import find_folder
from curate.models.load import load_tokenizer
from curate.models.text.render import Renderer
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class Length(RowScorer):
    """Tokens of prompt and response under the target's tokenizer, without truncation.

    Reads only the tokenizer, no weights. Ends of turns are not counted; everything else outside
    the assistant turns (BOS, the words of the template) belongs to the prompt. Token budgets
    count the sum of both.

    Parameters
    ----------
    template
        Text template, or ``chat``; ``plain`` counts the texts themselves.

    Examples
    --------
    >>> Length().outputs["response_tokens"].dtype
    'int'
    """

    name: ClassVar[str] = "length"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "target"
    reads_weights: ClassVar[bool] = False
    outputs: ClassVar[Mapping[str, Column]] = {
        "prompt_tokens": Column("int", "tokens before and between responses"),
        "response_tokens": Column("int", "tokens of all assistant turns, without their ends"),
    }
    template: str = "plain"

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        assert context.model is not None
        folder, _ = find_folder(context.model, context.revision)
        renderer = Renderer(load_tokenizer(str(folder)), None, context.chat)
        rendering = Rendering(self.template)

        def count(examples: Sequence[Example]) -> Columns:
            counts = np.zeros((2, len(examples)), dtype=np.int64)
            for number, rendered in enumerate(renderer.render(examples, rendering)):
                if isinstance(rendered, str):
                    raise ExampleFailure(rendered)
                counts[:, number] = len(rendered.ids) - rendered.n_scored, rendered.n_scored
            return {"prompt_tokens": counts[0], "response_tokens": counts[1]}

        return count
