import time

import pytest

from curate.contracts import Example, LoadContext
from curate.scorers.pii import KINDS, PII, find


def count(prompt, response="Yes.", **settings):
    messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": response})
    columns = PII(**settings).load(LoadContext("cpu", "float32"))([Example("0" * 32, messages)])
    return {name: int(values[0]) for name, values in columns.items() if name != "failure"}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("email", "ann.lee+news@mail.example.co.uk"), ("email", "A_1@example.org"),
        ("phone", "+44 20 7946 0958"), ("phone", "+1 (212) 555-0100"), ("phone", "(212) 555-0100"),
        ("phone", "212-555-0100"), ("phone", "1-212-555-0100"), ("phone", "212.555.0100"),
        ("phone", "+4915112345678"),
        ("ip", "8.8.8.8"), ("ip", "2606:4700:4700::1111"),
        ("credit_card", "4111 1111 1111 1111"), ("credit_card", "5555-5555-5555-4444"),
        ("credit_card", "378282246310005"),
        ("iban", "GB82 WEST 1234 5698 7654 32"), ("iban", "DE89370400440532013000"),
        ("key", "sk-" + "a1B2" * 8), ("key", "ghp_" + "a1B2" * 9), ("key", "AKIAIOSFODNN7EXAMPLE"),
        ("key", "-----BEGIN RSA PRIVATE KEY-----"), ("key", "hf_" + "aB" * 17),
        ("key", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N"),
    ],
)  # fmt: skip
def test_each_kind_is_found_and_is_no_other_kind(kind, text):
    for written in (text, f"It is {text}, so.", f"({text})", f"See\n{text}."):
        assert {one: list(find(one, written)) for one in KINDS} == {
            one: [text] if one == kind else [] for one in KINDS
        }


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-02", "1,000,000", "3.14159265", "555 1234", "2125550100", "+3 points", "10 + 20 = 30",
        "version 1.2.3.4.5", "192.168.0.1", "127.0.0.1", "999.1.1.1", "12:30:45", "a::b", "std::vector",
        "4111 1111 1111 1112", "1234567890123456", "0000 0000 0000 0000", "GB82 WEST 1234 5698 7654 33",
        "@ann", "ann@home", "x @ y.com", "sk-short", "price: 4000 5000 6000 7000", "::", "1-2-3-4",
    ],
)  # fmt: skip
def test_what_only_looks_like_it_is_not_counted(text):
    assert count(text) == dict.fromkeys(PII.outputs, 0)


def test_counts_add_up_and_parts_are_told_apart():
    prompt, response = "Write to ann@example.org and bob@example.org.", "Call (212) 555-0100."
    assert count(prompt, response) == {
        **dict.fromkeys(PII.outputs, 0), "n": 3, "email": 2, "phone": 1,
    }  # fmt: skip
    assert count(prompt, response, part="prompt")["n"] == 2
    assert count(prompt, response, part="response")["n"] == 1


@pytest.mark.parametrize(
    "piece", ["1 ", "a.", "+1 ", "4111 ", "GB82 ", "a@", "1:", "eyJ-", "1.", "(212) "]
)
def test_no_text_takes_long(piece):
    began = time.perf_counter()
    count(piece * (50_000 // len(piece)))
    assert time.perf_counter() - began < 5
