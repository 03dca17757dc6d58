"""What an example is about, in a model's own words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, final

import numpy as np

from curate.contracts import (
    FAILURE,
    OUT_OF_MEMORY,
    TOKENS_RUN,
    Column,
    Columns,
    Example,
    LoadContext,
)
from curate.errors import ExampleFailure
from curate.models.classifiers.text_model import make_each, object_column
from curate.models.generation.short_answers import ShortAnswer
from curate.models.text.templates import CHAT
from curate.registry import register
from curate.scorers.judging.asking import Asking
from curate.scorers.judging.question import Question
from curate.scorers.judging.tag_names import read_tags

NO_TAGS: Final = "no_tags"
TAGS_OPENING: Final = "tags:"
TAGS_REPLY: Final = (
    "\n\nReply with one line of one to six tags of at most three words each, separated by commas, in "
    "this form:\ntags: first tag, second tag"
)
TAGS_PROMPT: Final = (
    "Name what one needs to understand or be able to do to answer the instruction below: its task, its "
    "subject and the skills it takes, each as a short tag in English.\n\nInstruction:\n{instruction}"
)


@register
@final
@dataclass(frozen=True)
class Tags(Asking):
    """The tags a language model gives to an instruction: open words for its task, subject and skills.

    The raw tags of InsTag [1]_, by a model of yours: it is asked for a line of tags and answers
    greedily. Tags are lower case, without marks, each once. ``common_tags`` merges spellings and leaves out
    rare ones, as InsTag does, and ``mig`` selects by either: ``--set mig.labels=common_tags.tags``.
    ``curate score --scorer tags --model-for judge=MODEL``, or on a server as ``judge`` does, with the
    same rules for addresses and keys. Deviations: the wording is ours, and asks for tags alone;
    replies of InsTagger, JSON with explanations, are read as well: ``--set tags.prompt=@FILE``.

    Evidence: in InsTag's experiments the number of tags and of different tags go with better models, and
    6,000 examples chosen by them do better than the data of many open models; in MIG's later table it is
    level with random (64.1 to 64.3). A small model tags loosely: read some before you select by them.

    A reply without tags fails with ``no_tags``, a prompt without room with ``prompt_exceeds_context``.
    Cost: one run of the prompt and the decoded reply, or one request.

    Parameters
    ----------
    prompt
        A question of your own, or ``@FILE`` with it, with ``{instruction}`` and perhaps ``{response}``.
    max_new_tokens
        Maximum length of a reply in tokens.
    format
        ``chat``: a user's turn in the model's chat template. ``text``: the model continues the question.
    served_model
        The name a server gives to the model; empty: the model of the role runs here.
    server
        Its address, such as ``http://127.0.0.1:8000/v1``; no part of the key.
    remote
        Allow an address that is not this machine: the examples are sent there.
    key_variable
        Environment variable with the server's key; empty: ``CURATE_SERVER_KEY``, if it is set.

    References
    ----------
    .. [1] Lu et al., #InsTag: Instruction Tagging for Analyzing Supervised Fine-tuning of Large Language
       Models, ICLR 2024. https://arxiv.org/abs/2308.07074

    Examples
    --------
    >>> Tags().outputs["tags"].dtype
    'text'
    """

    name: ClassVar[str] = "tags"
    version: ClassVar[int] = 1
    opening: ClassVar[str] = TAGS_OPENING
    decodes: ClassVar[bool] = True
    outputs: ClassVar[Mapping[str, Column]] = {
        "tags": Column("text", "tags in the order of the reply, separated by commas"),
        "n": Column("int", "different tags; more is more complex, for InsTag"),
    }
    prompt: str = ""
    max_new_tokens: int = 64
    format: Literal["chat", "text"] = "chat"
    served_model: str = ""
    server: str = ""
    remote: bool = False
    key_variable: str = ""

    @property
    def template(self) -> str:
        return self.format

    def question(self, hashes: Mapping[str, str]) -> Question:
        return Question(self.own_question(hashes) or TAGS_PROMPT, self.format == CHAT, TAGS_REPLY)

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        reply = self._served(context) if self.served_model else self._local(context)

        def score(examples: Sequence[Example]) -> Columns:
            replies, places, reasons = reply(examples)
            tags, n = [""] * len(examples), np.zeros(len(examples), np.int64)
            run = np.zeros(len(examples), np.int64)
            for place, said in zip(places, replies, strict=True):
                if isinstance(said, ExampleFailure):
                    reasons[place] = said.reason
                    continue
                found = read_tags(said.text, ended=said.ended)
                tags[place], n[place], run[place] = ", ".join(found), len(found), said.n_tokens
                if not found:
                    reasons[place] = NO_TAGS
            return {
                "tags": object_column(tags), "n": n,
                FAILURE: object_column(reasons), TOKENS_RUN: run,
            }  # fmt: skip

        return score

    def _local(self, context: LoadContext) -> "_Replies":
        from curate.models.generation.decoding import Sampling, load_decoder

        decoder = load_decoder(context)
        limit = None if decoder.context is None else decoder.context - 1  # room for an answer
        prompt = self.prompts(context, decoder.tokenizer, limit)
        greedy = Sampling(1, self.max_new_tokens, 0.0, 0)

        def reply(examples: Sequence[Example]) -> "_Replied":
            prompts, places, reasons = make_each(examples, prompt)
            drawn = decoder.draw(prompts, [examples[place].id for place in places], greedy)
            replies: list[ShortAnswer | ExampleFailure] = []
            for ids, answers in zip(prompts, drawn, strict=True):
                if answers is None:
                    replies.append(ExampleFailure(OUT_OF_MEMORY))
                    continue
                [said] = answers
                replies.append(ShortAnswer(said.text, (), len(ids) + said.n_tokens, said.ended))
            return replies, places, reasons

        return reply

    def _served(self, context: LoadContext) -> "_Replies":
        server = self.connected()
        about = self.about(context)

        def reply(examples: Sequence[Example]) -> "_Replied":
            asked, places, reasons = make_each(examples, about)
            return server.ask(asked, with_probabilities=False), places, reasons

        return reply


_Replied = tuple[list[ShortAnswer | ExampleFailure], list[int], list[str | None]]
_Replies = Callable[[Sequence[Example]], _Replied]
