"""Sampled answers from a server, as the columns of the scorer ``samples``."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curate.contracts import FAILURE, TOKENS_RUN, Columns, Example, LoadContext
from curate.errors import ConfigError, ExampleFailure
from curate.models.classifiers.text_model import make_each, object_column
from curate.models.files import find_folder
from curate.models.generation.server import Asked, CompletionServer, Replied
from curate.models.load import load_tokenizer
from curate.models.text.chat_options import ChatOptions
from curate.models.text.prompts import Prompter
from curate.models.text.said import without_reasoning
from curate.models.text.templates import CHAT
from curate.scorers.bsdetector.prompts import sampling_messages

if TYPE_CHECKING:
    from curate.scorers.samples import Samples

SEEDS: Final = 1 << 31  # servers take seeds below this


def served(scorer: "Samples", context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
    """Return a function that draws the samples of a block of examples from the scorer's server.

    Of the local model only the tokenizer is read, and only for a text template. Raises
    `ModelError` at once when there is no such server or model.
    """
    from curate.models.generation.gumbel import sample_key

    server = CompletionServer(
        scorer.server, scorer.served_model, scorer.max_new_tokens, scorer.temperature
    )
    arguments = _served_arguments(scorer, context.chat)
    server.check()
    prompt = _prompts(scorer, context)

    def asked(example: Example) -> list[Asked]:
        text = prompt(example)
        tools = example.tools if scorer.template == CHAT else None
        keys = (sample_key(scorer.seed, example.id, number) for number in range(scorer.k))
        return [Asked(text, key % SEEDS, tools, arguments) for key in keys]

    def draw(examples: Sequence[Example]) -> Columns:
        wanted, places, reasons = make_each(examples, asked)
        replies = server.answers([request for row in wanted for request in row])
        texts = ["[]"] * len(examples)
        n_tokens = [np.zeros(0, dtype=np.int32)] * len(examples)
        n_capped, run = np.zeros((2, len(examples)), dtype=np.int64)
        for number, place in enumerate(places):
            row = replies[number * scorer.k : (number + 1) * scorer.k]
            answers = [reply for reply in row if isinstance(reply, Replied)]
            refused = [reply for reply in row if isinstance(reply, ExampleFailure)]
            if refused:
                reasons[place] = refused[0].reason
                continue
            texts[place] = json.dumps([answer.text for answer in answers], ensure_ascii=False)
            n_tokens[place] = np.array([answer.n_tokens for answer in answers], dtype=np.int32)
            n_capped[place] = sum(not answer.ended for answer in answers)
            run[place] = answers[0].n_prompt_tokens + n_tokens[place].sum()
        return {
            "texts": object_column(texts), "n_tokens": object_column(n_tokens),
            "n_capped": n_capped, FAILURE: object_column(reasons), TOKENS_RUN: run,
        }  # fmt: skip

    return draw


def _served_arguments(scorer: "Samples", chat: ChatOptions | None) -> Mapping[str, Any] | None:
    """Return the arguments for the server's chat template; `ConfigError` for what it cannot be told."""
    if chat is None or scorer.template != CHAT:
        return None
    if chat.template is not None or chat.from_trl:
        raise ConfigError(
            f"the server at {scorer.server} renders chats with its own template; start it with the "
            "template you want (vLLM: --chat-template FILE) and leave out --chat-template, or render "
            "here with --set samples.template=plain"
        )
    if chat.reasoning == "inline":
        raise ConfigError(
            f"the server at {scorer.server} renders chats with its own template, so reasoning cannot be "
            "put inline here; use --reasoning drop, or --set samples.template=plain"
        )
    return chat.template_args or None


def _prompts(scorer: "Samples", context: LoadContext) -> Callable[[Example], Any]:
    """Return a function from an example to its messages, or under a text template to its text."""
    drops_reasoning = context.chat is not None and context.chat.reasoning == "drop"

    def messages(example: Example) -> list[Mapping[str, Any]]:
        example = without_reasoning(example) if drops_reasoning else example
        asked = sampling_messages(example.messages[:-1], scorer.prompt)
        return [
            {key: value for key, value in message.items() if value is not None} for message in asked
        ]

    if scorer.template == CHAT:
        return messages
    assert context.model is not None
    folder = find_folder(context.model, context.revision)[0]
    prompter = Prompter(load_tokenizer(str(folder)), scorer.template, context.chat)
    return lambda example: prompter.text(messages(example), example.tools)
