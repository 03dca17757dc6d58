import math

import numpy as np
import pytest

from curate.contracts import Rendering, SegmentStats
from curate.errors import ExampleFailure
from curate.scorers.ifd import IFD


def stats(nll, ends=None, truncated=False):
    ends = np.zeros(len(nll), bool) if ends is None else np.array(ends)
    return SegmentStats(np.array(nll), ends, truncated, 9)


def test_both_ratios_by_hand():
    value = IFD().reduce({"full": stats([1.0, 3.0]), "response": stats([4.0, 4.0])})
    assert value == {
        "ratio_loss": 0.5,
        "ratio_ppl": pytest.approx(math.exp(-2)),
        "truncated": False,
    }


def test_means_may_be_over_different_counts():
    """Without BOS the first token of a lone response has no prediction, as with GPT-2."""
    value = IFD().reduce({"full": stats([1.0, 3.0]), "response": stats([4.0])})
    assert value["ratio_loss"] == 0.5


def test_ends_do_not_count():
    full = stats([1.0, 3.0, 99.0], [False, False, True])
    value = IFD().reduce({"full": full, "response": stats([4.0, 50.0], [False, True])})
    assert value["ratio_loss"] == 0.5


def test_a_cut_text_is_compared_over_the_same_number_of_tokens():
    full = stats([1.0, 3.0], truncated=True)
    value = IFD().reduce({"full": full, "response": stats([4.0, 4.0, 1.0, 1.0])})
    assert value["ratio_loss"] == 0.5 and value["truncated"]


@pytest.mark.parametrize(
    ("full", "lone", "reason"),
    [
        ([1.0], [], "no_scored_tokens"),
        ([], [1.0], "no_scored_tokens"),
        ([1.0], [0.0], "loss_without_prompt_is_zero"),
    ],
)
def test_undefined_ratios_fail_with_their_reason(full, lone, reason):
    with pytest.raises(ExampleFailure, match=reason):
        IFD().reduce({"full": stats(full), "response": stats(lone)})


@pytest.mark.parametrize(
    ("variant", "template", "lead", "cap"),
    [
        ("cherry", "alpaca-input", "### Response:", 512),
        ("superfiltering", "superfiltering", "", 1024),
        ("codeact", "codeact", "", 2048),
    ],
)
def test_variants_have_their_published_prompt_lead_and_cap(variant, template, lead, cap):
    full, lone = (segment.rendering for segment in IFD(variant).segments())
    assert full == Rendering(template, max_length=cap)
    assert lone == Rendering(template, part="response", lead=lead, max_length=cap)
    assert [s.rendering.template for s in IFD(variant, "plain").segments()] == ["plain"] * 2
