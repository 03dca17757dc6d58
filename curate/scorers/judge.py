"""A model's judgement of an example on a scale."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, final

import numpy as np

from curate.contracts import (
    FAILURE,
    TOKENS_RUN,
    Column,
    Columns,
    Example,
    LoadContext,
)
from curate.errors import ConfigError
from curate.models.classifiers.text_model import make_each, object_column, that_fit
from curate.models.text.templates import CHAT
from curate.registry import register
from curate.scorers.judging.asking import Asking
from curate.scorers.judging.presets import PRESETS, PresetName
from curate.scorers.judging.question import OPENING, Question
from curate.scorers.judging.scale import answer_tokens, answers_of, read_scale
from curate.scorers.judging.served import LOW_MASS, served

OWN_SCALE: Final = "1-5"  # of a prompt of the user's that comes without one

Format = Literal["auto", "chat", "text"]


@register
@final
@dataclass(frozen=True)
class Judge(Asking):
    """How a language model rates an example when asked: the expected answer on a scale of digits.

    The judge reads a question about the example, and its score is the sum over the scale of each
    answer times its probability as the next token, renormalised to the scale, as the scorers of DEITA
    read theirs [1]_: one forward pass an example, no decoding, no sampling. A spelling with a space
    in front counts as the same answer. ``mass`` is the probability that the judge answers on the
    scale at all; where it is below ``min_mass`` the example fails with ``low_mass`` and has no
    score, because the ratio of two small probabilities is noise (published code averages it all
    the same).

    ``curate score --scorer judge --model-for judge=MODEL --set judge.preset=difficulty``; several in
    one store: ``--as NAME``. The presets: ``quality``, ``helpfulness`` and ``accuracy`` of the last
    response, ``complexity`` and ``difficulty`` of what comes before it, in our wording. AlpaGasus [2]_ asked
    ChatGPT for the accuracy of responses, from 0 to 5, and kept those of 4.5 and more.
    ``deita-quality`` and ``deita-complexity`` are the prompts of DEITA letter by letter, for
    ``hkust-nlp/deita-quality-scorer`` and ``hkust-nlp/deita-complexity-scorer``. Deviation: of a
    conversation the last response is rated, once, with all before it as the instruction; DEITA
    adds up its turns, each without history.

    Evidence: DEITA reports subsets by such ratings ahead of random ones, with judges trained for it, and
    AlpaGasus ahead of all of Alpaca, with ChatGPT as the judge; in the later table of MIG, DEITA is 1
    point ahead of random. Small untrained judges mostly follow length and their own taste for a number:
    look at a few extremes, and let `curate prove` tell whether yours is worth its cost.

    With ``server`` and ``served_model`` a server judges instead and no model is loaded: any with the
    chat completions of OpenAI, such as vLLM or llama.cpp. It answers greedily; where it gives the
    probabilities of its tokens, the score is the expected answer in the place of the number, among the
    20 likeliest tokens, otherwise the number itself, and ``written`` says so. A reply without one
    number on the scale fails with ``no_score``, a refusal with ``declined``; a block of replies
    none of which has a number ends the run. Busy servers are asked again, as long as they say in
    Retry-After. A server that goes away ends the run with finished shards kept, and none of
    their examples failed: the same command resumes. The model's name, the question and the scale are
    part of the key; **the address is not**, nor is it stored, so that a server may move: two models
    of one name are one model here. A key comes from the environment and is stored nowhere.

    Fails with ``low_mass``, ``no_prompt`` and ``prompt_exceeds_context``; nothing is cut. Cost: one run of the
    question with the example, or one request; `curate score --dry-run` counts them. Ten fields: five
    are the server's.

    Parameters
    ----------
    preset
        Which question to ask.
    prompt
        A question of your own instead, or ``@FILE`` with it (then its contents are part of the key):
        ``{instruction}`` and ``{response}`` stand for the example, ``{lowest}`` and ``{highest}``
        for the ends of the scale.
    scale
        Lowest and highest answer, single digits such as ``0-5``; empty: the preset's, or 1-5.
    min_mass
        Probability of the scale's answers below which an example has no score; 0 keeps all.
    format
        ``chat``: a user's turn in the judge's chat template, with the form of the reply after the
        question. ``text``: the judge continues the question as it is. ``auto``: what the preset was made for.
    served_model
        The name the server gives to the judge; empty: the model of the role runs here.
    max_new_tokens
        Of a server's reply; a judge that thinks first needs hundreds.
    server
        Its address, such as ``http://127.0.0.1:8000/v1``.
    remote
        Allow an address that is not this machine: the examples are sent there.
    key_variable
        Environment variable that holds the server's key, which must then be set; empty:
        ``CURATE_SERVER_KEY``, if it is.

    References
    ----------
    .. [1] Liu et al., What Makes Good Data for Alignment? A Comprehensive Study of Automatic Data
       Selection in Instruction Tuning, ICLR 2024. https://arxiv.org/abs/2312.15685
    .. [2] Chen et al., AlpaGasus: Training A Better Alpaca with Fewer Data, ICLR 2024.
       https://arxiv.org/abs/2307.08701

    Examples
    --------
    >>> Judge(preset="accuracy").answers, Judge(scale="1-9").answers[-1]
    ((0, 1, 2, 3, 4, 5), 9)
    """

    name: ClassVar[str] = "judge"
    version: ClassVar[int] = 1
    opening: ClassVar[str] = OPENING
    decodes: ClassVar[bool] = False
    outputs: ClassVar[Mapping[str, Column]] = {
        "score": Column("float", "expected answer on the scale; higher is more of what was asked"),
        "mass": Column("float", "probability of an answer on the scale, 0 to 1; 1 if written"),
        "written": Column("bool", "whether a server gave the number without probabilities"),
    }
    preset: PresetName = "quality"
    prompt: str = ""
    scale: str = ""
    min_mass: float = 0.5
    format: Format = "auto"
    served_model: str = ""
    max_new_tokens: int = 16
    server: str = ""
    remote: bool = False
    key_variable: str = ""

    def __post_init__(self) -> None:
        if self.prompt and self.preset != "quality":
            raise ConfigError(
                f"judge.prompt takes the place of a preset, but judge.preset={self.preset} is given "
                "too; leave one of them out"
            )
        if not 0 <= self.min_mass <= 1:
            raise ConfigError(
                f"judge.min_mass is a probability, 0 to 1, got {self.min_mass:g}; try 0.5"
            )
        _ = self.answers  # refuses what is no scale
        super().__post_init__()

    @property
    def answers(self) -> tuple[int, ...]:
        """The answers of the scale, lowest first."""
        own = OWN_SCALE if self.prompt else PRESETS[self.preset].scale
        return answers_of("judge.scale", self.scale or own)

    @property
    def template(self) -> str:
        if self.format != "auto":
            return self.format
        return CHAT if self.prompt or PRESETS[self.preset].is_chat else "text"

    def question(self, hashes: Mapping[str, str]) -> Question:
        text = self.own_question(hashes) or PRESETS[self.preset].text
        return Question(text, self.template == CHAT, answers=self.answers)

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        if self.served_model:
            return served(self, context)
        from curate.models.generation.decoding import load_decoder

        decoder = load_decoder(context)
        prompt = self.prompts(context, decoder.tokenizer, decoder.context)
        spelled = answer_tokens(decoder.tokenizer, str(context.model), self.answers)
        tokens = [token for ids in spelled.values() for token in ids]
        answer_of_token = [answer for answer, ids in spelled.items() for _ in ids]

        def score(examples: Sequence[Example]) -> Columns:
            made, places, reasons = make_each(examples, prompt)
            read = decoder.next_log_probs(made, [examples[place].id for place in places], tokens)
            scores, mass = np.full((2, len(examples)), np.nan)
            run = np.zeros(len(examples), dtype=np.int64)
            for place, ids, log_probs in that_fit(places, reasons, made, read):
                scores[place], mass[place] = read_scale(log_probs, answer_of_token)
                run[place] = len(ids)
                if mass[place] < self.min_mass:
                    reasons[place] = LOW_MASS
            return {
                "score": scores, "mass": mass, "written": np.zeros(len(examples), bool),
                FAILURE: object_column(reasons), TOKENS_RUN: run,
            }  # fmt: skip

        return score
