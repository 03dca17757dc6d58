"""What a scoring run says at its end."""

from types import SimpleNamespace

import pytest

from curate.errors import TooManyFailuresError, UndefinedScore
from curate.scoring.outcome import ScoredSet, ScoreReport


@pytest.mark.parametrize(
    ("scorer", "config", "context", "limit"),
    [
        ("ifd", {"variant": "cherry"}, 8192, "the 512 tokens that ifd reads"),
        (
            "ifd",
            {"variant": "cherry", "template": "chat"},
            8192,
            "the model's context of 8,192 tokens",
        ),
        ("ifd", {"variant": "superfiltering"}, 1024, "the model's context of 1,024 tokens"),
        ("ifd", {"variant": "codeact"}, None, "the 2,048 tokens that ifd reads"),
        ("likelihood", {}, 8192, "the model's context of 8,192 tokens"),
        ("likelihood", {"gone": 1}, 4096, "the model's context of 4,096 tokens"),
    ],
)
def test_a_cut_text_was_longer_than_what_is_named(
    scorer: str, config: dict[str, str], context: int | None, limit: str
) -> None:
    key = {"config": config, "max_length": context}
    status = SimpleNamespace(scorer=scorer, n_examples=9, spec={"key": key})
    [words] = ScoredSet(scorer, status, 9, 0, n_truncated=2).warnings()
    assert words == (
        f"{scorer}: 2 of 9 texts are longer than {limit} and were cut; leave them out with "
        f"--where 'not {scorer}.truncated'"
    )


def reported(failures: dict[str, int]) -> ScoreReport:
    status = SimpleNamespace(set_id="s", n_examples=9, n_failed=sum(failures.values()))
    scored = ScoredSet("mtld", status, 9, 0, failures, failed_id="f00d")
    return ScoreReport((scored,), {"s": 0}, 1.0)


def test_a_score_that_an_example_has_none_of_is_no_failure() -> None:
    report = reported({"no_words": 2, "input_failed": 1})
    report.raise_for_failures()
    [scored] = report.sets
    assert (scored.n_failed, scored.n_undefined) == (0, 3)
    assert list(scored.warnings()) == [
        (
            "mtld: 3 of 9 examples have no such score (2 no_words, 1 input_failed); what selects by it "
            "leaves them out"
        )
    ]


def test_only_failures_are_counted_against_what_is_tolerated() -> None:
    report = reported({"undefined: no_words": 2, "content_is_not_text": 1})
    with pytest.raises(TooManyFailuresError, match=r"mtld: 1 of 9 examples failed .1 content_is_"):
        report.raise_for_failures()


def test_an_undefined_score_is_the_same_after_a_worker_has_sent_it() -> None:
    sent = UndefinedScore(*UndefinedScore("no_rhyme").args)
    assert (sent.reason, str(sent)) == ("undefined: no_rhyme",) * 2


def test_reasons_that_stores_have_already_keep_their_words() -> None:
    assert UndefinedScore("no_words").reason == "no_words"
