"""A page of the documentation site for each method: from the registry, and from the proofs."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from curate import registry
from curate.api.which_method import JOBS, WHEN_RANDOM_SUFFICES
from curate.contracts import Expression, Need
from curate.contracts.describe import Description, FieldDescription
from curate.contracts.settings import spell_value
from jobs.pages.proofs import Comparison, comparisons
from jobs.pages.scorers import scorers_page
from jobs.pages.text import GENERATED, ROOT, markdown, table

FOLDER: Final = ROOT / "docs" / "methods"
_COST: Final = re.compile(r"(Cost:|O\(|(One|Two|Three) (k-means|(forward )?pass))")
_URL: Final = re.compile(r"https://\S+")


def pages() -> Iterator[tuple[Path, str]]:
    """Yield a page for each method, their table by purpose, and the page of scorers."""
    methods = [registry.describe(registry.get_method(name)) for name in registry.names("method")]
    proofs = comparisons()
    yield FOLDER / "index.md", _overview(proofs)
    for about in methods:
        yield FOLDER / f"{about.name}.md", _method_page(about, proofs.get(about.name, ()))
    yield scorers_page()


def navigation() -> str:
    """Return the lines of ``mkdocs.yml`` that list the methods by purpose."""
    lines = []
    for purpose, methods in registry.methods_by_purpose().items():
        lines.append(f"      - {_capital(purpose)}:\n")
        lines += [f"          - {about.name}: methods/{about.name}.md\n" for about in methods]
    return "".join(lines) + "      # "


def jobs_table() -> str:
    """Return the table of the page *Which method for which job*; each job has a section there."""
    rows = [
        (
            f"[{job.name}](#{_anchor(job.name)})",
            " ".join(f"`--{option.strip()}`" for option in job.options.split("--")[1:]),
            job.evidence,
            job.runs,
        )
        for job in JOBS
    ]
    shown = table(("job", "command", "what is known", "runs"), rows)
    return f"{shown}\n\n{WHEN_RANDOM_SUFFICES}\n"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w]+", "-", heading.lower()).strip("-")


def reports_navigation() -> str:
    """Return the lines of ``mkdocs.yml`` that list the reports, by their headings."""
    lines = []
    for path in sorted((ROOT / "reports").glob("*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        named = f"{title}: {path.stem.removeprefix('proof-')}" if title == "Proof" else title
        lines.append(f"      - {json.dumps(named)}: reports/{path.name}\n")
    return "".join(lines) + "      # "


def _text(text: str, own: str | None = None) -> str:
    return markdown(text, methods="", scorers="../scorers.md", reports="../../reports/", own=own)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _overview(proofs: Mapping[str, Sequence[Comparison]]) -> str:
    parts = [
        f"{GENERATED}# Methods\n",
        (
            "Every method that `--method` takes, by what it is for. *Needs* are the models it runs besides "
            "reading the pool. *Here, against random* counts the comparisons of the proofs in "
            "[reports](#proofs-behind-the-table): a tiny model and small pools, so they say how a method "
            "can fail, not how it will do on yours. `curate prove` measures that.\n"
        ),
    ]
    for purpose, listed in registry.methods_by_purpose().items():
        rows = [
            (
                f"[`{about.name}`]({about.name}.md)",
                _text(about.summary) + (" *Experimental.*" if about.experimental else ""),
                _needs_in_short(about),
                _counted(proofs.get(about.name, ())),
            )
            for about in listed
        ]
        head = ("method", "what it chooses", "needs", "here, against random")
        parts.append(f"## {_capital(purpose)}\n\n{table(head, rows)}\n")
    reports = sorted({c.report for found in proofs.values() for c in found})
    parts.append("## Proofs behind the table\n")
    parts.append("".join(f"- [{name}](../../reports/{name}.md)\n" for name in reports))
    return "\n".join(parts)


def _counted(found: Sequence[Comparison]) -> str:
    verdicts = [comparison.verdict for comparison in found]
    counts = [f"{verdicts.count(v)} {v}" for v in dict.fromkeys(sorted(verdicts))]
    return ", ".join(counts) or "not measured"


def _method_page(about: Description, found: Sequence[Comparison]) -> str:
    main, evidence, deviations, cost = _sorted_paragraphs(about.details)
    parts = [f"{GENERATED}# {about.name}\n", f"{_text(about.summary, about.name)}\n"]
    if about.aliases:
        parts.append(f"`--method {about.aliases[0]}` is the same method.\n")
    if about.experimental:
        parts.append(f'!!! warning "Experimental"\n    {_capital(about.experimental)}.\n')
    parts.append(f"```bash\n{_commands(about)}```\n")
    if about.budget_optional:
        parts.append("`--budget` may be left out: the method then decides how many.\n")
    parts += [f"{_text(p, about.name)}\n" for p in main]
    parts.append("## Evidence\n")
    parts += [f"{_text(_capital(_unlabelled(p)), about.name)}\n" for p in evidence]
    parts.append(_proved(about.name, found))
    if named := _reports_that_name(about.name):
        parts.append(f"Also measured in: {', '.join(named)}.\n")
    if deviations:
        parts.append("## Deviations from the publication\n")
        parts += [f"{_text(_capital(_unlabelled(p)), about.name)}\n" for p in deviations]
    parts.append("## Cost and needs\n")
    parts += [f"{_text(_capital(_unlabelled(p)), about.name)}\n" for p in cost]
    parts.append(f"{_needs_in_full(about)}\n")
    if found:
        measured = sorted({(c.report, c.scoring_s, c.n_pool) for c in found})
        parts.append("Measured, scoring and all that it trains to select:\n")
        parts.append("".join(
            f"- {seconds:,.1f} s for {n:,} examples ([{name}](../../reports/{name}.md))\n"
            for name, seconds, n in measured
        ))  # fmt: skip
    parts.append("## Settings\n")
    parts.append(f"{_settings(about)}\n")
    if about.references:
        parts.append("## References\n")
        parts.append("".join(
            f"{number}. {_URL.sub(lambda url: f'<{url[0]}>', text)}\n"
            for number, text in enumerate(about.references, 1)
        ))  # fmt: skip
    return "\n".join(parts)


def _sorted_paragraphs(details: str) -> tuple[list[str], list[str], list[str], list[str]]:
    """Sort the paragraphs of a docstring: what it does, evidence, deviations, cost."""
    main: list[str] = []
    evidence: list[str] = []
    deviations: list[str] = []
    cost: list[str] = []
    for paragraph in filter(None, (p.strip() for p in details.split("\n\n"))):
        if paragraph.startswith("Evidence"):
            evidence.append(paragraph)
        elif paragraph.startswith("Deviation"):
            deviations.append(paragraph)
        elif _COST.match(paragraph):
            cost.append(paragraph)
        else:
            main.append(paragraph)
    return main, evidence, deviations, cost


def _unlabelled(paragraph: str) -> str:
    return re.sub(r"^(Evidence|Cost|Deviations?)[:.] ", "", paragraph)


def _commands(about: Description) -> str:
    lines = ["curate ingest pool.jsonl"]
    words = ["curate select", f"--method {about.name}"]
    if about.name == "pipeline":
        words[1] = '--method "ifd | kmq"'
    if getattr(registry.get_method(about.name), "uses_target", False) is True:
        lines.append("curate target add dev dev.jsonl")
        words.append("--target dev")
    words.append("--budget 10%")
    for setting in about.fields:
        if setting.required and setting.name == "rank":
            words.append("--rank likelihood.mean_logp")
        elif setting.required:
            words.append(f"--set {about.name}.{setting.name}={setting.name.upper()}")
    roles = _roles(about)
    words += ["--model MODEL"] if "target" in roles else []
    words += [f"--model-for {role}={role.upper()}" for role in roles if role != "target"]
    lines.append(" ".join([*words, f"-o {about.name}.jsonl"]))
    return "".join(f"{line}\n" for line in lines)


def _roles(about: Description) -> list[str]:
    """Return whose models a method runs, as far as its declaration says; a procedure: the target."""
    if about.kind == "procedure" or about.needs is None or about.name == "top-k":
        return ["target"]
    roles: set[str] = set()
    for need in about.needs.values():
        if isinstance(need, Need):
            roles |= _roles_of(need)
    return sorted(roles, key=lambda role: (role != "target", role))


def _roles_of(need: Need) -> set[str]:
    if need.scorer is None or need.scorer not in registry.names("scorer"):
        return set()
    cls = registry.get_scorer(need.scorer)
    role = need.role or cls.role
    inputs = registry.describe(cls).needs or {}
    further = [_roles_of(inner) for inner in inputs.values() if isinstance(inner, Need)]
    return set().union(*further, {role} if role else ())


def _needs_in_short(about: Description) -> str:
    if about.kind == "procedure":
        return "what its steps run"
    if about.needs is None:
        return "scores of your choice"
    return ", ".join(f"{role} model" for role in _roles(about)) or "no model"


def _needs_in_full(about: Description) -> str:
    if about.kind == "procedure":
        return (
            "A procedure: it trains, generates or scores between selections, and continues where it "
            "was stopped. `--dry-run` lists its steps and their cost."
        )
    if about.needs is None:
        return "What it reads depends on its required settings."
    if not about.needs:
        return "It reads no scores and runs no model."
    rows = []
    for alias, need in about.needs.items():
        if isinstance(need, Expression):
            rows.append((f"`{alias}`", f"`{need.text}`", "an expression"))
            continue
        known = need.scorer in registry.names("scorer")
        scorer = f"[`{need.scorer}`](../scorers.md#{need.scorer})" if known else f"`{alias}`"
        roles = ", ".join(sorted(_roles_of(need))) or "none"
        rows.append((f"`{alias}`", scorer, roles))
    return table(("reads, as", "scores", "model"), rows)


def _proved(name: str, found: Sequence[Comparison]) -> str:
    if name == "random":
        return "It is the baseline of every proof.\n"
    if not found:
        return "No proof in `reports/` compares it with random.\n"
    lost = [c for c in found if c.verdict == "worse"]
    rows = [
        (
            f"[{c.report}](../../reports/{c.report}.md)",
            f"`{c.model}`",
            f"{c.n_pool:,}",
            c.budget,
            f"{c.target}, {c.metric.upper()}",
            f"{c.difference[0]:+.4f} ({c.difference[1]:+.4f} to {c.difference[2]:+.4f})",
            f"**{c.verdict}**" if c.verdict != "no difference shown" else c.verdict,
        )
        for c in found
    ]
    head = ("proof", "model", "pool", "budget", "target", "minus random (interval)", "verdict")
    said = (
        f"Measured by this project, where it lost to random in {len(lost)} of {len(found)} "
        "comparisons. Lower NLL is better.\n"
    )
    return f"{said}\n{table(head, rows)}\n"


def _reports_that_name(name: str) -> list[str]:
    """Return links to the reports, proofs apart, that have a method's name in a heading or table."""
    pattern = re.compile(
        rf"(^#+ .*\b|\|\s*|`){re.escape(name)}\b(?![-_])", re.IGNORECASE | re.MULTILINE
    )
    found = []
    for path in sorted((ROOT / "reports").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if not path.stem.startswith("proof-") and pattern.search(text):
            title = text.partition("\n")[0].removeprefix("# ")
            found.append(f"[{title}](../../reports/{path.name})")
    return found


def _settings(about: Description) -> str:
    if not about.fields:
        return "None."
    rows = [_setting(item, about.name) for item in about.fields]
    said = f"Change one with `--set {about.name}.FIELD=VALUE`.\n\n"
    return said + table(("field", "type", "default", "meaning"), rows)


def _setting(item: FieldDescription, own: str) -> tuple[str, str, str, str]:
    spelled = "" if item.required else spell_value(item.default)
    default = "required" if item.required else f"`{spelled}`" if spelled else "empty"
    return f"`{item.name}`", item.type, default, _text(item.doc, own)
