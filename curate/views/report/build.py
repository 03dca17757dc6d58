"""`curate report`: one file about a store, some of its selections, or a proof."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts.progress import Progress, SilentProgress
from curate.data.write.manifest import library_versions
from curate.errors import ConfigError
from curate.prove.contamination import find_overlap
from curate.store.records import utc_now
from curate.views.report import html, lead, markdown, pool_sections, selection_sections, warned
from curate.views.report.chosen import pictured, read_selections
from curate.views.report.contaminated import contamination_section
from curate.views.report.page import Block, Notices, Page, Paragraph, Section, Warned
from curate.views.report.pool import lengths, read_facts, read_scores
from curate.views.report.selection_sections import overlap_section
from curate.views.report.texts import read_texts
from curate.views.selected import distinct_names, read_picks

if TYPE_CHECKING:
    from curate.prove.contamination import Overlap
    from curate.prove.targets import Target
    from curate.store import Store
    from curate.views.report.chosen import SelectionFacts
    from curate.views.report.pool import Lengths, PoolFacts, Scored
    from curate.views.report.texts import TextFacts
    from curate.views.selected import Picks

HTML_NAMES: Final = (".html", ".htm")
MARKDOWN_NAMES: Final = (".md", ".markdown")
NEWEST: Final = 4  # selections shown in full where none is asked for, one a method
IN_OVERLAP: Final = 12


@final
@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a report is about.

    Parameters
    ----------
    selections
        Ids, or id prefixes, of the selections to show in full. If empty: the newest of
        each method, up to four.
    proof
        The JSON of a proof. Alone, the report is about the proof, and needs no store.
    benchmarks
        Files or Hugging Face ids that should not be in the pool.
    as_markdown
        Markdown instead of HTML.
    """

    selections: tuple[str, ...] = ()
    proof: Path | None = None
    benchmarks: tuple[str, ...] = ()
    as_markdown: bool = False

    @property
    def needs_store(self) -> bool:
        """Whether the report covers more than a proof."""
        return self.proof is None or bool(self.selections or self.benchmarks)


def check_path(path: Path, as_markdown: bool) -> None:
    """Raise `ConfigError` for a report that could not be written where the user wants it."""
    names = MARKDOWN_NAMES if as_markdown else HTML_NAMES
    if path.suffix.lower() not in names:
        kind = "Markdown" if as_markdown else "HTML"
        other = "; add --md for Markdown" if path.suffix.lower() in MARKDOWN_NAMES else ""
        raise ConfigError(f"the report is {kind}, got {str(path)!r}; give -o NAME{names[0]}{other}")
    if not path.parent.is_dir():
        raise ConfigError(
            f"folder {str(path.parent)!r} of the report does not exist; create it first"
        )


def write_report(
    store: "Store | None",
    path: Path,
    options: ReportOptions,
    progress: Progress | None = None,
    made: str = "",
) -> dict[str, Any]:
    """Write a report; return its path, its size, its contents, and its warnings.

    Parameters
    ----------
    store
        May be None for a report about a proof alone.
    path
        Where to write; a file there is replaced, whole or not at all.
    made
        When the page was made, in words; by default the current time.

    Raises
    ------
    ConfigError
        A wrong name, or a store is needed.
    DataError
        An unknown selection, a proof or a benchmark that is not one.
    """
    from curate.store.parts import atomic_path

    began = time.perf_counter()
    check_path(path, options.as_markdown)
    page, warned, chosen = build_page(store, options, progress or SilentProgress(), made)
    text = (markdown if options.as_markdown else html).render(page)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return {
        "output": str(path),
        "format": "markdown" if options.as_markdown else "html",
        "bytes": path.stat().st_size,
        "selections": [selection.picks.selection_id for selection in chosen],
        "proof": None if options.proof is None else str(options.proof),
        "warnings": [
            {"kind": warning.kind, "level": warning.level, "text": warning.text} for warning in warned
        ],
        "wall_s": round(time.perf_counter() - began, 3),
    }  # fmt: skip


def build_page(
    store: "Store | None", options: ReportOptions, progress: Progress, made: str
) -> tuple[Page, list[Warned], "list[SelectionFacts]"]:
    """Return the page, its warnings, and the selections on it."""
    sections: list[Section] = []
    warned: list[Warned] = []
    chosen: list[SelectionFacts] = []
    about: list[str] = []
    said: list[str] = []
    if options.proof is not None:
        from curate.prove.conclusions import conclusions  # lazy: only a page with a proof needs it
        from curate.views.report.proofs.sections import proof_sections, read_proof  # lazy: the same

        document = read_proof(options.proof)
        sections += proof_sections(document)
        said += conclusions(document)
        about.append(f"proof {options.proof.name}")
    if options.needs_store:
        if store is None:
            raise ConfigError("a report about a pool needs its store; name it with --store")
        of_store = _store_page(store, options, progress)
        warned, chosen = of_store.warned, of_store.chosen
        sections = [of_store.sections[0], *sections, *of_store.sections[1:]]
        said += of_store.lead
        about.append(f"store {store.path.name}")
    when = made or utc_now()[:16].replace("T", " ") + " UTC"
    title = "Proof" if not options.needs_store else "Selections" if options.selections else "Pool"
    footer = (
        f"Made by curate {library_versions()['curate-sft']}, {when}. This page is one file: it fetches nothing and "
        "runs no script. Marks such as U+200B stand for characters that cannot be seen."
    )
    return Page(f"{title} report", ", ".join(about), sections, footer, said), warned, chosen


@final
@dataclass(frozen=True, slots=True, eq=False)
class StorePage:
    """What a page says about a store: its sections, the first of which comes before a proof's."""

    sections: Sequence[Section]
    warned: list[Warned]
    chosen: "list[SelectionFacts]"
    lead: Sequence[str]


def _store_page(store: "Store", options: ReportOptions, progress: Progress) -> StorePage:
    for selection in options.selections:
        store.selection(selection)  # a wrong name fails before anything long is read
    targets = _targets(options.benchmarks)
    progress.start("reading", 4 + len(targets), "parts")
    with store.held():
        pool = read_facts(store)
        progress.advance("reading", 1)
        scored = read_scores(store, pool, store.score_sets())
        progress.advance("reading", 1)
    overlaps = []
    for target in targets:
        overlaps.append(find_overlap(store, target))
        progress.advance("reading", 1)
    asked = options.selections or _newest(pool)
    with store.held():
        chosen = read_selections(store, pool, scored, [*dict.fromkeys(asked)])
    progress.advance("reading", 1)
    pictures = [pictured(pool, scored, facts) for facts in chosen]
    texts = read_texts(store, pool, set().union(*(picture.rows for picture in pictures)))
    progress.advance("reading", 1)
    progress.finish("reading")
    length = lengths(pool, scored)
    warned = _warnings(pool, scored, length, chosen, texts, overlaps)
    sections = [
        Section("What to know first", [_notices(warned)]),
        pool_sections.pool_section(pool, length, texts),
        *contamination_section(store, scored, overlaps),
        pool_sections.score_section(pool, scored),
    ]
    shown_picks = _shown_picks(store, pool, chosen, options)
    names = distinct_names(shown_picks)
    said = []
    for facts, picture, name in zip(chosen, pictures, names, strict=False):
        said.append(lead.selection_sentence(pool, length, facts, name, texts.repeats))
        sections.append(
            selection_sections.selection_section(
                pool, scored, length, facts, picture, texts, name, said[-1]
            )
        )
    if len(shown_picks) > 1:
        sections.append(overlap_section(names, [picks.ids.tolist() for picks in shown_picks]))
    bound = {
        f"{name} ({selection.picks.selection_id})": [
            scores.status.set_id for scores in selection.scored.values()
        ]
        for selection, name in zip(chosen, names, strict=False)
    }
    sections.append(pool_sections.cost_section(scored, bound, _trials(store)))
    first = said if options.selections else lead.pool_lead(pool, scored, warned)
    return StorePage(sections, warned, chosen, first)


def _targets(benchmarks: Sequence[str]) -> "Sequence[Target]":
    if not benchmarks:
        return ()
    from curate.prove.targets import read_targets  # lazy: only benchmarks need the readers

    return read_targets(benchmarks)


def _newest(pool: "PoolFacts") -> list[str]:
    """Return the newest selection of each method, newest last, up to four."""
    by_method = {record["method"]: record["selection_id"] for record in pool.selections}
    order = {record["selection_id"]: k for k, record in enumerate(pool.selections)}
    return sorted(by_method.values(), key=lambda record: order[record])[-NEWEST:]


def _warnings(
    pool: "PoolFacts", scored: "Sequence[Scored]", length: "Lengths", chosen: "Sequence[SelectionFacts]",
    texts: "TextFacts", overlaps: "Sequence[Overlap]",
) -> list[Warned]:  # fmt: skip
    warnings = [
        *warned.about_pool(pool, texts.repeats),
        *warned.about_scores(pool, scored),
        *warned.about_overlap(overlaps),
    ]
    for selection in chosen:
        warnings += warned.about_selection(selection, length, texts, overlaps)
    return sorted(warnings, key=lambda warning: warning.level != "warning")


def _notices(warned: Sequence[Warned]) -> Block:
    if not warned:
        return Paragraph("No truncation, collapsed scores, duplicates or length bias were found.")
    return Notices(warned)


def _shown_picks(
    store: "Store", pool: "PoolFacts", chosen: "Sequence[SelectionFacts]", options: ReportOptions
) -> "list[Picks]":
    """Return the selections shown in full; then the newest others, if none is asked for."""
    picks = {selection.picks.selection_id: selection.picks for selection in chosen}
    newest = [] if options.selections else pool.selections[-IN_OVERLAP:]
    unread = [record for record in newest if record["selection_id"] not in picks]
    return [*picks.values(), *read_picks(store, pool.snapshot, unread)]


def _trials(store: "Store") -> Mapping[str, Any]:
    [row] = store.read(
        "select count(*) as n, coalesce(sum(tokens), 0)::bigint as tokens, "
        "coalesce(sum(wall_s), 0) as wall_s from trials"
    ).to_pylist()
    return dict(row)
