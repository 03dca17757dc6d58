"""The examples that end the help of each command."""

from collections.abc import Mapping
from typing import Final

START: Final = (
    "curate demo",
    "curate select pool.jsonl --method ifd --budget 10% --model MODEL -o best.jsonl",
    "curate methods",
)

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "demo": ("curate demo --dir tour",),
    "ingest": (
        "curate ingest pool.jsonl more.parquet",
        "curate ingest table.csv --column prompt=query --column response=answer",
        "curate ingest org/name --split train --source name",
    ),
    "target": ("curate target add dev dev.jsonl", "curate target list"),
    "gather": (
        "curate gather MODEL OTHER -k 4 --verifier number --dry-run",
        "curate gather MODEL -k 8 --verifier number --keep right",
    ),
    "score": (
        "curate score --scorer likelihood,ifd --model MODEL --dry-run",
        "curate score --scorer likelihood,ifd --model MODEL",
        "curate score --scorer contamination --set contamination.files=test.jsonl",
        "curate score --scorer likelihood --model MODEL --slice 3/8",
        "curate score --scorer likelihood --model MODEL --executor ray --max-workers 2",
        "curate score --scorer likelihood --model MODEL --profile traces",
        "curate score --scorer ifd --model MODEL --parts s3://bucket/pool --plan-only",
        "curate score --scorer ifd --model MODEL --parts s3://bucket/pool --slice 3/8",
    ),
    "commit": ("curate commit", "curate commit --parts s3://bucket/pool"),
    "import-scores": (
        "curate import-scores ratings.csv --as human",
        "curate import-scores ratings.csv --as human --by position",
    ),
    "select": (
        "curate select pool.jsonl --method ifd --budget 10% --model MODEL -o best.jsonl",
        "curate select --method diverse --budget 2000 --model MODEL --name diverse",
        "curate select --rank row.quality --where \"row.category = 'math'\" --budget 500",
        "curate select --method random --mix gsm8k=50%,dolly=50% --budget 1000",
    ),
    "export": (
        "curate export --selection latest -o subset.jsonl",
        "curate export --selection latest:ifd -o subset --trainer trl --validation 5%",
    ),
    "train": (
        "curate train --data subset.jsonl --model MODEL --lora -o adapter",
        "curate train --selection latest --model MODEL --eval test.jsonl -o tuned",
    ),
    "prove": (
        "curate prove --methods ifd --budget 10% --target test.jsonl -m MODEL --dry-run",
        "curate prove --methods ifd -b 10% --target test.jsonl -m MODEL -o proof.md",
    ),
    "report": (
        "curate report -o report.html",
        "curate report --proof proof.json -o proof.html",
    ),
    "explore": ("curate explore", "curate explore --port 8080 --no-browser"),
    "status": ("curate status", "curate status --json", "curate status --watch"),
    "selections": (
        "curate selections",
        "curate selections rename latest best",
        "curate selections delete best",
    ),
    "methods": ("curate methods", "curate methods ifd"),
    "explain": (
        "curate explain 3f2a --selection latest",
        "curate explain 3f2a --scorer ifd --model MODEL",
    ),
    "reproduce": ("curate reproduce subset.jsonl.manifest.json",),
    "run": (
        "curate run --list-examples",
        "curate run --example proof -o mine.yaml",
        "curate run mine.yaml --set prove.seeds=10 --dry-run",
    ),
    "doctor": ("curate doctor", "curate doctor --rebuild"),
    "gc": ("curate gc --dry-run",),
    "forget": ("curate forget --where \"source = 'leaked'\" --dry-run",),
}


def epilog(examples: tuple[str, ...]) -> str:
    """Return examples as the last lines of a command's help."""
    return "\n".join(["Examples:", *(f"  {example}" for example in examples)])
