"""Settings that belong to nobody."""

from collections.abc import Mapping, Sequence

from curate.errors import ConfigError


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
