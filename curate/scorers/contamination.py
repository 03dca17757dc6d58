"""Whether an example repeats a passage of a benchmark."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from curate.algorithms.shared_runs import RunIndex, shared_runs
from curate.algorithms.words import N_GRAM, Words, spelled, words_of
from curate.contracts import FAILURE, Column, Columns, Example, LoadContext, Role, RowScorer
from curate.errors import ConfigError
from curate.models.classifiers.text_model import make_each, object_column
from curate.models.text.templates import history_and_response
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class Contamination(RowScorer):
    """Runs of 13 words an example shares with benchmark files: ``--where "contamination.n == 0"``.

    ``curate score --scorer contamination --set contamination.files=test.jsonl,mmlu/`` reads the same
    files as `curate ingest`, whatever their columns: every string of a row is a text. Words
    are compared without case, punctuation and blanks. The whole conversation is compared, and a run
    of words may go from one turn into the next. 13 words follow GPT-3 [1]_; a shorter text shares
    nothing unless ``ngram`` is smaller.

    The files belong to the key by their contents: changed ones are compared anew. ``longest`` is
    exact, except where every run of words in it occurs in more than 16 places of the files. O(words);
    each worker holds 24 bytes or more a word of the files.

    Parameters
    ----------
    files
        Files, globs, folders or hub ids, as `curate ingest` takes them; of a folder with splits,
        ``split``.
    ngram
        Words in a run.
    split
        Split of a hub id, a saved dataset or a folder of splits.

    References
    ----------
    .. [1] Brown et al., Language Models are Few-Shot Learners, NeurIPS 2020, appendix C.
       https://arxiv.org/abs/2005.14165
    """

    name: ClassVar[str] = "contamination"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "n": Column("int", "runs of words that also occur in a file; 0 is clean"),
        "share": Column("float", "those among all its runs of words, 0 to 1; lower is cleaner"),
        "longest": Column("int", "words of the longest run in common with one text of a file"),
        "passage": Column("text", "the first words of that run, as many as a run has; or empty"),
        "file": Column("text", "the file it is in, or empty"),
        "file_row": Column("int", "line or row of that file, from 1; 0 for none"),
    }
    files: tuple[str, ...]
    ngram: int = N_GRAM
    split: str = "test"

    def __post_init__(self) -> None:
        if not self.files:
            raise ConfigError(
                "contamination.files is empty, so there is nothing to compare with; "
                "pass --set contamination.files=FILE,FILE"
            )
        if self.ngram < 1:
            raise ConfigError(
                f"contamination.ngram counts words, at least 1, got {self.ngram}; try {N_GRAM}"
            )

    def read_files(self) -> Mapping[str, str]:
        from curate.data.read.sources import resolve

        return {file: resolve(file, self.split).content_hash for file in self.files}

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        from curate.data.read.benchmarks import benchmark_texts
        from curate.data.read.sources import resolve

        names: list[str] = []
        files: list[int] = []
        rows: list[int] = []

        def blocks() -> Iterator[Words]:
            for file in self.files:
                for block in benchmark_texts(resolve(file, self.split)):
                    if not names or names[-1] != block.file:
                        names.append(block.file)
                    files.extend([len(names) - 1] * len(block.rows))
                    rows.extend(block.rows)
                    yield words_of(block.texts)

        index = RunIndex.of(blocks(), self.ngram)
        file_of, row_of = np.array(files), np.array(rows)

        def text(example: Example) -> str:
            return "\n".join(history_and_response(example))

        def compare(examples: Sequence[Example]) -> Columns:
            texts, places, reasons = make_each(examples, text)
            shared = shared_runs(index, words_of(texts))
            columns: dict[str, np.ndarray] = {
                name: np.zeros(len(examples), dtype=int) for name in ("n", "longest", "file_row")
            }
            columns["n"][places] = shared.n_shared
            columns["longest"][places] = shared.longest
            columns["share"] = np.zeros(len(examples))
            columns["share"][places] = shared.n_shared / np.maximum(shared.n_runs, 1)
            passages, named = [""] * len(examples), [""] * len(examples)
            for at in np.flatnonzero(shared.owner >= 0).tolist():
                owner, first = shared.owner[at], int(shared.place[at])
                columns["file_row"][places[at]] = row_of[owner]
                named[places[at]] = names[file_of[owner]]
                passages[places[at]] = " ".join(spelled(texts[at])[first : first + self.ngram])
            return {
                **columns,
                "passage": object_column(passages),
                "file": object_column(named),
                FAILURE: np.array(reasons, dtype=object),
            }

        return compare
