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
        ("phone", "+4915112345678"), ("phone", "+33 6 12 34 56 78"), ("phone", "+44 (0)20 7946 0958"),
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
        "sk-fading-circle-container", "sk-fading-circle12-container", "version 1.12.3.4", "v1.12.3.4",
        "Version 1.12.3.4", "3 +1 2 3 4 5 6 7 = 31", "2 +10 20 30 40 = 102",
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
    began = time.process_time()
    count(piece * (50_000 // len(piece)))
    assert time.process_time() - began < 5


def test_long_runs_of_digits_after_a_plus_take_linear_time():
    for piece in ("++" + "1" * 34 + "a ", "+" + "1 " * 20 + "a ", "+1(2)3" * 7 + "a "):
        began = time.process_time()
        assert list(find("phone", piece * 5_000)) == []
        assert time.process_time() - began < 2


def test_a_number_ends_where_words_begin():
    text = "Call +1 212 555 0100 3rd floor, or +44 20 7946 0958-x."
    assert list(find("phone", text)) == ["+1 212 555 0100", "+44 20 7946 0958"]
