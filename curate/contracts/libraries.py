"""The versions of installed packages, as records and manifests state them."""

from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of each package that is installed; absent ones are left out."""
    versions = ((package, _version(package)) for package in packages)
    return {package: installed for package, installed in versions if installed is not None}


@cache
def _version(package: str) -> str | None:
    """Return what the package's metadata says; reading it takes milliseconds, and it stays the same."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
