"""The outcome of a scoring run: counts per score set, why examples failed, what was truncated."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts import ForwardScorer
from curate.contracts.display import card
from curate.contracts.progress import Progress
from curate.contracts.settings import settings_of
from curate.errors import UNDEFINED, UNMARKED, ConfigError, StoreError, TooManyFailuresError
from curate.registry import build, get_scorer, names
from curate.store.grammar import spelled

if TYPE_CHECKING:
    from curate.store import ScoreSetStatus, Store

MAX_REASONS: Final = 3
INPUT_FAILED: Final = "input_failed"  # the reason where a score that is read is missing
TRUNCATED: Final = "truncated"  # output of scorers whose text may not fit the context


@final
@dataclass(frozen=True, slots=True)
class ScoredSet:
    """The cost of one score set in this run, and what to know before using it.

    ``n_scored`` examples were scored now, ``n_reused`` found already there. ``failures`` counts
    examples without a score by reason, most frequent first: those that failed, and those that have
    no such score, such as a text without words; ``failed_id`` is one of those that failed. ``n_truncated``
    examples did not fit the model's context or the scorer's own limit and were scored on what did.
    """

    alias: str
    status: "ScoreSetStatus"
    n_scored: int
    n_reused: int
    failures: Mapping[str, int] = field(default_factory=dict)
    failed_id: str | None = None
    n_truncated: int = 0

    @property
    def n_undefined(self) -> int:
        """Examples that have no such score, though nothing is wrong with them, or lack a score it reads."""
        return sum(n for reason, n in self.failures.items() if not is_error(reason))

    @property
    def n_failed(self) -> int:
        """Examples whose scoring failed."""
        return self.status.n_failed - self.n_undefined

    def as_dict(self) -> dict[str, Any]:
        """Return the keys that `score --json` prints."""
        s = self.status
        return {
            "set_id": s.set_id, "alias": self.alias, "scorer": s.scorer,
            "n_scored": self.n_scored, "n_reused": self.n_reused, "n_failed": self.n_failed,
            "n_undefined": self.n_undefined, "failures": dict(self.failures), "n_truncated": self.n_truncated,
            "tokens": s.tokens, "wall_s": round(s.wall_s, 3), "content_hash": s.content_hash,
        }  # fmt: skip

    def warnings(self) -> Iterator[str]:
        """Yield what a user should know at the end of the run."""
        if self.n_undefined:
            reasons = {
                r.removeprefix(UNDEFINED): n for r, n in self.failures.items() if not is_error(r)
            }
            yield (
                f"{self.alias}: {self.n_undefined} of {self.status.n_examples} examples have no such score "
                f"({_listed(reasons)}); what selects by it leaves them out"
            )
        if self.n_truncated:
            yield (
                f"{self.alias}: {self.n_truncated} of {self.status.n_examples} texts are longer than "
                f"{text_limit(self.status)} and were cut; leave them out with --where 'not "
                f"{spelled(f'{self.alias}.{TRUNCATED}')}'"
            )


@final
@dataclass(frozen=True, slots=True)
class ScoreReport:
    """The outcome of a scoring run, over all its score sets.

    ``store``, if given, is where a notebook reads the scores from to plot their distribution.
    """

    sets: tuple[ScoredSet, ...]
    tolerated: Mapping[str, int]
    wall_s: float
    store: "Store | None" = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        said = ", ".join(
            f"{scored.alias} {scored.n_scored:,} scored, {scored.n_reused:,} found, "
            f"{scored.n_failed:,} failed"
            for scored in self.sets
        )
        return f"ScoreReport({said or 'nothing'}; {self.wall_s:,.1f} s)"

    def _repr_html_(self) -> str | None:
        return card(self)

    def as_dict(self) -> dict[str, Any]:
        """Return the document that `score --json` prints."""
        return {
            "score_sets": [scored.as_dict() for scored in self.sets],
            "wall_s": round(self.wall_s, 3),
        }

    def facts(self) -> dict[str, Any]:
        """Return the facts of the first set for the step that asked for it, and the cost of all sets.

        If the first set is partial, what it reads of the whole pool costs nothing more.
        """
        first = self.sets[0].status
        alike = [scored.status for scored in self.sets if scored.status.partial == first.partial]
        return {
            "content_hash": first.content_hash, "n_examples": first.n_examples,
            "n_failed": first.n_failed, "tokens": sum(status.tokens for status in alike),
        }  # fmt: skip

    def raise_for_failures(self) -> None:
        """Raise `TooManyFailuresError` if a score set has more failures than tolerated.

        Examples that have no such score are no failures, nor are those that lack a score it reads:
        the set of that score has failed for them, or they have none of it.
        """
        for scored in self.sets:
            allowed = self.tolerated[scored.status.set_id]
            if scored.n_failed > allowed:
                failures = {r: n for r, n in scored.failures.items() if is_error(r)}
                raise TooManyFailuresError(
                    f"{scored.alias}: {scored.n_failed} of {scored.status.n_examples} "
                    f"examples failed ({_listed(failures)}), at most {allowed} are tolerated; "
                    f"everything else is saved; look at one: curate explain {scored.failed_id}; or accept them: "
                    f"--max-failures {scored.n_failed}"
                )


def is_error(reason: str) -> bool:
    """Whether the reason of a missing score is that something went wrong with the example itself.

    Examples
    --------
    >>> is_error("prompt_exceeds_context"), is_error("no_words"), is_error(INPUT_FAILED)
    (True, False, False)
    """
    return not (reason.startswith(UNDEFINED) or reason in UNMARKED or reason == INPUT_FAILED)


def inspect(store: "Store", status: "ScoreSetStatus") -> tuple[dict[str, int], str | None, int]:
    """Return the failures of a score set by reason, the id of one, and how many texts were cut."""
    failures: dict[str, int] = {}
    failed_id = None
    if status.n_failed:
        rows = store.read(
            f"select reason, count(*) as n, min(id) as id from failures "
            f"where set_id = '{status.set_id}' group by reason order by n desc, reason"
        ).to_pylist()
        failures = {row["reason"]: row["n"] for row in rows}
        failed_id = next((row["id"] for row in rows if is_error(row["reason"])), None)
    return failures, failed_id, _n_truncated(store, status)


def _n_truncated(store: "Store", status: "ScoreSetStatus") -> int:
    if TRUNCATED not in _outputs(status.scorer) or status.n_examples == status.n_failed:
        return 0
    sql = f"select count(*) as n from score_set('{status.set_id}') where {TRUNCATED}"
    return int(store.read(sql).to_pylist()[0]["n"])


def text_limit(status: "ScoreSetStatus") -> str:
    """Say what a text was too long for: the scorer's own limit, or the model's context.

    Of a scorer that is not installed here, or no longer has these settings, the context is all that
    is known.
    """
    key = status.spec.get("key", {})
    room = key.get("max_length")
    scorer = None
    if status.scorer in names("scorer"):
        with suppress(ConfigError):
            scorer = build(get_scorer(status.scorer), settings_of(key["config"]))
    if isinstance(scorer, ForwardScorer):
        limits = [segment.rendering.max_length for segment in scorer.segments()]
        own = max((limit for limit in limits if limit is not None), default=None)
        if own is not None and own < (room or own + 1):
            return f"the {own:,} tokens that {status.scorer} reads"
    return "the model's context" + (f" of {room:,} tokens" if room else "")


def _outputs(scorer: str) -> Mapping[str, Any]:
    return get_scorer(scorer).outputs


def _listed(failures: Mapping[str, int]) -> str:
    shown = [f"{n} {reason}" for reason, n in list(failures.items())[:MAX_REASONS]]
    return ", ".join(shown) + (", ..." if len(failures) > MAX_REASONS else "")


def tell_once(note: str, told: set[str], progress: Progress) -> None:
    """Show a note, if there is one, that was not told yet."""
    if note and note not in told:
        told.add(note)
        progress.note(note)


def refuse_lost(store: "Store", shard_id: str, path: Path) -> None:
    """Raise `StoreError` if the catalogue lists a shard whose file is missing.

    A shard that is not listed any more has lost its last example to `curate forget`.
    """
    if any(shard.shard_id == shard_id for shard in store.shards()):
        raise StoreError(
            f"{path} is missing, which holds the texts of a part of the pool; restore it from a "
            "backup of the store; what else is missing: curate doctor"
        )
