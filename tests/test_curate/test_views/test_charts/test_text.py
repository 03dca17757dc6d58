"""Hidden characters become visible, and no text is markup."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.views.charts import text

ANY = st.text(st.characters(codec=None, exclude_categories=()), max_size=80)
# They are format characters, and yet they have a shape of their own.
WITH_A_SHAPE = {
    *range(0x600, 0x606), 0x6DD, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13456),
}  # fmt: skip


def test_every_control_format_surrogate_and_private_character_is_marked():
    kinds = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    hidden = [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in kinds and code not in WITH_A_SHAPE
    ]
    missed = [c for c in hidden if c not in "\t\n" and text.plain(c) == c]
    assert missed == []


def test_letters_of_any_script_stay():
    for shown in ("naïve café", "日本語", "שלום עולם", "مرحبا", "ไทย", "👍🏽 ❤️", "a\tb\nc"):
        assert text.plain(shown) == shown


@given(ANY)
def test_html_of_any_text_has_no_markup_but_the_marks(value):
    page = text.html(value)
    page.encode("utf-8")
    rest = page.replace("<i class=h>", "").replace("</i>", "")
    assert not set(rest) & set("<>\"'")


@given(ANY)
def test_markdown_of_any_text_is_one_line_without_html_or_links(value):
    line = text.markdown(value)
    line.encode("utf-8")
    assert "\n" not in line
    assert "<" not in line
    for mark in "`[]|*":
        assert line.count(mark) == line.count(f"\\{mark}")


@given(ANY)
def test_a_code_block_ends_only_at_its_end(value):
    first, *inside, last = text.fenced(value).split("\n")
    assert first == f"{last}text"
    assert not any(line.strip().startswith(last) for line in inside)


def test_runs_of_hidden_characters_are_counted():
    assert text.html("a" + "\u200b" * 500 + "b") == "a<i class=h>U+200B×500</i>b"
    assert text.plain("\ud800\udc00") == "⟨U+D800⟩⟨U+DC00⟩"
    assert text.html("x\r\ny") == "x<i class=h>U+000D</i>\ny"


@pytest.mark.parametrize("length", [5, 50, 60, 61, 400, 10**6])
def test_a_line_is_as_long_as_asked_at_most(length):
    line = text.one_line("a b" * length, 60)
    assert len(line) <= 60
    assert line.endswith("…") == (3 * length > 60)
