"""What the pool shares with benchmarks: counts, and a few examples to judge them by."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from curate.contracts.display import counted
from curate.prove.contamination import Overlap, SharedExample
from curate.views.charts.text import one_line
from curate.views.report.page import Block, Folded, Heading, Paragraph, Section, Table
from curate.views.report.pool import Scored

if TYPE_CHECKING:
    from curate.store import Store

CONTAMINATION: Final = "contamination"
SHOWN: Final = 5  # examples of each file
MAX_FILES: Final = 12
AROUND: Final = 60  # characters before and after the words that are shared
TEXT_CHARS: Final = 160
NAME_CHARS: Final = 80


def contamination_section(
    store: "Store", scored: Sequence[Scored], overlaps: Sequence[Overlap]
) -> list[Section]:
    """Return what is shared with benchmarks; nothing if the pool was never compared with one.

    Reads the scores of ``contamination`` and the texts of the few examples shown.
    """
    blocks: list[Block] = []
    if overlaps:
        blocks += [_counts(overlaps), *_overlapping(overlaps)]
    for scores in scored:
        if scores.status.scorer == CONTAMINATION and "passage" in scores.status.columns:
            blocks += _scored(store, scores)
    return [Section("Contamination", blocks)] if blocks else []


def shared_table(shared: Sequence[SharedExample]) -> Table:
    """Return examples of the pool beside those of a benchmark that they overlap with."""
    rows = [
        (one.what, one_line(one.passage, TEXT_CHARS) or "-", one_line(one.pool_text, TEXT_CHARS),
         one_line(one.target_text, TEXT_CHARS), one.pool_id[:8])
        for one in shared
    ]  # fmt: skip
    columns = ("shared", "these words", "example of the pool", "example of the benchmark", "id")
    return Table(columns, rows, n_left=5)


def _counts(overlaps: Sequence[Overlap]) -> Table:
    rows = [
        (
            overlap.target, f"{overlap.n_examples:,}", f"{len(overlap.same_example):,}",
            f"{len(overlap.same_prompt):,}", f"{len(overlap.same_words):,}", f"{len(overlap.in_pool):,}",
        )
        for overlap in overlaps
    ]  # fmt: skip
    columns = (
        "benchmark", "examples", "in the pool", "same prompt", "13 words in a row",
        "examples of the pool",
    )  # fmt: skip
    return Table(columns, rows)


def _overlapping(overlaps: Sequence[Overlap]) -> Iterator[Block]:
    for number, overlap in enumerate(shown for shown in overlaps if shown.shared):
        table = shared_table(overlap.shared)
        title = f"Some of what is shared with {one_line(overlap.target, NAME_CHARS)}"
        yield Folded(title, [table]) if number else Heading(title)
        if not number:
            yield table


def _scored(store: "Store", scores: Scored) -> Iterator[Block]:
    rows = _longest_of_each_file(store, scores.status.set_id)
    if not rows:
        yield Paragraph(
            f"No example shares a run of words with the files of {scores.status.alias}."
        )
        return
    texts = {
        row["id"]: (row["prompt"] or "", row["response"] or "")
        for row in store.examples_by_id([row["id"] for row in rows]).to_pylist()
    }
    files = list(dict.fromkeys(row["file"] for row in rows))
    for number, file in enumerate(files):
        of_file = [row for row in rows if row["file"] == file]
        n = of_file[0]["n_of_file"]
        name = one_line(file, NAME_CHARS)
        title = f"{name}: {counted(n, 'example')} of the pool share{'s' if n == 1 else ''} words with it"
        table = _examples(of_file, texts)
        yield Folded(title, [table]) if number else Heading(title)
        if not number:
            yield table
    yield Paragraph(
        f"Each file shows up to {SHOWN} examples, the longest shared run first. An example counts for the "
        "file that it shares its longest run with.",
        quiet=True,
    )


def _longest_of_each_file(store: "Store", set_id: str) -> list[dict[str, Any]]:
    from curate.store.connection import literal

    rows: list[dict[str, Any]] = store.read(
        f"""with shared as (
          select id, n, longest, passage, file, file_row, count(*) over (partition by file) as n_of_file,
            row_number() over (partition by file order by longest desc, n desc, id) as place
          from score_set({literal(set_id)}) where n > 0),
        files as (select file, n_of_file from shared group by all order by n_of_file desc, file limit {MAX_FILES})
        select shared.* from shared join files using (file) where place <= {SHOWN}
        order by files.n_of_file desc, file, place"""
    ).to_pylist()
    return rows


def _examples(rows: Sequence[Mapping[str, Any]], texts: Mapping[str, tuple[str, str]]) -> Table:
    cells = []
    for row in rows:
        prompt, response = texts.get(row["id"], ("", ""))
        part, said = _in_context(row["passage"], row["longest"], prompt, response)
        cells.append(
            (
                said,
                part,
                row["id"][:8],
                f"{row['file_row']:,}",
                f"{row['longest']:,}",
                f"{row['n']:,}",
            )
        )
    columns = ("shared words, in [brackets]", "in the", "example", "row of the file",
               "longest run, words", "shared runs")  # fmt: skip
    return Table(columns, cells, n_left=3)


def _in_context(passage: str, longest: int, prompt: str, response: str) -> tuple[str, str]:
    """Return which part of an example has a run that begins with these words, and the run as it stands.

    Examples
    --------
    >>> _in_context("the cat", 3, "Who?", "Well: the Cat, sat down.")
    ('response', 'Well: [the Cat, sat] down.')
    """
    pattern = re.compile(r"\W+".join(map(re.escape, passage.split())), re.IGNORECASE)
    for part, text in (("prompt", prompt), ("response", response)):
        if passage and (match := pattern.search(text)):
            start = match.start()
            words = islice(re.finditer(r"\w+", text[start:]), longest)
            end = start + max(word.end() for word in words)
            before, after = text[max(start - AROUND, 0) : start], text[end : end + AROUND]
            head, tail = "…" if start > AROUND else "", "…" if len(text) > end + AROUND else ""
            return part, f"{head}{before}[{one_line(text[start:end], TEXT_CHARS)}]{after}{tail}"
    return "conversation", f"[{passage}]"
