"""Reads the options that several methods of a pool share."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from curate.errors import ConfigError


def scoring_options(
    model: str | None, model_for: Mapping[str, str] | None, options: Mapping[str, Any]
) -> Any:
    """Return the options of scoring with a model for each role."""
    from curate.scoring.options import ScoringOptions

    models = {**({"target": model} if model is not None else {}), **(model_for or {})}
    return ScoringOptions(models=models, **options)


def with_datasets(options: Any, datasets: tuple[str, ...]) -> Any:
    """Return options that look at these datasets only."""
    return replace(options, datasets=datasets)


def refuse_unused(settings: Mapping[str, str], scorers: Sequence[str]) -> None:
    """Raise `ConfigError` for a setting that belongs to none of the scorers, or to more than one."""
    owners = {one.strip() for one in scorers}
    for key in settings:
        owner = key.split(".")[0]
        if ("." in key and owner not in owners) or ("." not in key and len(owners) > 1):
            raise ConfigError(
                f"--set {key}: say which scorer it belongs to; write SCORER.{key.split('.')[-1]}=VALUE "
                f"with one of: {', '.join(sorted(owners))}"
            )
