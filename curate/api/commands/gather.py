"""`gather`: responses of several models to the pool's prompts, read into the pool."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal, final

from curate.api.commands.groups import SCORING, Scoring, scoring_options
from curate.api.commands.option import option, passed_on
from curate.errors import ConfigError
from curate.scorers.verifiers.verdict import VerifierName
from curate.scoring.gather_options import GatherOptions

if TYPE_CHECKING:
    from curate.api.pool import Pool
    from curate.scoring.gather_options import Gathered

SAMPLING: Final = "Sampling"
CHECKING: Final = "Checking"


@final
@dataclass(frozen=True, kw_only=True)
class GatherCommand(Scoring):
    """Ask several models for responses to the pool's prompts, check them, and add them to the pool."""

    command: ClassVar[str] = "gather"

    models: tuple[str, ...] = option(..., "Models to ask: folders or Hugging Face ids.", argument=True)  # fmt: skip
    k: int = option(4, "Samples of each model to each prompt.", short="-k", group=SAMPLING)
    temperature: float = option(1.0, "1: the model's own distribution. 0: greedy, with -k 1.", group=SAMPLING)  # fmt: skip
    max_new_tokens: int = option(512, "Maximum length of a response in tokens.", group=SAMPLING)
    seed: int = option(0, "Another seed draws other samples.", group=SAMPLING)
    server: str = option("", "Ask this server instead, which serves the model, such as http://127.0.0.1:8000/v1.", metavar="URL", group=SAMPLING)  # fmt: skip
    served_model: str = option("", "What the server calls the model.", group=SAMPLING)
    verifier: VerifierName | None = option(None, "Check each response: number, boxed, exact, regex or python (see curate methods pass_rate).", group=CHECKING)  # fmt: skip
    reference: str = option("", "What to check against: response, or a column as row.NAME. Default: the response there is; for python row.tests.", group=CHECKING)  # fmt: skip
    pattern: str = option("", "Regular expression of --verifier regex.", group=CHECKING)
    keep: Literal["all", "right"] = option("all", "all: every distinct response. right: those the verifier finds right.", group=CHECKING)  # fmt: skip
    where: str | None = option(None, "Only prompts of examples for which this expression holds.")
    limit: int | None = option(None, "Only the first N prompts.")
    dry_run: bool = option(False, "Print what would be asked; change nothing.", places=("flag", "python"))  # fmt: skip

    batch_tokens: int | None = option(None, "Tokens per batch, padding included. Fixed by the first run.", group=SCORING)  # fmt: skip

    def check(self) -> None:
        """Raise `ConfigError` for what can be seen to be wrong before anything runs."""
        if self.model_for:
            raise ConfigError(
                f"gather asks the models it is given, and reads no {', '.join(self.model_for)} model; "
                "leave --model-for out"
            )
        self.options()

    def options(self) -> GatherOptions:
        """Return what is asked and what is kept."""
        return GatherOptions(**passed_on(self, GatherOptions))

    def run(self, pool: "Pool") -> "Gathered":
        """Ask the models and read their responses in; with ``dry_run`` only count."""
        from curate.scoring.gather import gather, plan

        self.check()
        work = plan if self.dry_run else gather
        chosen = scoring_options(self, None, without=("models",))
        return work(pool.store, self.models, self.options(), chosen, pool.progress)
