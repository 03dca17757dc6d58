"""What `curate gather` asks and keeps, and what came of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

from curate.errors import ConfigError
from curate.registry import build
from curate.scorers.pass_rate import PassRate, check_draws
from curate.scorers.samples import Samples
from curate.scorers.verifiers.verdict import VerifierName
from curate.scoring.outcome import ScoreReport


@final
@dataclass(frozen=True, slots=True)
class GatherOptions:
    """What is asked, and what is kept of the answers.

    Parameters
    ----------
    k, temperature, max_new_tokens, seed, server, served_model
        Of the scorer `samples`.
    verifier
        What checks the answers, or None.
    reference, pattern
        Of the scorer `pass_rate`.
    keep
        ``all`` distinct answers, or the ``right`` ones.
    where
        Only prompts of examples for which this expression holds.
    limit
        Only the first prompts, in the order they were read.
    """

    k: int = 4
    temperature: float = 1.0
    max_new_tokens: int = 512
    seed: int = 0
    server: str = ""
    served_model: str = ""
    verifier: VerifierName | None = None
    reference: str = ""
    pattern: str = ""
    keep: Literal["all", "right"] = "all"
    where: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.verifier is None:
            unread = {"reference": self.reference, "pattern": self.pattern}
            given = [name for name, value in unread.items() if value]
            given += ["keep"] if self.keep == "right" else []
            if given:
                raise ConfigError(
                    f"--{given[0]} is for a verifier, and none is given; add --verifier number, boxed, "
                    "exact, regex or python"
                )
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit must be at least 1, got {self.limit}")
        check_draws("gather", self.k, self.temperature)
        build(Samples, self.sampling)  # both refuse what cannot be
        if self.verifier is not None:
            self.checks()

    @property
    def sampling(self) -> dict[str, Any]:
        """The settings of the samples."""
        server = {"server": self.server, "served_model": self.served_model}
        return {
            "k": self.k, "prompt": "plain", "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature, "seed": self.seed,
            **(server if self.server or self.served_model else {}),
        }  # fmt: skip

    def checks(self) -> PassRate:
        """Return the scorer that samples and checks."""
        assert self.verifier is not None
        own = {"verifier": self.verifier, "reference": self.reference, "pattern": self.pattern}
        return build(PassRate, {**self.sampling, **own})


@final
@dataclass(frozen=True, slots=True)
class GatherReport:
    """What came of asking one model.

    ``n_asked`` prompts were asked now and ``n_known`` answered earlier; ``n_failed`` of those asked were not
    answered; ``n_samples`` answers came, of which
    ``n_blank`` were blank, ``n_repeated`` were the text of another answer to the prompt, and
    ``n_dropped`` were left out by ``keep`` and ``n_unchecked`` have no verdict, for want of a usable
    reference or because none of the answers to a prompt was decided. ``verdicts`` counts the verdicts on them. ``n_added``
    examples are new in the pool; ``n_in_pool`` rows repeat one that was there. Of a plan, ``n_tokens``
    is what may be written at most.
    """

    model: str
    n_prompts: int
    n_asked: int
    n_known: int
    n_failed: int = 0
    n_samples: int = 0
    n_blank: int = 0
    n_repeated: int = 0
    n_dropped: int = 0
    n_unchecked: int = 0
    n_added: int = 0
    n_in_pool: int = 0
    verdicts: Mapping[str, int] | None = None
    dataset_id: str | None = None
    n_tokens: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Gathered:
    """What came of each model, and of scoring them."""

    models: tuple[GatherReport, ...]
    scored: tuple[ScoreReport, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the document that `gather --json` prints."""
        return {"models": [asdict(report) for report in self.models]}

    def raise_for_failures(self) -> None:
        """Raise `TooManyFailuresError` if more prompts failed than are tolerated."""
        for report in self.scored:
            report.raise_for_failures()
