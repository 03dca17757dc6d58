"""What the demo proves: every method, or a reason why not."""

import pytest

from curate.demo.methods import SETTINGS, chosen_methods, settings_for
from curate.prove.config import BASELINES, ProveConfig
from curate.registry import names


@pytest.fixture(scope="module")
def found():
    return chosen_methods()


def test_every_method_runs_or_is_left_out_for_a_reason(found):
    chosen, left_out = found
    assert {*chosen, *left_out, *BASELINES} == set(names("method"))
    assert not set(chosen) & set(left_out) and all(left_out.values())


def test_the_methods_of_the_papers_run(found):
    chosen, _ = found
    assert {
        "clear", "donod", "grape", "ifd", "instructmining-fit", "instructmining-search", "kmq",
        "kmq-iterative", "perplexity", "s2l",
    } <= set(chosen)  # fmt: skip


def test_the_reasons_say_what_is_missing(found):
    _, left_out = found
    assert left_out["top-k"] == "it requires a value for 'rank'"
    assert left_out["cluster-draw"].startswith(
        "the scores 'clusters' it reads are made from others"
    )
    assert left_out["instructmining"] == (
        "it needs --model-for reward=MODEL --model-for judge=MODEL, but the demo has no such model"
    )
    assert left_out["clear-cascade"] == (
        "it needs --model-for nli=MODEL, but the demo has no such model"
    )
    assert "curate select --method clear-correct" in left_out["clear-correct"]
    for name in ("bm25", "dsir", "got-d", "loss-drop", "rds-plus", "target-knn"):
        assert left_out[name] == (
            "it selects towards a target set, and the demo has none: curate target add NAME DATA"
        )


def test_every_setting_belongs_to_a_method_that_runs(found):
    chosen, _ = found
    assert settings_for(chosen) == SETTINGS
    assert settings_for(["grape", "ifd"]) == {}
    config = ProveConfig(tuple(chosen), ("10",), settings=settings_for(chosen))
    assert {arm.label for arm in config.compared()} == {*chosen, *BASELINES}
