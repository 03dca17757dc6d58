"""What a scoring run says at its end."""

from types import SimpleNamespace

import pytest

from curate.scoring.outcome import ScoredSet


@pytest.mark.parametrize(
    ("scorer", "config", "context", "limit"),
    [
        ("ifd", {"variant": "cherry"}, 8192, "the 512 tokens that ifd reads"),
        ("ifd", {"variant": "cherry", "template": "chat"}, 8192, "the model's context"),
        ("ifd", {"variant": "superfiltering"}, 1024, "the model's context"),
        ("ifd", {"variant": "codeact"}, None, "the 2,048 tokens that ifd reads"),
        ("likelihood", {}, 8192, "the model's context"),
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
