"""Upload an exported folder to a dataset repository of the Hugging Face hub."""

from pathlib import Path
from typing import Any, Final

from curate.errors import ConfigError

REPLACED: Final = ("train/part-*.parquet", "validation/part-*.parquet", "part-*.parquet")


def check_repo(repo: str) -> None:
    """Raise `ConfigError` unless this can be the name of a repository, with its owner."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined] # lazily exported

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(f"--push-to-hub {repo!r}: {error}; write OWNER/NAME") from None
    if repo.count("/") != 1:
        raise ConfigError(f"--push-to-hub {repo!r} names no owner; write OWNER/NAME")


def upload_plan(folder: Path, repo: str) -> dict[str, Any]:
    """Return what an upload of a folder would do: files with sizes in bytes, and the destination."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        "repo": repo,
        "uploaded": False,
        "files": {path.relative_to(folder).as_posix(): path.stat().st_size for path in files},
        "n_bytes": sum(path.stat().st_size for path in files),
        "replaces": list(REPLACED),
    }


def upload(folder: Path, repo: str) -> str:
    """Upload a folder, replacing an earlier export; return the address of the commit.

    A repository that does not exist yet is created as private. Raises `ConfigError` with the hub's
    reason when it refuses or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi()
    try:
        api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            repo_type="dataset",
            commit_message="Upload a selection made with curate",
            delete_patterns=list(REPLACED),
        )
    except LocalTokenNotFoundError as error:
        raise ConfigError("no Hugging Face token here; log in with: hf auth login") from error
    except (HfHubHTTPError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"cannot upload to {repo}: {reason}; {folder} is complete, try again with the same "
            "command, or log in with: hf auth login"
        ) from error
    return str(commit)
