"""`score`: compute what some score sets still lack."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

import curate.views.notebook.cards  # noqa: F401 - registers how a notebook shows the report
from curate.api.commands.groups import NO_SETTINGS, ScoringPass, scoring_options
from curate.api.commands.option import option
from curate.contracts.progress import Progress
from curate.contracts.settings import refuse_unused, spell_value
from curate.errors import ConfigError
from curate.scoring.backends import refuse_recorded
from curate.scoring.options import ScoringOptions
from curate.scoring.recorded.record import check_from_checkpoints
from curate.store.objects import Objects
from curate.store.records import digest
from curate.store.scores.names import check_alias

if TYPE_CHECKING:
    from curate.api.pool import Pool
    from curate.scoring.estimate import PlanReport
    from curate.scoring.outcome import ScoreReport
    from curate.scoring.remote.publish import Published
    from curate.scoring.requests import ScoreRequest
    from curate.scoring.slices import SliceReport

SLICE_WAIT_S: Final = 600.0  # for the store: hundreds of slices may begin together


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
    parts: str | None = option(None, "Exchange shards and parts with other machines below this URL, such as s3://bucket/prefix.", metavar="URL", places=("flag", "python"))  # fmt: skip
    plan_only: bool = option(False, "Publish the plan and the shards below --parts for slices on other machines; score nothing.", places=("flag", "python"))  # fmt: skip
    limit: int | None = option(None, "Time N examples and estimate the whole run; stores nothing.", places=("flag", "python"))  # fmt: skip
    dry_run: bool = option(False, "Print the plan and its cost; change nothing.", places=("flag", "python"))  # fmt: skip

    def run(self, pool: "Pool") -> "ScoreReport | PlanReport | SliceReport | Published":
        """Score every example that has no score yet; with ``limit`` or ``dry_run`` only plan."""
        if self.is_from_plan:
            return self.run_published(pool.progress)
        self.check()
        if self.slice is None:
            return self._run(pool)
        with pool.store.waiting(SLICE_WAIT_S):
            return self._run(pool)

    def _run(self, pool: "Pool") -> "ScoreReport | PlanReport | SliceReport | Published":
        from curate.scoring import estimate, job, requests, scope, slices
        from curate.select.bind import scorer_settings

        measures = self.slice is None and self.parts is None
        chosen = replace(scoring_options(self, self.model), measures=measures)
        check_from_checkpoints([name.strip() for name in self.scorers], chosen)
        asked, runs = [], {}
        for name in dict.fromkeys(scorer.strip() for scorer in self.scorers):
            given = dict(self.settings)
            own = scorer_settings(name, given)
            if len(self.scorers) == 1:
                own |= {key: value for key, value in given.items() if "." not in key}
            recorded = requests.run_scorer(name, own)
            if recorded is not None:
                refuse_recorded(name, chosen.backend)
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
        if self.slice is not None or self.plan_only:
            for name in runs:
                raise ConfigError(
                    f"scorer {name!r} is measured while its model is trained, which no slice does; run it "
                    f"without {'--slice' if self.slice is not None else '--plan-only'}"
                )
        if self.slice is not None:
            own_slice = slices.Slice.parse(self.slice)
            return job.score_slice(pool.store, asked, chosen, pool.progress, own_slice)
        if self.parts is not None:
            published = self._exchange(pool, asked, chosen)
            if published is not None:
                return published
        report = job.score(pool.store, asked, chosen, pool.progress)
        report = job.with_recorded(pool.store, report, runs, chosen, pool.progress)
        return replace(report, store=pool.store)

    def _exchange(
        self, pool: "Pool", asked: "list[ScoreRequest]", chosen: ScoringOptions
    ) -> "Published | None":
        """Publish below ``parts`` and return what; or score by way of it, which leaves the commit."""
        from curate.scoring.remote.exchange import exchange
        from curate.scoring.remote.publish import publish

        assert self.parts is not None
        objects, typed = Objects.at(self.parts), self.asked(chosen)
        if self.plan_only:
            return publish(pool.store, asked, chosen, typed, objects, pool.progress)
        exchange(pool.store, asked, chosen, typed, objects, pool.progress)
        return None

    @property
    def is_from_plan(self) -> bool:
        """Whether it runs a slice of what is published below a URL, without the store."""
        return self.parts is not None and self.slice is not None

    def run_published(self, progress: Progress) -> "SliceReport":
        """Run a slice of the plan below ``parts``; no store is opened."""
        from curate.scoring.remote.work import score_published
        from curate.scoring.slices import Slice

        self.check()
        assert self.parts is not None and self.slice is not None
        chosen = scoring_options(self, self.model)
        own_slice = Slice.parse(self.slice)
        return score_published(
            Objects.at(self.parts), self.asked(chosen), own_slice, chosen, progress
        )

    def asked(self, chosen: ScoringOptions) -> dict[str, Any]:
        """Return what is given that decides the numbers, to compare commands on several machines."""
        template = chosen.chat.template
        return {
            "scorers": [name.strip() for name in self.scorers],
            "alias": self.alias,
            "settings": {name: spell_value(value) for name, value in self.settings.items()},
            "within": self.within,
            "template": self.template,
            "revision": self.revision,
            "dtype": self.dtype,
            "batch_tokens": self.batch_tokens,
            "reasoning": self.reasoning,
            "template_args": self.template_args,
            "chat_template": None if template is None else digest(template),
            "mask": self.mask,
            "backend": self.backend,
        }

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
        if self.plan_only and (self.parts is None or self.slice is not None):
            raise ConfigError(
                "--plan-only publishes for slices on other machines and scores nothing; "
                + (
                    "say where with --parts s3://bucket/prefix"
                    if self.parts is None
                    else f"leave it or --slice {self.slice} out"
                )
            )
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit must be at least 1, got {self.limit}")
