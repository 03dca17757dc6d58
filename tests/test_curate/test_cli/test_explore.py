"""`curate explore`: what it prints and how it refuses; the page itself is tested elsewhere."""

import socket
import sys
from pathlib import Path

import pytest

from curate.views.explore import serving


@pytest.fixture
def not_served(monkeypatch: pytest.MonkeyPatch) -> list[serving.Served]:
    """Do everything but answer requests."""
    seen: list[serving.Served] = []

    def run(served: serving.Served) -> None:
        seen.append(served)
        served.listener.close()

    monkeypatch.setattr(serving.Served, "run", run)
    return seen


def test_the_address_has_a_new_token_every_time(curate, pool_file: Path, not_served) -> None:
    curate("ingest", pool_file)
    found = [curate("explore", "--no-browser", "--json", "--marker", "ana").json for _ in "ab"]
    for one in found:
        assert set(one) == {"url", "port", "store", "n_examples", "marker"}
        assert one["url"].startswith(f"http://127.0.0.1:{one['port']}/?token=")
        assert (one["n_examples"], one["marker"]) == (26, "ana")
    first, second = (one["url"].partition("token=")[2] for one in found)
    assert first != second
    assert len(first) >= 32
    ran = curate("explore", "--no-browser", "--marker", "ana")
    assert ran.code == 0
    assert "http://127.0.0.1:" in ran.out
    assert "Press Ctrl-C to stop" in ran.out


def test_only_this_machine_can_reach_it(curate, pool_file: Path, not_served) -> None:
    listener = serving.listen(0)
    try:
        assert listener.getsockname()[0] == "127.0.0.1"
    finally:
        listener.close()


def test_a_missing_browser_is_no_error(curate, pool_file: Path, not_served, monkeypatch) -> None:
    curate("ingest", pool_file)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    ran = curate("explore", "--marker", "ana")
    assert ran.code == 0
    assert ran.err == "no browser found; open the address above yourself\n"
    assert len(not_served) == 1


def test_a_port_in_use_is_said(curate, pool_file: Path) -> None:
    curate("ingest", pool_file)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = curate("explore", "--port", port, "--no-browser", "--marker", "ana")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        f"ConfigError: port {port} is in use; give another, or leave --port out to use any "
        "free port\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--port", "70000"), "--port must be 0 to 65535, got 70000; 0 uses any free port"),
        (("--marker", "a b"), "the marker's name 'a b' cannot be part of a selection's id"),
        (("--store", "none.duckdb"), "there is no store at"),
    ],
)
def test_refusals_say_what_would_be_right(curate, pool_file: Path, arguments, words) -> None:
    curate("ingest", pool_file)
    ran = curate("explore", "--no-browser", *arguments)
    assert ran.code in (1, 2)
    assert ran.out == ""
    assert words in ran.err


def test_the_packages_of_the_server_are_named(curate, pool_file: Path, monkeypatch) -> None:
    curate("ingest", pool_file)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ran = curate("explore", "--no-browser", "--marker", "ana")
    assert ran.code == 2
    assert ran.err == (
        "MissingPackageError: the explore page needs the package uvicorn; type: "
        "pip install 'curate-sft[explore]'\n"
    )


def test_nobody_to_mark_as_is_said(curate, pool_file: Path, monkeypatch) -> None:
    import getpass

    def nobody() -> str:
        raise OSError("no user")

    curate("ingest", pool_file)
    monkeypatch.setattr(getpass, "getuser", nobody)
    ran = curate("explore", "--no-browser")
    assert "give a name for your marks: --marker NAME" in ran.err
