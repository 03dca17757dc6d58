"""The example recipes that come with `curate`: they run on the demo's pool and model."""

from pathlib import Path
from typing import Final

from curate.errors import ConfigError, did_you_mean

FOLDER: Final = Path(__file__).parent / "recipes"


def examples() -> dict[str, str]:
    """Return what each example is about, by name."""
    paths = sorted(FOLDER.glob("*.yaml"))
    return {path.stem: _about(path) for path in paths}


def example_path(name: str) -> Path:
    """Return the file of an example; raise `ConfigError` with the known names for any other."""
    known = examples()
    if name not in known:
        raise ConfigError(
            f"no example {name!r}{did_you_mean(name, known)}; examples are: {', '.join(known)}"
        )
    return FOLDER / f"{name}.yaml"


def _about(path: Path) -> str:
    """Return the first line of a recipe, a comment, without its mark."""
    with path.open(encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()
