"""The dataset card of an exported folder: ``README.md`` with the facts a reader needs."""

import html
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from curate.data.write.row_formats import tally_lines

if TYPE_CHECKING:
    from huggingface_hub import DatasetCardData

_SIZES: Final = (
    (10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"), (10**8, "10M<n<100M"), (10**9, "100M<n<1B"),
)  # fmt: skip
# Identifiers of the hub for licences that datasets often have; any other is "other" there.
# (huggingface_hub checks no licence and ships no list of them.)
_HUB_LICENCES: Final = {
    "apache-2.0", "mit", "openrail", "bsd", "bsd-2-clause", "bsd-3-clause", "cc", "cc0-1.0",
    "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
    "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
    "cdla-permissive-2.0", "cdla-sharing-1.0", "gpl", "gpl-2.0", "gpl-3.0", "lgpl-2.1",
    "lgpl-3.0", "agpl-3.0", "mpl-2.0", "odc-by", "odbl", "pddl", "unlicense", "wtfpl", "gfdl",
}  # fmt: skip
_LISTED: Final = 50
_NOT_STATED: Final = "not stated"


@final
@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says.

    Parameters
    ----------
    name
        Its title.
    record
        The selection's record.
    splits
        Rows of each split.
    data_files
        Pattern of the files of each split, relative to the folder.
    sha256
        Hash over all data files in order.
    columns
        Of the rows.
    sources
        Selected examples of each source.
    licences
        Rows by the licence they name, "" for none.
    lost
        What was left out because the format cannot hold it; see `Tally.rows`.
    commands
        Commands that reproduce the folder.
    validation
        The split as it was asked for, or None.
    usage, weights
        How to train on it, and what happens to weights, as Markdown; "" if not asked for.
    """

    name: str
    record: Mapping[str, Any]
    splits: Mapping[str, int]
    data_files: Mapping[str, str]
    sha256: str
    columns: Sequence[str]
    sources: Mapping[str, int]
    licences: Mapping[str, int]
    lost: Sequence[Mapping[str, Any]] = ()
    commands: Sequence[Sequence[str]] = ()
    validation: Mapping[str, Any] | None = None
    usage: str = ""
    weights: str = ""
    notes: Sequence[str] = field(default=())

    @property
    def n_rows(self) -> int:
        """Rows of all splits."""
        return sum(self.splits.values())


def card(facts: CardFacts) -> str:
    """Return the card as Markdown with YAML front matter.

    Names from the data are untrusted: they are quoted in the YAML and escaped in the text.
    """
    record = facts.record
    chosen = (
        f"{facts.n_rows:,} rows: {record['n_selected']:,} of {record['n_pool']:,} examples, chosen "
        f"by `{record['method']}`{_of_budget(record)} with curate."
    )
    parts = [
        f"---\n{metadata(facts).to_yaml()}\n---",
        f"# {_text(facts.name)}",
        chosen,
        *_contents(facts),
        *_provenance(facts),
        *_selection(facts),
    ]
    if facts.usage:
        parts += ["## Training", facts.usage, facts.weights]
    return "\n\n".join(part for part in parts if part) + "\n"


def metadata(facts: CardFacts) -> "DatasetCardData":
    """Return the metadata of the card, as the hub reads it; ``curate`` is our own key."""
    from huggingface_hub import DatasetCardData

    record = facts.record
    licences = sorted({_hub_licence(licence) for licence in facts.licences if licence})
    return DatasetCardData(
        pretty_name=facts.name,
        license=licences[0] if len(licences) == 1 else licences or None,
        source_datasets=[data["name"] for data in record["inputs"] if data["container"] == "hub"]
        or None,
        task_categories=["text-generation"],
        size_categories=[size_category(facts.n_rows)],
        tags=["curate", "sft"],
        configs=[
            {
                "config_name": "default",
                # the cache of `datasets` sees the content of a configuration, not that of its files
                "description": f"data sha256 {facts.sha256}",
                "data_files": [
                    {"split": split, "path": path} for split, path in facts.data_files.items()
                ],
            }
        ],
        curate={
            "selection_id": record["selection_id"],
            "method": record["method"],
            "budget": record["budget"],
            "seed": record["seed"],
            "n_rows": facts.n_rows,
            "n_pool": record["n_pool"],
            "sources": _on_one_line(facts.sources),
            "licences": _on_one_line(facts.licences),
        },
    )


def _hub_licence(name: str) -> str:
    known = "-".join(name.lower().split())
    return known if known in _HUB_LICENCES else "other"


def size_category(n_rows: int) -> str:
    """Return the hub's name for a size.

    Examples
    --------
    >>> size_category(999), size_category(1000)
    ('n<1K', '1K<n<10K')
    """
    return next((name for below, name in _SIZES if n_rows < below), "1B<n<10B")


def _on_one_line(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts by name without line ends: readers of front matter cut it by lines."""
    merged: dict[str, int] = {}
    for name, n in counts.items():
        key = " ".join(name.split()) or _NOT_STATED
        merged[key] = merged.get(key, 0) + n
    return merged


def _contents(facts: CardFacts) -> list[str]:
    rows = [(split, f"{n:,}") for split, n in facts.splits.items()]
    parts = ["## Contents", _table(("split", "rows"), rows)]
    if facts.validation is not None:
        parts.append(
            f"The validation split was drawn with seed {facts.validation['seed']} by whole groups: "
            "no instruction is in both splits."
        )
    parts.append(f"Columns: {', '.join(_text(name) for name in facts.columns)}.")
    if facts.lost:
        lines = "\n".join(f"- {_text(line)}" for line in tally_lines(facts.lost))
        parts.append(f"The format cannot hold everything. Left out (`--lossy`):\n\n{lines}")
    parts += [_text(note) for note in facts.notes]
    return parts


def _provenance(facts: CardFacts) -> list[str]:
    by_size = sorted(facts.sources.items(), key=lambda item: (-item[1], item[0]))
    sources = [(name, f"{n:,}") for name, n in by_size[:_LISTED]]
    inputs = [
        (shown_name(dataset), dataset["format"], f"{dataset['n_rows']:,}", dataset["content_hash"])
        for dataset in facts.record["inputs"]
    ]
    parts = ["## Sources", _table(("source", "selected examples"), sources)]
    if len(by_size) > _LISTED:
        parts.append(f"and {len(by_size) - _LISTED:,} more sources.")
    parts.append(_table(("input dataset", "format", "rows", "content hash"), inputs))
    parts.append("## Licences")
    if not any(facts.licences):
        return [
            *parts,
            "The input rows name no licence. The terms of the sources above apply to their rows.",
        ]
    listed = [
        (name or _NOT_STATED, f"{n:,}")
        for name, n in sorted(facts.licences.items(), key=lambda item: (-item[1], item[0]))
    ]
    parts.append("As the input rows state them; rows without one are under their source's terms.")
    parts.append(_table(("licence", "rows"), listed[:_LISTED]))
    return parts


def _selection(facts: CardFacts) -> list[str]:
    record = facts.record
    settings = [
        ("method", record["method"]),
        *((key, value) for key, value in record["config"].items()),
        ("budget", record["budget"]), ("seed", record["seed"]),
        *((key, record[key]) for key in ("where", "within", "quota", "mix") if record.get(key)),
        ("in the pool", f"{record['n_pool']:,}"), ("eligible", f"{record['n_eligible']:,}"),
        *((f"excluded: {why}", f"{n:,}") for why, n in record["n_excluded"].items()),
        ("selected", f"{record['n_selected']:,}"),
    ]  # fmt: skip
    parts = ["## Selection", _table(("", ""), settings)]
    scores = [
        (alias, spec["key"]["scorer"], _model(spec), record["score_sets"][alias]["set_id"])
        for alias, spec in record["specs"].items()
    ]
    if scores:
        parts.append(_table(("score", "scorer", "model", "score set"), scores))
    parts += [f"Warning: {_text(warning)}" for warning in record["warnings"]]
    lines = "\n".join(shlex.join(command) for command in facts.commands)
    parts.append(
        f"Made with:\n\n```bash\n{lines}\n```\n\nTo reproduce and compare it from `manifest.json`, with "
        "the store at hand:\n\n```bash\ncurate reproduce manifest.json\n```"
    )
    return parts


def shown_name(dataset: Mapping[str, Any]) -> str:
    """Return a dataset's name without the reader's local folders."""
    name = str(dataset["name"])
    return name if dataset["container"] == "hub" else Path(name).name or name


def _of_budget(record: Mapping[str, Any]) -> str:
    return f" ({record['budget']})" if record["budget"] else ""


def _model(spec: Mapping[str, Any]) -> str:
    name = spec["run"].get("model")
    return "-" if not name else Path(name).name if Path(name).is_absolute() else str(name)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_text(value) for value in line)} |" for line in lines)


def _text(value: object) -> str:
    """Escape what Markdown or HTML would interpret as markup."""
    text = html.escape("-" if value is None else str(value), quote=False)
    for special in "\\`*_[]|#":
        text = text.replace(special, f"\\{special}")
    return " ".join(text.split())
