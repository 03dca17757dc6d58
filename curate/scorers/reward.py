"""How much a reward model prefers a response."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final, Literal, final

import numpy as np

from curate.contracts import (
    FAILURE,
    TOKENS_RUN,
    Column,
    Columns,
    Example,
    LoadContext,
    Role,
    RowScorer,
)
from curate.errors import ModelError
from curate.models.classifiers.sequence import load_reward_model
from curate.models.classifiers.text_model import make_each
from curate.models.text.chat import ChatTemplate
from curate.models.text.chat_options import of_any_model
from curate.models.text.templates import TextTemplate, history_and_response
from curate.registry import register

Format = Literal["chat", "oasst", "pair"]

# A system message or a tool's result is written as a turn of the prompter: the format has no other.
OASST: Final = TextTemplate(
    "oasst",
    user="<|prompter|>{}<|endoftext|>",
    assistant="<|assistant|>{}<|endoftext|>",
    joiner="",
    system="<|prompter|>{}<|endoftext|>",
    tool="<|prompter|>{}<|endoftext|>",
)
OASST_TOKENS: Final = ("<|prompter|>", "<|assistant|>", "<|endoftext|>")


@register
@final
@dataclass(frozen=True)
class Reward(RowScorer):
    """The scalar a reward model gives to a conversation, its raw logit.

    Any sequence classifier of transformers with one label, and the GPT-NeoX reward models of
    Open-Assistant (``gpt_neox_reward_model``), which transformers does not have. Weights are
    safetensors. Higher: preferred. The scale is the model's own, so rewards of two models are not
    comparable. A conversation longer than the model's context loses its beginning, because the
    reward is read at its end; ``truncated`` says so. One pass of the model over each conversation,
    in batches of similar length.

    Parameters
    ----------
    format
        ``chat``: the tokenizer's own chat template. ``oasst``: the prompter and assistant marks
        of Open-Assistant, which ``OpenAssistant/oasst-rm-2.1-pythia-1.4b-epoch-2.5`` reads, the
        reward model of InstructMining [1]_. ``pair``: the history and the last response as the
        two texts of a sentence-pair classifier.

    References
    ----------
    .. [1] Cao et al., Instruction Mining: Instruction Data Selection for Tuning Large Language
       Models, COLM 2024, table of indicators. https://arxiv.org/abs/2307.06290

    Examples
    --------
    >>> question, answer = {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}
    >>> OASST.render(Example("0" * 32, (question, answer)))[0]
    '<|prompter|>2+2?<|endoftext|><|assistant|>4<|endoftext|>'
    """

    name: ClassVar[str] = "reward"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "reward"
    outputs: ClassVar[Mapping[str, Column]] = {
        "reward": Column("float", "logit of the reward model, its own scale; higher is better"),
        "truncated": Column("bool", "whether the beginning did not fit the model's context"),
    }
    format: Format = "chat"

    @property
    def template(self) -> str:
        """The format: under ``chat`` the chat template is part of the score's key."""
        return self.format

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        model = load_reward_model(context)
        self._check_format(str(context.model), model.tokenizer)
        add_special = self.format != "chat"  # a chat template writes them itself
        chat = None if add_special else ChatTemplate(model.tokenizer, of_any_model(context.chat))

        def score(examples: Sequence[Example]) -> Columns:
            made, places, reasons = make_each(examples, partial(self._texts, chat))
            first, *second = zip(*made, strict=True) if made else ((),)
            answers = model.answers(first, *second, add_special=add_special)
            n = len(examples)
            rewards, cut, tokens = np.full(n, np.nan), np.zeros(n, bool), np.zeros(n, int)
            rewards[places], cut[places] = answers.values, answers.truncated
            tokens[places] = answers.tokens
            failures = np.array(reasons, dtype=object)
            return {"reward": rewards, "truncated": cut, FAILURE: failures, TOKENS_RUN: tokens}

        return score

    def _texts(self, chat: ChatTemplate | None, example: Example) -> tuple[str, ...]:
        if self.format == "pair":
            return history_and_response(example)
        if self.format == "oasst":
            return (OASST.render(example)[0],)
        assert chat is not None
        return (chat.whole(example),)

    def _check_format(self, model: str, tokenizer: Any) -> None:
        if self.format == "chat" and not tokenizer.chat_template:
            raise ModelError(
                f"the tokenizer of reward model {model!r} has no chat template, which "
                "reward.format=chat needs; pass --set reward.format=oasst for a model of "
                "Open-Assistant, or --set reward.format=pair for a sentence-pair classifier"
            )
        known = tokenizer.get_vocab()
        lacking = [token for token in OASST_TOKENS if token not in known]
        if self.format == "oasst" and lacking:
            raise ModelError(
                f"the tokenizer of reward model {model!r} has no token {lacking[0]!r}, which "
                "reward.format=oasst writes; pass --set reward.format=chat, or a reward model of "
                "Open-Assistant"
            )
