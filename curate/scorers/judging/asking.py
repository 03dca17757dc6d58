"""What scorers share that ask a model a question about each example: one that runs here, or one on a server."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from curate.contracts import Cost, Example, LoadContext, Role, RowScorer
from curate.errors import ConfigError
from curate.models.generation.addresses import KEY_VARIABLE, check_opted_in
from curate.models.generation.endpoint import Endpoint
from curate.models.generation.short_answers import ShortAnswers
from curate.models.load import tokenizer_and_context
from curate.models.text.templates import CHAT
from curate.scorers.judging.question import (
    Question,
    asked_about,
    check_question,
    continued,
    file_of,
    question_files,
    question_text,
)

TIMEOUT_S: Final = 180.0
CHARACTERS_PER_TOKEN: Final = 4  # where no tokenizer is at hand


class Asking(RowScorer):
    """A scorer that asks a question about each example.

    Concrete classes have these dataclass fields, and the ClassVars ``opening``, with which a local model's
    reply begins under a chat format, and ``decodes``: whether a local model writes the rest of the reply.
    """

    opening: ClassVar[str]
    decodes: ClassVar[bool]
    role: ClassVar[Role | None] = "judge"
    unkeyed: ClassVar[frozenset[str]] = frozenset({"server", "remote", "key_variable"})
    prompt: str
    max_new_tokens: int
    served_model: str
    server: str
    remote: bool
    key_variable: str

    def __post_init__(self) -> None:
        """Raise `ConfigError` for what cannot be asked, and for an address that may not be."""
        if self.prompt and file_of(self.prompt) is None:
            check_question(f"{self.name}.prompt", self.prompt)
        if self.max_new_tokens < 1:
            raise ConfigError(
                f"{self.name}.max_new_tokens must be at least 1, got {self.max_new_tokens}; "
                f"try {type(self).max_new_tokens}"
            )
        if self.server:
            check_opted_in(f"{self.name}.server", self.server, remote=self.remote)
        if self.server and not self.served_model:
            raise ConfigError(
                f"{self.name}.server needs the name of the model it serves; add --set "
                f"{self.name}.served_model=NAME (curl {self.server.rstrip('/')}/models lists them)"
            )

    @property
    def model_role(self) -> Role | None:
        """None where a server's model is asked."""
        return None if self.served_model else self.role

    @property
    @abstractmethod
    def template(self) -> str:
        """The format in effect: under ``chat`` the chat template is part of the score's key."""

    @abstractmethod
    def question(self, hashes: Mapping[str, str]) -> Question:
        """Return the question; raise `DataError` if its file is no longer what ``hashes`` say."""

    def own_question(self, hashes: Mapping[str, str]) -> str:
        """Return the text of ``prompt``, or of its file as `question` does; empty without one."""
        return question_text(f"{self.name}.prompt", self.prompt, hashes)

    def read_files(self) -> Mapping[str, str]:
        return question_files(f"{self.name}.prompt", self.prompt)

    def costs(self, context: LoadContext) -> Callable[[Example], Cost]:
        if self.served_model:
            return self._served_costs(context)
        prompt = self.prompts(context, *tokenizer_and_context(context))
        written = self.max_new_tokens if self.decodes else 0
        return lambda example: Cost(len(prompt(example)) + written)

    def prompts(
        self, context: LoadContext, tokenizer: Any, limit: int | None
    ) -> Callable[[Example], list[int]]:
        """Return a function from an example to the token ids that a local model continues."""
        question = self.question(context.files)
        return continued(self.name, question, self.opening, context, tokenizer, limit)

    def about(self, context: LoadContext) -> Callable[[Example], str]:
        """Return a function from an example to the text that a server is asked."""
        return asked_about(self.question(context.files), context.chat)

    def connected(self) -> ShortAnswers:
        """Return the client of the server, once it has answered.

        Raises `ModelError` when there is no such server or model, `ConfigError` without an address,
        or for a key that is missing.
        """
        endpoint = self._endpoint()
        endpoint.check()
        return ShortAnswers(endpoint, self.max_new_tokens, is_chat=self.template == CHAT)

    def _served_costs(self, context: LoadContext) -> Callable[[Example], Cost]:
        """Return what an example costs on a server: one request, and tokens estimated by characters."""
        self._endpoint().check_key()
        about = self.about(context)

        def cost(example: Example) -> Cost:
            n_asked = -(-len(about(example)) // CHARACTERS_PER_TOKEN)
            return Cost(n_asked + self.max_new_tokens, requests=1)

        return cost

    def _endpoint(self) -> Endpoint:
        if not self.server:
            raise ConfigError(
                f"{self.name}.served_model={self.served_model!r} is a server's model, but no server is "
                f"given (its address is not stored); add --set {self.name}.server=http://127.0.0.1:8000/v1"
            )
        return Endpoint(
            self.server, self.served_model, self.key_variable or KEY_VARIABLE,
            needs_key=bool(self.key_variable), by_proxy=self.remote, timeout_s=TIMEOUT_S,
        )  # fmt: skip
