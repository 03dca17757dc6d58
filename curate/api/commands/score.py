"""`score`: compute what some score sets still lack."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, final

import curate.views.notebook.cards  # noqa: F401 - registers how a notebook shows the report
from curate.api.commands.groups import NO_SETTINGS, ScoringPass, scoring_options
from curate.api.commands.option import option
from curate.contracts.settings import refuse_unused
from curate.errors import ConfigError
from curate.scoring.recorded.record import check_from_checkpoints
from curate.store.scores.names import check_alias

if TYPE_CHECKING:
    from curate.api.pool import Pool
    from curate.scoring.estimate import PlanReport
    from curate.scoring.outcome import ScoreReport
    from curate.scoring.slices import SliceReport


@final
@dataclass(frozen=True, kw_only=True)
class ScoreCommand(ScoringPass):
    """Score every example in the pool once; resume where an earlier run stopped."""

    command: ClassVar[str] = "score"

    scorers: tuple[str, ...] = option(..., "Scorers to run, comma-separated (see curate methods).", flag="--scorer", commas=True)  # fmt: skip
    alias: str | None = option(None, "Alias of the score set, for a single scorer. Default: the scorer's name.", flag="--as")  # fmt: skip
    settings: Mapping[str, Any] = option(NO_SETTINGS, "A field of the method or scorer (see `curate methods NAME`). Repeatable.", flag="--set", metavar="KEY=VALUE")  # fmt: skip
    within: str | None = option(None, "Score only the examples of this selection, into a separate score set.", takes="selection")  # fmt: skip
    from_checkpoints: str | None = option(None, "Measure a trajectory at the checkpoints in this folder instead of training.")  # fmt: skip
    slice: str | None = option(None, "Score every N-th shard, as one of N processes; slurm: as an array's variables say. Then: curate commit.", metavar="I/N", places=("flag", "python"))  # fmt: skip
    profile: str | None = option(None, "Write a Chrome trace of the first shard of each pass into this folder. That shard takes up to twice as long, and on a CPU some 400 MB more of memory and 40 MB of disk for 1,000 examples.", metavar="FOLDER", places=("flag", "python"))  # fmt: skip
    limit: int | None = option(None, "Time N examples and estimate the whole run; stores nothing.", places=("flag", "python"))  # fmt: skip
    dry_run: bool = option(False, "Print the plan and its cost; change nothing.", places=("flag", "python"))  # fmt: skip

    def run(self, pool: "Pool") -> "ScoreReport | PlanReport | SliceReport":
        """Score every example that has no score yet; with ``limit`` or ``dry_run`` only plan."""
        from curate.scoring import estimate, job, requests, scope, slices
        from curate.select.bind import scorer_settings

        self.check()
        chosen = scoring_options(self, self.model)
        check_from_checkpoints([name.strip() for name in self.scorers], chosen)
        asked, runs = [], {}
        for name in dict.fromkeys(scorer.strip() for scorer in self.scorers):
            given = dict(self.settings)
            own = scorer_settings(name, given)
            if len(self.scorers) == 1:
                own |= {key: value for key, value in given.items() if "." not in key}
            recorded = requests.run_scorer(name, own)
            if recorded is not None:
                runs[self.alias or name] = recorded
                continue
            request = requests.make_request(pool.store, name, self.alias or name, own, None, chosen)
            if request is None:
                raise ConfigError(requests.missing_model(name, chosen, own))
            asked.append(request)
        owners = sorted({name.strip() for name in self.scorers})
        refuse_unused(self.settings, owners, must_name=len(owners) > 1)
        planned = self.dry_run or self.limit is not None
        if self.within is not None:
            scope.refuse(self.within, runs, estimated=planned)
            asked = scope.only_within(pool.store, asked, self.within)
        if planned:
            for name, recorded in runs.items():
                pool.progress.note(estimate.run_plan(name, recorded, chosen))
            return estimate.plan(pool.store, asked, chosen, self.limit, pool.progress)
        if self.slice is not None:
            for name in runs:
                raise ConfigError(
                    f"scorer {name!r} is measured while its model is trained, which no slice does; run it "
                    "without --slice"
                )
            own_slice = slices.Slice.parse(self.slice)
            return job.score_slice(pool.store, asked, chosen, pool.progress, own_slice)
        report = job.score(pool.store, asked, chosen, pool.progress)
        report = job.with_recorded(pool.store, report, runs, chosen, pool.progress)
        return replace(report, store=pool.store)

    def check(self) -> None:
        """Raise `ConfigError` for what can be seen to be wrong before anything runs."""
        if self.alias is not None:
            check_alias(self.alias)
        if self.alias is not None and len(self.scorers) != 1:
            raise ConfigError(
                f"--as names one score set, but {len(self.scorers)} scorers are given "
                f"({', '.join(self.scorers)}); run them one at a time, each with its own --as"
            )
        if self.slice is not None and (self.dry_run or self.limit is not None):
            flag = "--dry-run" if self.dry_run else "--limit"
            raise ConfigError(
                f"{flag} plans the whole job, of which --slice {self.slice} does a part; leave one out"
            )
        if self.profile is not None and (self.dry_run or self.limit is not None):
            flag = "--dry-run" if self.dry_run else "--limit"
            raise ConfigError(
                f"--profile traces the first shard of a run, and {flag} runs none; leave one out"
            )
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit must be at least 1, got {self.limit}")
