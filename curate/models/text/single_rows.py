"""Examples that are one row each, in batches, for passes that tell the gradients of rows apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Bool, Int

from curate.contracts import Example, Rendering
from curate.models.batch import plan_batches
from curate.models.text.render import NO_SCORED_TOKENS, Rendered, Renderer

SEVERAL_ROWS: Final = "turns_in_several_rows"  # of a chat template that rewrites history


@final
@dataclass(frozen=True, slots=True, eq=False)
class SingleRows:
    """The examples of a block that are one row with something scored, by their place in the block.

    Parameters
    ----------
    rows
        Each as the model sees it.
    keeps
        Which of its scored positions count, (T,), at least one.
    reasons
        Why an example is not among them, None for those that are, (n,).
    lengths
        Tokens of each row, 0 for the others, (n,).
    batches
        Their places in batches of similar length, the longest first.
    """

    rows: dict[int, Rendered]
    keeps: dict[int, Bool[np.ndarray, " T"]]
    reasons: list[str | None]
    lengths: Int[np.ndarray, " n"]
    batches: list[Int[np.ndarray, " b"]]

    @classmethod
    def of(
        cls,
        renderer: Renderer,
        examples: Sequence[Example],
        rendering: Rendering,
        *,
        score_end: bool,
        batch_tokens: int,
    ) -> "SingleRows":
        """Render examples; with ``score_end`` the ends of turns count too."""
        rendered = renderer.render(examples, rendering)
        reasons: list[str | None] = [row if isinstance(row, str) else None for row in rendered]
        rows, keeps = dict[int, Rendered](), {}
        for place, row in enumerate(rendered):
            if isinstance(row, str):
                continue
            keep = ~row.is_end | score_end
            if not keep.any():
                reasons[place] = NO_SCORED_TOKENS
            elif len(row.starts) > 1:
                reasons[place] = SEVERAL_ROWS
            else:
                rows[place], keeps[place] = row, keep
        lengths = np.zeros(len(examples), dtype=np.int64)
        for place, row in rows.items():
            lengths[place] = len(row.ids)
        batches = plan_batches(lengths, [example.id for example in examples], batch_tokens)
        return cls(rows, keeps, reasons, lengths, batches)

    def of_batch(
        self, batch: Int[np.ndarray, " b"]
    ) -> tuple[list[Rendered], list[Bool[np.ndarray, " T"]]]:
        """Return the rows of a batch, and which positions of each count."""
        places = batch.tolist()
        return [self.rows[place] for place in places], [self.keeps[place] for place in places]
