"""Scoring again from what is stored of a score set: its chat template, and what cannot be repeated."""

from pathlib import Path

import pytest

import curate as cu
from curate.contracts.progress import SilentProgress
from curate.errors import StoreError
from curate.scoring.again import _chat_again, score_again
from curate.scoring.options import ScoringOptions


@pytest.fixture
def store(tmp_path):
    return cu.open(tmp_path / "in" / "curate.duckdb", create=True).store


def with_template(text):
    chat = {"arguments": "{}", "reasoning": "keep", "template": text}
    return {"key": {"scorer": "ifd"}, "run": {"chat": chat}}


def test_two_templates_under_one_alias_are_two_files_that_stay_as_they_are(store):
    paths = [
        Path(_chat_again(store, "ifd", with_template(text))["chat_template"])
        for text in ("{{ one }}", "{{ zwei ä }}\n")
    ]
    assert [path.read_text() for path in paths] == ["{{ one }}", "{{ zwei ä }}\n"]
    again = _chat_again(store, "ifd", with_template("{{ one }}"))["chat_template"]
    assert Path(again) == paths[0]
    assert sorted(store.path.parent.glob("*.jinja")) == sorted(paths)


def test_an_alias_from_elsewhere_does_not_say_where_the_template_goes(store, tmp_path):
    source = Path(_chat_again(store, "../out", with_template("{{ one }}"))["chat_template"])
    assert source.parent == store.path.parent and not list(tmp_path.glob("*.jinja"))


@pytest.mark.parametrize(
    ("key", "run", "words"),
    [
        ({"scorer": "trajectory"}, {}, "computing it again, as --rescore and --target do, trains none"),
        ({"scorer": "likelihood", "template": "chat@ab;args={}"}, {},
         "computed with args={} for template chat@ab, and what is stored of it does not hold that"),
        ({"scorer": "likelihood", "template": "plain"}, {},
         "names no model; score and select again with one: curate score --scorer likelihood --model"),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_again_says_why(store, key, run, words):
    spec = {"key": {"config": {}, **key}, "run": run}
    with pytest.raises(StoreError) as caught:
        score_again(store, "mine", spec, ScoringOptions(), SilentProgress())
    assert words in str(caught.value)
