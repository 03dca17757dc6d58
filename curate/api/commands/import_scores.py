"""`import-scores`: scores made elsewhere, as a score set."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from curate.api.commands.option import option

if TYPE_CHECKING:
    from curate.api.pool import Pool
    from curate.scoring.imported import ImportedScores


def as_given(value: Any) -> Any:
    """Return a file or a table as it is; it is read when the command runs."""
    return value


@final
@dataclass(frozen=True, kw_only=True)
class ImportScoresCommand:
    """Import scores made elsewhere, as columns for --where, --rank, plots and reports."""

    command: ClassVar[str] = "import-scores"

    scores: Any = option(..., "A .parquet, .csv, .tsv, .jsonl or .arrow file with a column of ids and columns of scores.", argument=True, metavar="FILE", read=as_given)  # fmt: skip
    alias: str = option(..., "Name of the score set, as in --where 'NAME.column > 3'.", flag="--as", also=("name",), metavar="NAME")  # fmt: skip
    by: str | None = option(None, "Column that holds the ids of examples or of your input, or position: row by row as in the input. Default: id, curate_id or external_id.", metavar="COLUMN")  # fmt: skip
    columns: tuple[str, ...] = option((), "Columns to import, comma-separated. Default: all that can be scores.", commas=True)  # fmt: skip
    dataset: str | None = option(None, "Dataset whose ids or positions are meant, where several could be.", metavar="NAME")  # fmt: skip

    def run(self, pool: "Pool") -> "ImportedScores":
        """Match the rows to examples and store their columns; the same ones are stored once."""
        from curate.scoring.imported import import_scores

        return import_scores(
            pool.store, self.scores, self.alias, by=self.by, columns=self.columns,
            dataset=self.dataset, progress=pool.progress,
        )  # fmt: skip
