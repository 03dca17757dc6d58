"""`select`: choose a subset, reading and scoring what is missing first."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

from curate.api.commands.export import Writing
from curate.api.commands.groups import (
    NO_SETTINGS,
    WRITING,
    Reading,
    ScoringPass,
    read_ids,
    read_mix,
    read_text,
    scoring_options,
)
from curate.api.commands.ingest import read_aside, read_data
from curate.api.commands.option import option, passed_on
from curate.api.selection import StoredSelection
from curate.data.read.given import Data, data_words, paths_of
from curate.data.write.overwriting import has_manifest, input_files, refuse_overwriting
from curate.errors import ConfigError
from curate.registry import own_names
from curate.select.options import SelectOptions

if TYPE_CHECKING:
    from curate.api.pool import Pool
    from curate.scoring.options import ScoringOptions

AT_RANDOM: Final = "random"  # the method of a mix that names none


def method_or_default(method: str | None, rank: str | None) -> str:
    """Return the method that is asked for, or that of a ranking or of a mix alone."""
    return method or (AT_RANDOM if rank is None else "top-k")


@final
@dataclass(frozen=True, kw_only=True)
class SelectCommand(Writing, ScoringPass, Reading):
    """Select a subset with any method; given DATA and -o, ingests, scores, selects and exports."""

    command: ClassVar[str] = "select"

    data: tuple[Data, ...] = option((), "Datasets to select from; default: the whole pool.", argument=True, read=data_words)  # fmt: skip
    method: str | None = option(None, "A method, or several as in 'ifd | longest' (see curate methods).")  # fmt: skip
    budget: str | None = option(
        None, "10%, 10%eligible, 5000, 2Mtok or 10%tok.", short="-b", read=read_text
    )
    where: str | None = option(None, "Only examples for which this expression holds.")
    rank: str | None = option(None, "Select the top-k by this expression, highest first.")
    include: tuple[str, ...] = option((), "Examples to take first: comma-separated ids, a file of ids, or a selection id such as marked-in-ana.", metavar="IDS", commas=True, read=read_ids)  # fmt: skip
    exclude: tuple[str, ...] = option((), "Examples never to take: comma-separated ids, a file of ids, or a selection id.", metavar="IDS", commas=True, read=read_ids)  # fmt: skip
    quota: Mapping[str, Any] = option(NO_SETTINGS, "At most N examples of a source, or N% of the selection; * for every other source, row.COLUMN:VALUE for a column of yours. Repeatable.", metavar="SOURCE=N")  # fmt: skip
    mix: Mapping[str, Any] = option(NO_SETTINGS, "Exact shares of the selection, 100% together, of sources (or row.COLUMN:VALUE); at random, or by the method named.", metavar="SOURCE=N%,...", read=read_mix)  # fmt: skip
    within: str | None = option(None, "Select only among the examples of this selection.", takes="selection")  # fmt: skip
    target: str | None = option(None, "Target set to select towards (see curate target).", metavar="NAME")  # fmt: skip
    seed: int = option(0, "Seed for every random choice.")
    name: str | None = option(None, "Name of the selection, for --selection NAME (see curate selections).")  # fmt: skip
    settings: Mapping[str, Any] = option(NO_SETTINGS, "A field of the method or scorer (see `curate methods NAME`). Repeatable.", flag="--set", metavar="KEY=VALUE")  # fmt: skip
    allow_stale: bool = option(False, "Use pool scores computed before the pool grew.")
    output: Path | None = option(
        None, "Also export the selection to this file or folder.", short="-o", group=WRITING
    )
    dry_run: bool = option(False, "Print the plan and its cost; change nothing.", places=("flag", "python"))  # fmt: skip

    def check(self) -> None:
        """Raise `ConfigError` for what can be seen to be wrong before anything runs."""
        if self.method is None and self.rank is None and not self.mix:
            raise ConfigError(
                "say how to select: --method NAME (see curate methods) or --rank EXPR"
            )
        self.check_read(self.data)
        self.check_written(self.output)

    def run(self, pool: "Pool") -> StoredSelection:
        """Choose a subset, reading ``data`` and scoring what is missing first."""
        from curate.select.run import build_method, select

        self.check()
        if self.output is not None:
            from curate.data.write.rows import check_output

            # before hours of scoring, not after
            check_output(self.output)
            inputs = [*input_files(pool.store), *paths_of(self.data)]
            refuse_overwriting(self.output, inputs, has_manifest, overwrite=self.overwrite)
        given = passed_on(self, SelectOptions, without=("method", "settings", "quota", "mix"))
        chosen = SelectOptions(
            method=method_or_default(self.method, self.rank),
            settings={
                **own_names(self.settings),
                **({} if self.rank is None else {"rank": self.rank}),
            },
            quota={source: str(limit) for source, limit in self.quota.items()},
            mix={key: str(share) for key, share in self.mix.items()},
            **given,
        )
        build_method(chosen.method, chosen.settings)  # a wrong name fails before anything is read
        if self.name is not None:
            from curate.store.results.selection_names import check_name

            check_name(self.name)
        scoring = scoring_options(self, self.model)
        if self.dry_run:
            return StoredSelection(pool, self._plan(pool, chosen, scoring))
        reports = read_data(pool, self.data, self)
        if reports:
            ids = tuple(dict.fromkeys(report.dataset_id for report in reports))
            chosen = replace(chosen, datasets=ids)
        selected = StoredSelection(pool, select(pool.store, chosen, scoring, pool.progress))
        pool.store.keep_selection(selected.id, self.name)
        if self.output is not None:
            selected.export(self.output, **passed_on(self, Writing))
        return selected

    def _plan(
        self, pool: "Pool", chosen: SelectOptions, scoring: "ScoringOptions"
    ) -> dict[str, Any]:
        """Plan the selection; data that the store does not have yet is read aside."""
        from curate.select.plan import plan_select

        if not self.data:
            return plan_select(pool.store, chosen, scoring, pool.progress)
        with read_aside(pool, self.data, self) as (store, ids):
            there = None if store is pool.store else pool.store
            planned = replace(chosen, datasets=ids)
            return plan_select(store, planned, scoring, pool.progress, there)
