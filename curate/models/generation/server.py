"""Answers from a local server with the completions interface of OpenAI, such as vLLM or llama.cpp."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, Final, final

from curate.errors import ExampleFailure, ModelError
from curate.models.generation.endpoint import Endpoint, ask_all

SYSTEMATIC: Final = 16  # so many refusals without an answer are the server's, not the examples'

_OWN_DISTRIBUTION: Final[Mapping[str, Any]] = {  # whatever the server's defaults cut off or penalise
    "top_p": 1, "top_k": -1, "min_p": 0, "repetition_penalty": 1, "repeat_penalty": 1,
}  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """One requested answer: messages, or a text to continue, and the seed to draw it with.

    ``template_args`` are passed on to the server's chat template.
    """

    prompt: "str | Sequence[Mapping[str, Any]]"
    seed: int
    tools: Sequence[Mapping[str, Any]] | None = None
    template_args: Mapping[str, Any] | None = None


@final
@dataclass(frozen=True, slots=True)
class Replied:
    """An answer: its text, its tokens (0 if the server does not count), and whether it ended."""

    text: str
    n_tokens: int
    n_prompt_tokens: int
    ended: bool


@final
@dataclass(frozen=True, slots=True)
class CompletionServer:
    """A client of one model on one server. A key, if needed, is read from ``CURATE_SERVER_KEY``.

    Parameters
    ----------
    url
        Address including the interface's base path, as in ``http://127.0.0.1:8000/v1``.
    model
        The server's name for it.
    max_new_tokens, temperature
        Of every answer.
    wait_s
        Wait before the second try of a request; doubled before each further try.
    """

    url: str
    model: str
    max_new_tokens: int
    temperature: float
    wait_s: float = 1.0

    def check(self) -> None:
        """Raise `ModelError` unless the server answers and, if it lists its models, has this one."""
        self._endpoint.check()

    def answers(self, asked: Sequence[Asked]) -> list[Replied | ExampleFailure]:
        """Return the answer to each request, in order; a failure if the server refuses one.

        Raises `ModelError` when the server can no longer be reached, answers with something
        other than a completion, or refuses all of `SYSTEMATIC` requests or more.
        """
        replies = ask_all(asked, self._answer)
        refuse_systematic(self.url, replies)
        return replies

    @property
    def _endpoint(self) -> Endpoint:
        return Endpoint(self.url, self.model, wait_s=self.wait_s)

    def _answer(self, asked: Asked, stop: Event) -> Replied | ExampleFailure:
        chat = not isinstance(asked.prompt, str)
        body = {
            "model": self.model,
            "messages" if chat else "prompt": asked.prompt,
            "max_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "seed": asked.seed,
            "n": 1,
            "stream": False,
            **_OWN_DISTRIBUTION,
        }
        if asked.tools:
            body["tools"] = [dict(tool) for tool in asked.tools]
        if asked.template_args:
            body["chat_template_kwargs"] = dict(asked.template_args)
        try:
            reply = self._endpoint.post("chat/completions" if chat else "completions", body, stop)
        except ExampleFailure as failure:
            return failure
        return self._read(reply)

    def _read(self, reply: Any) -> Replied:
        choice = choice_of(self._endpoint, reply)
        said = choice["message"]["content"] if "message" in choice else choice["text"]
        usage = reply.get("usage") if isinstance(reply.get("usage"), Mapping) else {}
        return Replied(
            said or "",
            n_tokens=int(usage.get("completion_tokens") or 0),
            n_prompt_tokens=int(usage.get("prompt_tokens") or 0),
            ended=choice.get("finish_reason") != "length",
        )


def choice_of(endpoint: Endpoint, reply: Any) -> Mapping[str, Any]:
    """Return the first choice of a reply; raise `ModelError` if it is no completion."""
    try:
        choice = reply["choices"][0]
        _ = choice["message"]["content"] if "message" in choice else choice["text"]
    except (KeyError, IndexError, TypeError) as error:
        raise ModelError(
            f"the server at {endpoint.url} answered without choices: {endpoint.quote(reply)}; it does "
            "not speak the completions interface of OpenAI"
        ) from error
    found: Mapping[str, Any] = choice
    return found


def refuse_systematic(url: str, replies: Sequence[object]) -> None:
    """Raise `ModelError` if a server refused every one of `SYSTEMATIC` requests or more."""
    refused = [reply for reply in replies if isinstance(reply, ExampleFailure)]
    if len(refused) == len(replies) >= SYSTEMATIC:
        raise ModelError(
            f"the server at {url} refuses every one of {len(replies)} requests: "
            f"{refused[0].reason}; look at its log and its options (such as --max-model-len), and "
            "run the same command again"
        )
