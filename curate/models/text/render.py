"""From examples to token ids, scored positions and truncation: everything a pass sees."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from jaxtyping import Bool, Int

from curate.contracts import Example, Rendering
from curate.contracts.conversation import is_trained
from curate.errors import ExampleFailure, ModelError
from curate.models.text.align import Tokens, TurnMarker, covered
from curate.models.text.chat import ChatTemplate
from curate.models.text.chat_options import ChatOptions
from curate.models.text.masks import CURATE, LLAMA_FACTORY, TRL
from curate.models.text.said import without_reasoning
from curate.models.text.templates import CHAT, Span, scored_spans, text_template, turn_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_SCORED_TOKENS: Final = "no_scored_tokens"
PROMPT_EXCEEDS_CONTEXT: Final = "prompt_exceeds_context"
NOT_UNICODE: Final = "text_is_not_unicode"
TEXT_TOO_LONG: Final = "text_too_long"
MAX_CHARS: Final = 12_000_000  # a tokenizer needs some 240 bytes of memory for each


@final
@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """One segment of one example as the model sees it, in one row or several.

    Parameters
    ----------
    ids
        Token ids to feed, (n,), row after row. An appended end token is a target only, so it is not
        among them.
    positions
        Index into ``ids`` of the token whose hidden state predicts each scored token, (T,).
    targets
        Id of each scored token, (T,).
    is_end
        Whether each scored token ends a turn, (T,).
    truncated
        Whether tokens of the text were cut off on the right.
    n_scored
        Scored tokens of the text before truncation, ends of turns not counted.
    starts
        Where in ``ids`` each row starts; no row sees another. One unless a chat template rewrites
        history, see `curate.models.text.chat.ChatTemplate`.
    blank_of
        Of a blank, the token ids it stands for, which decide the rows it runs with; None of any other.
    """

    ids: Int[np.ndarray, " n"]
    positions: Int[np.ndarray, " T"]
    targets: Int[np.ndarray, " T"]
    is_end: Bool[np.ndarray, " T"]
    truncated: bool
    n_scored: int
    starts: tuple[int, ...] = (0,)
    blank_of: Int[np.ndarray, " n"] | None = None

    @property
    def planned_ids(self) -> Int[np.ndarray, " n"]:
        """Token ids that decide which rows it runs with."""
        return self.ids if self.blank_of is None else self.blank_of

    @property
    def edges(self) -> list[tuple[int, int]]:
        """Start and end in ``ids`` of each row."""
        return list(pairwise([*self.starts, len(self.ids)]))

    def blank(self) -> "Rendered":
        """Return rows of the same shape that say nothing: what runs beside them gets the same bits."""
        nothing = np.zeros_like(self.ids)
        return replace(
            self, ids=nothing, targets=np.zeros_like(self.targets), blank_of=self.planned_ids
        )


@final
@dataclass(frozen=True, slots=True)
class _Text:
    text: str
    spans: tuple[Span, ...]
    exact: bool = (
        False  # whether blanks after the end of a turn are scored where they are in a span
    )


@final
class Renderer:
    """Tokenises batches of examples for one tokenizer.

    Parameters
    ----------
    tokenizer
        A fast tokenizer; any other has no offsets and is refused with `ModelError`.
    context
        Tokens the model can attend to, or None for no limit.
    chat
        How conversations go through a chat template, or None for the defaults.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        context: int | None,
        chat: ChatOptions | None = None,
    ) -> None:
        if not tokenizer.is_fast:
            raise ModelError(
                f"the tokenizer of {tokenizer.name_or_path!r} is a slow one and reports no character "
                "offsets, which exact response masks need; save a tokenizer.json beside the model"
            )
        self.tokenizer = tokenizer
        self.context = context
        backend: Any = tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._eos: int | None = tokenizer.eos_token_id
        self._bos: int | None = tokenizer.bos_token_id
        special = {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        self._marker = TurnMarker(backend, special | set(tokenizer.all_special_ids))
        probe = backend.encode("a", add_special_tokens=True).special_tokens_mask
        self._n_lead = probe.index(0) if 0 in probe else 0  # what the tokenizer puts in front
        self.options = chat or ChatOptions()
        self._chat: ChatTemplate | None = None

    @property
    def chat(self) -> ChatTemplate:
        """The chat template; raises `ModelError` for a tokenizer without one."""
        if self._chat is None:
            self._chat = ChatTemplate(self.tokenizer, self.options)
        return self._chat

    def render(self, examples: Sequence[Example], rendering: Rendering) -> list[Rendered | str]:
        """Render a batch; an example that cannot be rendered gives the reason instead."""
        texts: list[tuple[_Text, ...] | str] = []
        for example in examples:
            try:
                texts.append(self._texts(example, rendering))
            except ExampleFailure as failure:
                texts.append(failure.reason)
        good = [text for rows in texts if not isinstance(rows, str) for text in rows]
        tokens = iter(self._tokenise(good, rendering))
        return [
            rows if isinstance(rows, str) else self._joined([next(tokens) for _ in rows], rendering)
            for rows in texts
        ]

    def texts(self, example: Example, rendering: Rendering) -> tuple[str, ...]:
        """Return the text of each row that one rendering of an example is tokenised from.

        Raises `ExampleFailure` as `render` would report it.
        """
        return tuple(row.text for row in self._texts(example, rendering))

    def _texts(self, example: Example, rendering: Rendering) -> tuple[_Text, ...]:
        result: tuple[_Text, ...]
        _check_length(sum(len(message.get("content") or "") for message in example.messages))
        if rendering.template == CHAT and rendering.part == "full":
            exact = self.options.mask != CURATE
            rows = self.chat.rows(example, rendering.turns)
            result = tuple(_Text(row.text, row.spans, exact) for row in rows)
            if rendering.scored == "all":  # a token that several rows share is scored once
                result = result[-1:]
        elif rendering.part == "full":
            if self.options.reasoning == "drop":
                example = without_reasoning(example)
            text, spans = text_template(rendering.template).render(example)
            result = (_Text(text, scored_spans(spans, rendering.turns)),)
        else:
            if self.options.reasoning == "drop":
                example = without_reasoning(example)
            result = (_lone_response(example, rendering),)
        for row in result:
            _check_unicode(row.text)
            _check_length(len(row.text))
        return result

    def _tokenise(self, texts: Sequence[_Text], rendering: Rendering) -> list[Tokens]:
        if not texts:
            return []
        is_chat = rendering.template == CHAT and rendering.part == "full"
        apart = is_chat and self.options.mask == LLAMA_FACTORY
        if rendering.boundary == "separate" or apart:
            tokens = self._in_pieces(texts, add_special=not is_chat)
        else:
            tokens = self._at_once(texts, add_special=not is_chat)
        for row in tokens:
            if rendering.scored == "all":
                row.scored[:] = True
            self._close(row, append=not (is_chat and self.options.mask == TRL))
        return tokens

    def _at_once(self, texts: Sequence[_Text], *, add_special: bool) -> list[Tokens]:
        encodings = self._backend.encode_batch(
            [t.text for t in texts], add_special_tokens=add_special
        )
        tokens = []
        for encoding, text in zip(encodings, texts, strict=True):
            own = self._own(encoding) if add_special else slice(0, len(encoding))
            row = Tokens.unscored(np.array(encoding.ids, dtype=np.int32)[own])
            for rows in covered(encoding, own, text.spans):
                self._marker.mark(row, rows, text.exact)
            tokens.append(row)
        return tokens

    def _in_pieces(self, texts: Sequence[_Text], *, add_special: bool) -> list[Tokens]:
        cuts = [_pieces(text) for text in texts]
        heads = self._backend.encode_batch(
            [cut[0][0] for cut in cuts], add_special_tokens=add_special
        )
        flat = [text for cut in cuts for text, _ in cut[1:]]
        rest = iter(self._backend.encode_batch(flat, add_special_tokens=False) if flat else ())
        result = []
        for text, cut, head in zip(texts, cuts, heads, strict=True):
            parts = [np.array(head.ids, dtype=np.int32)[self._own(head)]]
            parts += [np.array(next(rest).ids, dtype=np.int32) for _ in cut[1:]]
            edges = np.cumsum([0, *(len(part) for part in parts)]).tolist()
            tokens = Tokens.unscored(np.concatenate(parts))
            for (_, is_scored), edge in zip(cut, pairwise(edges), strict=True):
                if is_scored:
                    self._marker.mark(tokens, np.arange(*edge), text.exact)
            result.append(tokens)
        return result

    def _own(self, encoding: Any) -> slice:
        """Return the tokens without what the tokenizer appended by itself and without a second BOS."""
        ids, added = encoding.ids, encoding.special_tokens_mask
        end = len(ids)
        while end > self._n_lead and added[end - 1]:
            end -= 1
        twice = end > 1 and added[0] and ids[0] == ids[1] == self._bos
        return slice(int(twice), end)

    def _close(self, tokens: Tokens, *, append: bool) -> None:
        """Append EOS as a last scored position, unless the text has an end of its own."""
        tokens.n_text = len(tokens.ids)
        if (
            not append
            or self._eos is None
            or not tokens.n_text
            or not tokens.scored[-1]
            or tokens.is_end[-1]
        ):
            return
        tokens.end_with(self._eos)

    def _joined(self, rows: Sequence[Tokens], rendering: Rendering) -> Rendered | str:
        """Put the rows of an example one after the other; rows that nothing is scored in are left out."""
        cut = [self._cut(row, rendering) for row in rows]
        kept = [row for row in cut if isinstance(row, Rendered)]
        if not kept:
            return PROMPT_EXCEEDS_CONTEXT if PROMPT_EXCEEDS_CONTEXT in cut else NO_SCORED_TOKENS
        if len(rows) == 1:
            return kept[0]
        starts = np.cumsum([0, *(len(row.ids) for row in kept[:-1])]).tolist()
        return Rendered(
            ids=np.concatenate([row.ids for row in kept]),
            positions=np.concatenate(
                [row.positions + start for row, start in zip(kept, starts, strict=True)]
            ).astype(np.int32),
            targets=np.concatenate([row.targets for row in kept]),
            is_end=np.concatenate([row.is_end for row in kept]),
            truncated=PROMPT_EXCEEDS_CONTEXT in cut or any(row.truncated for row in kept),
            n_scored=sum(int((row.scored & ~row.is_end).sum()) for row in rows),
            starts=tuple(starts),
        )

    def _cut(self, tokens: Tokens, rendering: Rendering) -> Rendered | str:
        limits = [limit for limit in (self.context, rendering.max_length) if limit is not None]
        limit = min(limits, default=tokens.n_text)
        scored = tokens.scored.nonzero()[0]
        if len(scored) and not scored[0]:
            scored = scored[1:]  # nothing precedes the first token, so nothing predicts it
        if not len(scored):
            return NO_SCORED_TOKENS
        truncated = tokens.n_text > limit
        kept = scored[scored < limit] if truncated else scored
        if not len(kept):
            return PROMPT_EXCEEDS_CONTEXT
        return Rendered(
            ids=tokens.ids[: min(limit, tokens.n_text)],
            positions=(kept - 1).astype(np.int32),
            targets=tokens.ids[kept],
            is_end=tokens.is_end[kept],
            truncated=truncated,
            n_scored=int(np.count_nonzero(tokens.scored & ~tokens.is_end)),
        )


def _check_length(n_chars: int) -> None:
    """Refuse a text that would take gigabytes to tokenise, only to be cut off."""
    if n_chars > MAX_CHARS:
        raise ExampleFailure(TEXT_TOO_LONG)


def _check_unicode(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ExampleFailure(NOT_UNICODE) from error


def _lone_response(example: Example, rendering: Rendering) -> _Text:
    turns = [turn_text(m) for m in example.messages if is_trained(m)]
    pieces, spans, length = [rendering.lead], [], len(rendering.lead)
    for number, turn in enumerate(turns if rendering.turns == "all" else turns[-1:]):
        if number:
            pieces.append("\n")
            length += 1
        spans.append((length, length + len(turn)))
        pieces.append(turn)
        length += len(turn)
    return _Text("".join(pieces), tuple(spans))


def _pieces(text: _Text) -> list[tuple[str, bool]]:
    """Cut a text at its spans, in order; the first piece is unscored and may be empty."""
    pieces: list[tuple[str, bool]] = []
    reached = 0
    for start, end in text.spans:
        if start > reached or not pieces:
            pieces.append((text.text[reached:start], False))
        pieces.append((text.text[start:end], True))
        reached = end
    return [*pieces, (text.text[reached:], False)]
