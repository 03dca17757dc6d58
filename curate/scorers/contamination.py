"""Whether an example repeats a passage of a benchmark."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from curate.algorithms.shared_runs import RunIndex, shared_runs
from curate.algorithms.words import N_GRAM, Integers, Words, spelled, words_of
from curate.contracts import FAILURE, Column, Columns, Example, LoadContext, Role, RowScorer
from curate.errors import ConfigError, DataError
from curate.models.classifiers.text_model import make_each, object_column
from curate.models.text.templates import part_of
from curate.registry import register
from curate.store.records import TARGET_INPUT

if TYPE_CHECKING:
    from curate.data.read.benchmarks import BenchmarkTexts
    from curate.data.read.sources import Source


@register
@final
@dataclass(frozen=True)
class Contamination(RowScorer):
    """Runs of 13 words an example shares with benchmark files: ``--where "contamination.n == 0"``.

    ``curate score --scorer contamination --set contamination.files=test.jsonl,mmlu/`` reads the same
    files as `curate ingest`, whatever their columns: every string of a row is a text. Words
    are compared without case, punctuation and blanks. The whole conversation is compared, and a run
    of words may go from one turn into the next. 13 words follow GPT-3 [1]_; a shorter text shares
    nothing unless ``ngram`` is smaller, and ``short_rows`` counts the rows of the files that have no
    other. Files without a text as long as that are refused.

    The files belong to the key by their contents: changed ones are compared anew, and `DataError`
    is raised for one that changes between the two. ``longest`` is exact where each run of ``ngram``
    words in the passage occurs in at most 16 places of the files, and a lower bound elsewhere: of a more
    frequent run only the first 16 places are kept, and in any other it parts a longer passage.
    ``n`` and ``share`` are always exact. O(words); each worker holds 24 bytes or more a word of the
    files.

    Parameters
    ----------
    files
        Files, globs, folders or hub ids, as `curate ingest` takes them; of a folder with splits,
        ``split``. ``target:NAME`` is a target set of the store, of which the conversations are read.
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
        "short_rows": Column(
            "int", "rows of the files too short to share a run; alike for every example"
        ),
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

        paths = [file for file in self.files if not file.startswith(TARGET_INPUT)]
        return {path: resolve(path, self.split).content_hash for path in paths}

    def read_targets(self) -> tuple[str, ...]:
        return tuple(
            name.removeprefix(TARGET_INPUT) for name in self.files if name.startswith(TARGET_INPUT)
        )

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        known = _Benchmarks.read(self, context)

        def text(example: Example) -> str:
            return part_of(example, "full")

        def compare(examples: Sequence[Example]) -> Columns:
            texts, places, reasons = make_each(examples, text)
            shared = shared_runs(known.index, words_of(texts))
            columns: dict[str, np.ndarray] = {
                name: np.zeros(len(examples), dtype=int) for name in ("n", "longest", "file_row")
            }
            columns["short_rows"] = np.full(len(examples), known.n_short)
            columns["n"][places] = shared.n_shared
            columns["longest"][places] = shared.longest
            columns["share"] = np.zeros(len(examples))
            columns["share"][places] = shared.n_shared / np.maximum(shared.n_runs, 1)
            passages, named = [""] * len(examples), [""] * len(examples)
            for at in np.flatnonzero(shared.owner >= 0).tolist():
                owner, first = shared.owner[at], int(shared.place[at])
                columns["file_row"][places[at]] = known.rows[owner]
                named[places[at]] = known.names[known.files[owner]]
                passages[places[at]] = " ".join(spelled(texts[at])[first : first + self.ngram])
            return {
                **columns,
                "passage": object_column(passages),
                "file": object_column(named),
                FAILURE: np.array(reasons, dtype=object),
            }

        return compare


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Benchmarks:
    """The runs of words of some files, the file and row of each text, and how many rows have no run."""

    index: RunIndex
    names: Sequence[str]
    files: Integers
    rows: Integers
    n_short: int

    @classmethod
    def read(cls, scorer: Contamination, context: LoadContext) -> "_Benchmarks":
        """Read the files, whose contents must be as in the key of the scores, if there is one."""
        names: list[str] = []
        files: list[int] = []
        rows: list[int] = []
        n_short = 0

        def blocks() -> Iterator[Words]:
            nonlocal n_short
            for file in scorer.files:
                for block in _texts(file, scorer.split, context):
                    if not names or names[-1] != block.file:
                        names.append(block.file)
                    files.extend([len(names) - 1] * len(block.rows))
                    rows.extend(block.rows)
                    words = words_of(block.texts)
                    n_short += _n_short(block.rows, words.lengths, scorer.ngram)
                    yield words

        index = RunIndex.of(blocks(), scorer.ngram)
        if not len(index.hashes):
            raise ConfigError(
                f"no text of {', '.join(scorer.files)} has {scorer.ngram} words, so nothing could be "
                "found; compare shorter runs of words: --set contamination.ngram=N"
            )
        return cls(index, names, np.array(files), np.array(rows), n_short)


def _texts(file: str, split: str, context: LoadContext) -> "Iterator[BenchmarkTexts]":
    from curate.data.read.benchmarks import benchmark_texts, target_texts

    if not file.startswith(TARGET_INPUT):
        return benchmark_texts(_unchanged(file, split, context.files))
    name = file.removeprefix(TARGET_INPUT)
    return target_texts(context.targets[name], name, context.files[file])


def _unchanged(file: str, split: str, hashes: Mapping[str, str]) -> "Source":
    from curate.data.read.sources import resolve

    source = resolve(file, split)
    if hashes.get(file, source.content_hash) != source.content_hash:
        raise DataError(
            f"{file} changed after scoring began, so the scores would be of other contents than they "
            "are kept under; run the same command again"
        )
    return source


def _n_short(rows: Sequence[int], n_words: Integers, ngram: int) -> int:
    """Count the rows none of whose texts has ``ngram`` words."""
    distinct, place = np.unique(rows, return_inverse=True)
    longest = np.zeros(len(distinct), dtype=np.int64)
    np.maximum.at(longest, place, n_words)
    return int((longest < ngram).sum())
