"""Short answers from a server, with the probabilities of their tokens where it gives them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import Any, Final, final

from curate.errors import ExampleFailure
from curate.models.generation.endpoint import Endpoint, RefusedRequest, ask_all
from curate.models.generation.server import choice_of, refuse_systematic

ALTERNATIVES: Final = (
    20,
    5,
    0,
)  # tokens asked for at each place, and once a server refuses so many
_UNKNOWN: Final = (
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|has no"
    r"|use\W+max_completion_tokens"
)
_UNFIT: Final = (  # also of a value, which another one may replace
    rf"{_UNKNOWN}|invalid|must be|greater than|less than|at most|maximum|exceeds|only the default"
)
DECLINED: Final = "declined"  # the failure of a question that the server's model or filter refuses


@final
@dataclass(frozen=True, slots=True)
class Place:
    """One token of an answer as it was written, and the log-probabilities of tokens in its place."""

    token: str
    log_probs: Mapping[str, float]


@final
@dataclass(frozen=True, slots=True)
class ShortAnswer:
    """A text, its tokens where the server gives their probabilities, the tokens it took, and its end.

    ``ended``: it was not cut off at the most tokens an answer may have.
    """

    text: str
    places: tuple[Place, ...]
    n_tokens: int
    ended: bool = True


@final
@dataclass(frozen=True, slots=True)
class _Form:
    """What of a request some servers do not take: each is changed once one says so."""

    alternatives: int = ALTERNATIVES[0]
    has_temperature: bool = True
    limit: str = "max_tokens"

    def after(self, refusal: RefusedRequest) -> "_Form | None":
        """Return the next form to try after a refusal, None if it names nothing that can be changed."""
        if self.alternatives and _is_about(refusal, "logprobs", _UNFIT):
            following = ALTERNATIVES[ALTERNATIVES.index(self.alternatives) + 1]
            return replace(self, alternatives=following)
        if self.has_temperature and _is_about(refusal, "temperature", _UNFIT):
            return replace(self, has_temperature=False)
        if self.limit == "max_tokens" and _is_about(refusal, "max_tokens", _UNKNOWN):
            return replace(self, limit="max_completion_tokens")
        return None


def _is_about(refusal: RefusedRequest, name: str, words: str) -> bool:
    """Whether a refusal is of a parameter, and is not one that only quotes its name from the prompt.

    The server says which parameter it refuses, or some words say so close to the name.
    """
    if refusal.param and (name not in refusal.param or words == _UNFIT):
        return name in refusal.param
    near = rf"(?:{words})[^.;]{{0,40}}{name}\b|{name}\b[^.;]{{0,40}}(?:{words})"
    return re.search(near, refusal.words, re.IGNORECASE) is not None


@final
class ShortAnswers:
    """Asks a server questions and reads short, greedy answers.

    Parameters
    ----------
    is_chat
        Whether a question is a user's turn, or text that is continued.
    max_new_tokens
        Of every answer.
    """

    def __init__(self, endpoint: Endpoint, max_new_tokens: int, *, is_chat: bool) -> None:
        self.endpoint = endpoint
        self.max_new_tokens = max_new_tokens
        self.is_chat = is_chat
        self._form = _Form()

    def ask(
        self, questions: Sequence[str], *, with_probabilities: bool = True
    ) -> list[ShortAnswer | ExampleFailure]:
        """Return the answer to each question, in order; a failure if the server refuses one.

        A server that does not take probabilities, a temperature or ``max_tokens`` is asked without.
        Raises `ModelError` as `Endpoint.post` does, and if every one of many requests is refused.
        """
        if not with_probabilities:
            self._form = replace(self._form, alternatives=0)
        replies = ask_all(questions, self._ask)
        refuse_systematic(self.endpoint.url, replies)
        return replies

    def _ask(self, question: str, stop: Event) -> ShortAnswer | ExampleFailure:
        path = "chat/completions" if self.is_chat else "completions"
        while True:
            form = self._form
            try:
                return self._read(self.endpoint.post(path, self._body(question, form), stop))
            except ExampleFailure as failure:
                following = form.after(failure) if isinstance(failure, RefusedRequest) else None
                if following is None:
                    return failure
                if self._form is form:  # otherwise another request has found out already
                    self._form = following

    def _body(self, question: str, form: _Form) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            form.limit: self.max_new_tokens,
            "stream": False,
        }
        if form.has_temperature:
            body["temperature"] = 0
        if not self.is_chat:
            return {**body, "prompt": question, "logprobs": form.alternatives or None}
        body["messages"] = [{"role": "user", "content": question}]
        if form.alternatives:
            body |= {"logprobs": True, "top_logprobs": form.alternatives}
        return body

    def _read(self, reply: Any) -> ShortAnswer | ExampleFailure:
        choice = choice_of(self.endpoint, reply)
        message = choice.get("message") or {}
        if message.get("refusal") or choice.get("finish_reason") == "content_filter":
            return ExampleFailure(DECLINED)
        text = message.get("content") if "message" in choice else choice.get("text")
        usage = reply.get("usage") if isinstance(reply.get("usage"), Mapping) else {}
        used = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        return ShortAnswer(
            text if isinstance(text, str) else "",
            _places(choice.get("logprobs")),
            sum(count for count in used if isinstance(count, int)),
            choice.get("finish_reason") != "length",
        )


def _places(given: Any) -> tuple[Place, ...]:
    """Read the tokens of an answer, as chats and as completions give them; none of anything else."""
    try:
        if given.get("content"):
            return tuple(
                Place(
                    str(at["token"]),
                    {str(o["token"]): float(o["logprob"]) for o in at.get("top_logprobs") or [at]},
                )
                for at in given["content"]
            )
        return tuple(
            Place(str(token), {str(name): float(value) for name, value in (others or {}).items()})
            for token, others in zip(given["tokens"], given["top_logprobs"], strict=True)
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()
