# /// script
# requires-python = ">=3.11"
# dependencies = ["curate-sft[cpu]"]
# ///
"""Score a dataset of the Hugging Face Hub in one of its Jobs, and leave the scores in a dataset there.

    hf jobs uv run --flavor l4x4 --secrets HF_TOKEN jobs/launch/hf_job.py DATASET SCORERS MODEL REPO

SCORERS are names with commas between them. A job's disk ends with the job: choose a flavor that scores the dataset
within the job's --timeout. Then, where the pool is, for each scorer:

    hf download REPO ifd.parquet --repo-type dataset --local-dir .
    curate import-scores ifd.parquet --as measured
"""

import sys
from pathlib import Path

import curate as cu


def score(data: str, scorers: list[str], model: str | None, folder: Path) -> list[Path]:
    """Score a dataset in a store of its own; return a table for each scorer, with ids and columns."""
    pool = cu.open(folder / "curate.duckdb", create=True)
    pool.ingest(data)
    pool.score(*scorers, model=model)
    tables = [folder / f"{scorer}.parquet" for scorer in scorers]
    for scorer, table in zip(scorers, tables, strict=True):
        pool.sql(f"select id, {scorer}.* from scores").write_parquet(table)
    return tables


def main() -> None:
    """Score what the command line names, and upload the tables to a private dataset."""
    from huggingface_hub import HfApi

    data, scorers, model, repo = sys.argv[1:]
    hub = HfApi()
    hub.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
    for table in score(data, scorers.split(","), model, Path.cwd()):
        hub.upload_file(
            path_or_fileobj=table, path_in_repo=table.name, repo_id=repo, repo_type="dataset"
        )


if __name__ == "__main__":
    main()
