from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Event

import pytest
from answering import answering

from curate.errors import ConfigError, ExampleFailure, ModelError
from curate.models.generation import endpoint as module
from curate.models.generation.addresses import KEY_VARIABLE, check_opted_in
from curate.models.generation.endpoint import Endpoint, ask_all

KEY = "sk-secret-9f8e7d"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with answering(lambda body: {"echo": body["n"]}) as made:
        yield made


@pytest.fixture
def waits(monkeypatch):
    """What was waited for, without waiting."""
    seconds = []
    monkeypatch.setattr(module.time, "sleep", seconds.append)
    return seconds


def client(server, **settings):
    return Endpoint(server.url, "tiny", **settings)


def test_a_busy_server_says_how_long_to_wait(server, waits):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    told = ["3", "7", "0", "9999", date, "-1", "3"]
    server.faults = [(429, {"Retry-After": seconds}) for seconds in told]
    assert client(server).post("x", {"n": 1}) == {"echo": 1}
    assert len(server.asked) == 8, "tries do not count while the server says when to come back"
    assert waits[:4] == [3, 7, 0, module.LONGEST_WAIT_S]
    assert 40 < waits[4] <= 50 and waits[5:] == [0, 3]


def test_patience_has_an_end(server, waits, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 100.0)
    server.faults = [(429, {"Retry-After": "60"})] * 20
    with pytest.raises(ModelError, match=r"refuses requests: 429 fault 429 .*run the same command"):
        client(server).post("x", {"n": 1})
    assert waits == [60, 60, 1, 2, 4, 8]


def test_a_date_that_is_none_counts_as_not_said(server, waits):
    server.faults = [(429, {"Retry-After": "soon"})]
    assert client(server).post("x", {"n": 2}) == {"echo": 2} and waits == [1]


@pytest.mark.parametrize("fault", [b'{"echo": 1', '{"echo": ', "<html>busy</html>"])
def test_half_an_answer_is_asked_for_again(server, waits, fault):
    server.faults = [fault] * 2
    assert client(server).post("x", {"n": 3}) == {"echo": 3}
    assert len(server.asked) == 3


def test_a_server_that_does_not_answer_in_time_is_unreachable(server, waits, monkeypatch):
    release = Event()
    server.reply = lambda body: release.wait(5) and 500
    monkeypatch.setattr(module, "TRIES", 1)
    with pytest.raises(ModelError, match=r"cannot be reached \(timed out\); .*is kept"):
        client(server, timeout_s=0.05).post("x", {"n": 1})
    release.set()


def test_no_message_shows_the_key(server, waits, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    for fault, error in ((401, ModelError), (400, ExampleFailure), (503, ModelError)):
        server.faults = [fault] * 5
        with pytest.raises(error, match=rf"fault {fault} for Bearer \[key\]") as caught:
            client(server).post("x", {"n": 1})
        assert KEY not in str(caught.value) and caught.value.__cause__ is None
    server.faults = [f"not json, {KEY}"] * 5
    with pytest.raises(ModelError, match=r"'not json, \[key\]'") as caught:
        client(server).post("x", {"n": 1})
    assert set(server.keys) == {f"Bearer {KEY}"} and KEY not in repr(client(server))


def test_a_key_that_is_missing_or_cannot_be_sent_is_refused_unshown(server, monkeypatch):
    named = client(server, key_variable="MY_KEY", needs_key=True)
    with pytest.raises(ConfigError, match=r"variable MY_KEY is not set.*type: export MY_KEY=KEY"):
        named.check_key()
    monkeypatch.setenv("MY_KEY", f"{KEY}\r\nX-Other: 1")
    with pytest.raises(ConfigError, match="MY_KEY holds a line break") as caught:
        named.post("x", {"n": 1})
    assert KEY not in str(caught.value) and not server.asked
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    named.post("x", {"n": 1})
    assert server.keys == [f"Bearer {KEY}"]
    client(server).check_key()  # needs none


def test_after_an_error_nothing_waits_any_more():
    begun = []

    def ask(number, stop):
        begun.append(number)
        if number == 0:
            raise ModelError("gone")
        assert stop.wait(30)

    with pytest.raises(ModelError, match="gone"):
        ask_all(range(200), ask)
    assert len(begun) < 200


@pytest.mark.parametrize(
    ("url", "remote", "words"),
    [
        ("http://127.0.0.1:8000/v1", False, None),
        ("http://localhost/v1", False, None),
        ("http://[::1]/v1", False, None),
        ("http://10.1.2.3/v1", False, r"judge.server=.* is not on this machine.*judge.remote=true"),
        ("http://gpu3/v1", False, "is not on this machine"),
        ("http://gpu3/v1", True, None),
        ("https://api.example.com/v1", False, "the pool's texts would leave it"),
        ("https://api.example.com/v1", True, None),
        ("http://api.example.com/v1", True, "over the internet in the clear; give its https"),
        ("http://2130706433/v1", False, None),  # 127.0.0.1
        ("http://134744072/v1", False, "is not on this machine"),  # 8.8.8.8
        ("ftp://localhost/v1", True, "is not an address"),
        ("http://me:word@localhost/v1", True, "holds a user name or a query"),
        ("http://:word@localhost/v1", True, "holds a user name or a query"),
        ("http://localhost/v1#key=word", True, "or a #fragment"),
        ("me:word@localhost/v1", True, "^[^@]* is not an address"),
    ],
)
def test_another_machine_needs_to_be_allowed(url, remote, words):
    if words is None:
        check_opted_in("judge.server", url, remote=remote)
        return
    with pytest.raises(ConfigError, match=words) as refusal:
        check_opted_in("judge.server", url, remote=remote)
    assert "word" not in str(refusal.value)


@pytest.mark.parametrize("fault", [402, 410, 418, 451])
def test_what_no_single_example_is_to_blame_for_stops_the_job_at_once(server, waits, fault):
    server.faults = [fault] * 5
    with pytest.raises(ModelError, match=rf"refuses requests: {fault} .*what is finished is kept"):
        client(server).post("x", {"n": 1})
    assert len(server.asked) == 1


@pytest.mark.parametrize("fault", [501, 507, 520, 529])
def test_every_fault_of_the_server_itself_is_passing(server, waits, fault):
    server.faults = [fault] * 2
    assert client(server).post("x", {"n": 3}) == {"echo": 3}
    server.faults = [fault] * 5
    with pytest.raises(ModelError, match=f"refuses requests: {fault} "):
        client(server).post("x", {"n": 1})
