"""A causal language model that continues prompts: samples of answers, and choices between tokens.

Every prompt runs once: samples, and prompts that begin alike, share its key-value cache.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from curate.contracts import LoadContext
from curate.errors import ModelError
from curate.models.batch import default_batch_tokens, plan_batches
from curate.models.files import find_folder
from curate.models.generation.gumbel import gumbel_argmax, sample_key
from curate.models.generation.refilling import draw_refilled
from curate.models.load import context_length, load_causal, load_tokenizer, take_apart
from curate.models.memory import Limit, run_in_halves

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from curate.models.passes.head import Head

CACHED_PER_RUN: Final = 8  # tokens kept in the cache for one that may run at a time, on a CPU

T = TypeVar("T")


@final
@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn.

    Parameters
    ----------
    k
        Answers to each prompt.
    max_new_tokens
        Maximum tokens of an answer, including its end; fewer if the context ends earlier.
    temperature
        1 draws from the model's full distribution; 0 is greedy.
    seed
        Part of the key of every answer.
    """

    k: int
    max_new_tokens: int
    temperature: float
    seed: int


@final
@dataclass(frozen=True, slots=True)
class Sample:
    """One answer: its text without special tokens, its tokens with the end, and whether it ended."""

    text: str
    n_tokens: int
    ended: bool


@final
@dataclass(frozen=True, eq=False)
class Decoder:
    """A loaded model, ready to continue prompts.

    Parameters
    ----------
    backbone, head
        The model without its head, and the head.
    ends
        Token ids that end an answer.
    context
        Tokens the model can attend to, or None.
    batch_tokens
        Tokens that may run together, including padding.
    """

    backbone: Any
    head: "Head"
    tokenizer: "PreTrainedTokenizerBase"
    ends: frozenset[int]
    context: int | None
    device: str
    batch_tokens: int

    @cached_property
    def _takes_positions(self) -> bool:
        return "position_ids" in inspect.signature(self.backbone.forward).parameters

    def draw(
        self, prompts: Sequence[Sequence[int]], ids: Sequence[str], drawing: Sampling
    ) -> list[list[Sample] | None]:
        """Return ``k`` answers to each prompt, None where one prompt alone exceeds the memory.

        An answer depends on its example's id, its number, the seed and the model only, up to
        rounding of the logits: not on the batch, nor on how many others are drawn. On a GPU answers
        that are finished make room for the next prompts.

        Parameters
        ----------
        prompts
            Token ids, each with room for at least one more token in the context.
        ids
            Example ids, distinct.
        """
        on_gpu = self.device.startswith("cuda")
        found = draw_refilled(self, prompts, ids, drawing, self.batch_tokens) if on_gpu else {}
        drawn: dict[int, list[Sample] | None] = {
            place: [self._drawn(tokens) for tokens in answers] for place, answers in found.items()
        }
        left = [place for place in range(len(prompts)) if place not in drawn]
        if on_gpu and left:
            torch.cuda.empty_cache()  # memory may have run out
        lengths = np.array([len(prompts[place]) for place in left], dtype=np.int64)
        held = (lengths + drawing.max_new_tokens) * drawing.k
        cached = self.batch_tokens * (1 if on_gpu else CACHED_PER_RUN)

        def run(rows: Sequence[int]) -> list[list[Sample]]:
            chosen = [left[row] for row in rows]
            return self._draw([prompts[n] for n in chosen], [ids[n] for n in chosen], drawing)

        others = self._in_batches(held, [ids[place] for place in left], cached, run)
        drawn |= dict(zip(left, others, strict=True))
        return [drawn[place] for place in range(len(prompts))]

    def choices(
        self, prompts: Sequence[Sequence[Sequence[int]]], ids: Sequence[str], tokens: Sequence[int]
    ) -> list[Float[np.ndarray, "m t"] | None]:
        """Return log-probabilities of some next tokens after prompts with a common prefix, in float64.

        One forward pass over what the ``m`` prompts of a row share, which is at least their first
        token, and one over what follows. None where a row alone exceeds the memory.
        """
        lengths = np.array([sum(len(prompt) for prompt in row) for row in prompts], dtype=np.int64)
        wanted = torch.tensor(list(tokens), device=self.device)

        def run(rows: Sequence[int]) -> list[Float[np.ndarray, "m t"]]:
            return self._choose([prompts[r] for r in rows], wanted)

        return self._in_batches(lengths, ids, self.batch_tokens, run)

    def next_log_probs(
        self, prompts: Sequence[Sequence[int]], ids: Sequence[str], tokens: Sequence[int]
    ) -> list[Float[np.ndarray, " t"] | None]:
        """Return log-probabilities of some next tokens after each prompt, in float64.

        One forward pass of the backbone, rows padded on the right, and of the head at the last token of
        each prompt only. None where a prompt alone exceeds the memory.
        """
        lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
        wanted = torch.tensor(list(tokens), device=self.device)

        def run(rows: Sequence[int]) -> list[Float[np.ndarray, " t"]]:
            return self._next([prompts[r] for r in rows], wanted)

        return self._in_batches(lengths, ids, self.batch_tokens, run)

    @staticmethod
    def tokens_run(prompts: Sequence[Sequence[int]]) -> int:
        """Return how many tokens `choices` runs for one row of prompts, padding not counted."""
        return sum(len(prompt) for prompt in prompts) - (len(prompts) - 1) * _shared(prompts)

    def _in_batches(
        self,
        lengths: np.ndarray,
        ids: Sequence[str],
        budget: int,
        run: Callable[[Sequence[int]], list[T]],
    ) -> list[T | None]:
        limit = Limit(lambda rows: int(sum(lengths[rows])))
        results: list[T | None] = [None] * len(ids)
        with torch.inference_mode():
            for batch in plan_batches(lengths, ids, budget):
                rows = batch.tolist()
                for place, result in run_in_halves(rows, run, self.device, limit=limit):
                    results[rows[place]] = result
        return results

    def _draw(
        self, prompts: Sequence[Sequence[int]], ids: Sequence[str], drawing: Sampling
    ) -> list[list[Sample]]:
        k = drawing.k
        hidden, cache, mask = self.prefill(prompts)
        cache.batch_repeat_interleave(k)
        mask = mask.repeat_interleave(k, 0)
        logits = self.logits(hidden[:, -1]).repeat_interleave(k, 0)
        numbers = [(i, sample) for i in ids for sample in range(k)]
        keys = self._tensor([sample_key(drawing.seed, *number) for number in numbers])
        caps = [self.cap(len(prompt), drawing) for prompt in prompts for _ in range(k)]
        drawn: list[list[int]] = [[] for _ in numbers]
        alive = list(range(len(numbers)))
        for step in range(max(caps)):
            chosen = gumbel_argmax(logits, keys, step, drawing.temperature)
            going = []
            for place, (row, token) in enumerate(zip(alive, chosen.tolist(), strict=True)):
                drawn[row].append(token)
                if token not in self.ends and step + 1 < caps[row]:
                    going.append(place)
            if not going:
                break
            if len(going) < len(alive):
                kept = self._tensor(going)
                cache.batch_select_indices(kept)
                mask, keys, chosen = mask[kept], keys[kept], chosen[kept]
                alive = [alive[place] for place in going]
            mask = torch.cat([mask, mask.new_ones(len(alive), 1)], 1)
            hidden, cache = self.run(chosen[:, None], mask, cache)
            logits = self.logits(hidden[:, -1])
        answers = [self._drawn(tokens) for tokens in drawn]
        return [answers[n : n + k] for n in range(0, len(answers), k)]

    def _choose(
        self, prompts: Sequence[Sequence[Sequence[int]]], wanted: Tensor
    ) -> list[Float[np.ndarray, "m t"]]:
        m = len(prompts[0])
        shared = [_shared(row) for row in prompts]
        _, cache, mask = self.prefill([row[0][:n] for row, n in zip(prompts, shared, strict=True)])
        cache.batch_repeat_interleave(m)
        rests = [prompt[n:] for row, n in zip(prompts, shared, strict=True) for prompt in row]
        width = max(len(rest) for rest in rests)
        ids = self._tensor([[*rest, *[0] * (width - len(rest))] for rest in rests])
        tail = self._tensor([[1] * len(rest) + [0] * (width - len(rest)) for rest in rests])
        mask = torch.cat([mask.repeat_interleave(m, 0), tail], 1)
        hidden, _ = self.run(ids, mask, cache)
        last = self._tensor([len(rest) - 1 for rest in rests])
        logits = self.logits(hidden[torch.arange(len(rests), device=self.device), last])
        log_probs = logits.double().log_softmax(-1)[:, wanted].cpu().numpy()
        return [log_probs[n : n + m] for n in range(0, len(log_probs), m)]

    def _next(
        self, prompts: Sequence[Sequence[int]], wanted: Tensor
    ) -> list[Float[np.ndarray, " t"]]:
        width = max(len(prompt) for prompt in prompts)
        rows = self._tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in prompts])
        hidden = self.backbone(input_ids=rows, use_cache=False).last_hidden_state
        last = self._tensor([len(prompt) - 1 for prompt in prompts])
        logits = self.logits(hidden[torch.arange(len(rows), device=self.device), last])
        precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
        rest = precise.logsumexp(-1, keepdim=True).double()
        return list((precise[:, wanted].double() - rest).cpu().numpy())

    def prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Any, Tensor]:
        """Run prompts padded on the left; return hidden states, cache and mask."""
        width = max(len(prompt) for prompt in prompts)
        ids = self._tensor([[0] * (width - len(prompt)) + [*prompt] for prompt in prompts])
        mask = self._tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        hidden, cache = self.run(ids, mask, None)
        if not hasattr(cache, "batch_repeat_interleave"):
            raise ModelError(
                f"the model in {self.tokenizer.name_or_path!r} keeps its past as "
                f"{type(cache).__name__}, which cannot be shared between answers; "
                "use a causal language model with a key-value cache"
            )
        return hidden, cache, mask

    def run(self, ids: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Run the next tokens of some rows; return their hidden states and the cache with them."""
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        where = {"position_ids": positions} if self._takes_positions else {}
        out = self.backbone(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **where
        )
        return out.last_hidden_state, out.past_key_values

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits, (rows, V), of final hidden states."""
        return self.head.finish(self.head.project(hidden))

    def cap(self, length: int, drawing: Sampling) -> int:
        """Return how many tokens an answer to a prompt of some length may have."""
        room = drawing.max_new_tokens if self.context is None else self.context - length
        return max(1, min(drawing.max_new_tokens, room))

    def _drawn(self, tokens: Sequence[int]) -> Sample:
        ended = tokens[-1] in self.ends
        text = self.tokenizer.decode([*tokens[: len(tokens) - ended]], skip_special_tokens=True)
        return Sample(str(text), len(tokens), ended)

    def _tensor(self, values: Sequence[Any]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)


def load_decoder(context: LoadContext) -> Decoder:
    """Load the model of a row scorer's role, to continue prompts.

    Of the checkpoint's own generation settings only the ends of a turn are used.
    """
    assert context.model is not None
    name = context.model
    folder = str(find_folder(name, context.revision)[0])
    model = load_causal(name, folder, context.adapter, context.device, context.dtype)
    tokenizer = load_tokenizer(folder)
    backbone, head = take_apart(name, model, context.dtype)
    own = model.generation_config.eos_token_id
    listed = [tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
    return Decoder(
        backbone=backbone,
        head=head,
        tokenizer=tokenizer,
        ends=frozenset(end for end in listed if end is not None),
        context=context_length(model.config.get_text_config(), tokenizer),
        device=context.device,
        batch_tokens=context.batch_tokens or default_batch_tokens(context.device),
    )


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many leading ids all prompts share, leaving at least one in each."""
    most = min(len(prompt) for prompt in prompts) - 1
    first = prompts[0]
    return next((n for n in range(most) if any(p[n] != first[n] for p in prompts)), most)
