"""Answers a model samples for each prompt, kept for every score that reads them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from curate.contracts import (
    FAILURE,
    TOKENS_RUN,
    Column,
    Columns,
    Cost,
    Example,
    LoadContext,
    Role,
    RowScorer,
)
from curate.errors import ConfigError, ExampleFailure
from curate.models.classifiers.text_model import make_each, object_column, that_fit
from curate.models.generation.addresses import check_address
from curate.models.load import tokenizer_and_context
from curate.models.text.prompts import Prompter
from curate.models.text.render import PROMPT_EXCEEDS_CONTEXT
from curate.registry import register
from curate.scorers.bsdetector.answers import PromptStyle
from curate.scorers.bsdetector.prompts import sampling_messages
from curate.scorers.samples_server import served


@register
@final
@dataclass(frozen=True)
class Samples(RowScorer):
    """Answers sampled from a causal language model for the prompt of each example.

    The expensive part of CLEAR and BSDetector [1]_, [2]_, stored once and read by other scores. Each
    prompt runs once and its key-value cache serves all ``k`` answers. Every token is the argmax of
    the logits and Gumbel noise that depends on the example's id, the number of the answer, the
    seed and the step alone: an answer changes neither with the batch, nor with a resumed run, nor
    with ``k`` (unless two perturbed logits agree to rounding). top-p and top-k are off, whatever
    the checkpoint's generation settings say. An answer may be empty, and one that does not end is
    cut at the cap; the texts are kept unchanged.

    A prompt that leaves no room in the context fails with ``prompt_exceeds_context``. Cost: one
    run of each prompt, then ``k`` decoded answers.

    With ``server`` the answers come from a server instead, which should serve the same model: any
    with the completions interface of OpenAI, such as vLLM or llama.cpp, on this machine or its
    private network. Every answer is a separate request with its own seed, many in flight at
    once, retried when the server is busy. **Such answers are the server's**: they do not follow
    from our noise, and may change with the server's version and batching. The
    address and the name are part of the score's key. Under ``chat`` the server applies its own chat
    template; under a text template it continues the text. A key is read from the environment
    variable ``CURATE_SERVER_KEY`` and stored nowhere. Eight fields, two of them for the server.

    Parameters
    ----------
    k
        Answers to each prompt; 5, as in re-implementations (the paper's value was not available).
    prompt
        ``cot`` asks for an explanation and then the answer; ``plain`` sends the prompt alone. The
        wording is ours.
    max_new_tokens
        Maximum length of each answer in tokens.
    temperature
        1 in the paper: the model's own distribution; 0 is greedy.
    seed
        Another seed draws other answers.
    template
        ``chat`` for instruct models, or a text template.
    server
        Address such as ``http://127.0.0.1:8000/v1``; empty: the model of the role runs here.
    served_model
        The name the server gives to the model.

    References
    ----------
    .. [1] Chen and Mueller, Automated Data Curation for Robust Language Model Fine-Tuning, 2024.
       https://arxiv.org/abs/2403.12776
    .. [2] Chen and Mueller, Quantifying Uncertainty in Answers from any Language Model and
       Enhancing their Trustworthiness, ACL 2024. https://arxiv.org/abs/2308.16175

    Examples
    --------
    >>> Samples(k=3).outputs["texts"].dtype
    'text'
    """

    name: ClassVar[str] = "samples"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "target"
    outputs: ClassVar[Mapping[str, Column]] = {
        "texts": Column("text", "the sampled texts, a JSON list in order of their number"),
        "n_tokens": Column(
            "ints", "tokens of each sample, as a server counts them or with its end"
        ),
        "n_capped": Column("int", "samples that were cut at the cap; fewer is better"),
    }
    k: int = 5
    prompt: PromptStyle = "cot"
    max_new_tokens: int = 512
    temperature: float = 1.0
    seed: int = 0
    template: str = "chat"
    server: str = ""
    served_model: str = ""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"samples.k counts answers from 1, got {self.k}; try 5")
        if self.max_new_tokens < 1:
            raise ConfigError(
                f"samples.max_new_tokens must be at least 1, got {self.max_new_tokens}; try 512"
            )
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(
                f"samples.temperature must be 0 or more, got {self.temperature}; try 1"
            )
        if self.served_model and not self.server:
            raise ConfigError(
                f"samples.served_model={self.served_model!r} names a server's model, but no "
                "server is given; add --set samples.server=http://127.0.0.1:8000/v1"
            )
        if self.server:
            check_address("samples.server", self.server, self.served_model)

    def costs(self, context: LoadContext) -> Callable[[Example], Cost]:
        if self.server:
            return lambda _: Cost(requests=self.k)
        tokenizer, limit = tokenizer_and_context(context)
        prompt = self._prompts(context, tokenizer, limit)

        def cost(example: Example) -> Cost:
            n = len(prompt(example))
            room = self.max_new_tokens if limit is None else min(self.max_new_tokens, limit - n)
            return Cost(n + self.k * room)

        return cost

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        if self.server:
            return served(self, context)
        from curate.models.generation.decoding import Decoder, Sampling, load_decoder

        decoder: Decoder = load_decoder(context)
        prompt = self._prompts(context, decoder.tokenizer, decoder.context)
        drawing = Sampling(self.k, self.max_new_tokens, self.temperature, self.seed)

        def draw(examples: Sequence[Example]) -> Columns:
            prompts, places, reasons = make_each(examples, prompt)
            drawn = decoder.draw(prompts, [examples[place].id for place in places], drawing)
            texts = ["[]"] * len(examples)
            n_tokens = [np.zeros(0, dtype=np.int32)] * len(examples)
            n_capped, run = np.zeros((2, len(examples)), dtype=np.int64)
            for place, prompt_ids, answers in that_fit(places, reasons, prompts, drawn):
                texts[place] = json.dumps([answer.text for answer in answers], ensure_ascii=False)
                n_tokens[place] = np.array([answer.n_tokens for answer in answers], dtype=np.int32)
                n_capped[place] = sum(not answer.ended for answer in answers)
                run[place] = len(prompt_ids) + n_tokens[place].sum()
            return {
                "texts": object_column(texts), "n_tokens": object_column(n_tokens),
                "n_capped": n_capped, FAILURE: object_column(reasons), TOKENS_RUN: run,
            }  # fmt: skip

        return draw

    def _prompts(
        self, context: LoadContext, tokenizer: Any, limit: int | None
    ) -> Callable[[Example], list[int]]:
        """Return a function from an example to the token ids that the model continues."""
        prompter = Prompter(tokenizer, self.template, context.chat)

        def prompt(example: Example) -> list[int]:
            messages = sampling_messages(example.messages[:-1], self.prompt)
            ids = prompter.ids(messages, example.tools)
            if limit is not None and len(ids) >= limit:
                raise ExampleFailure(PROMPT_EXCEEDS_CONTEXT)
            return ids

        return prompt
