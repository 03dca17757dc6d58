"""Methods that select towards a target set are proved with it; what is evaluated on is another matter."""

import pytest

from curate.errors import ConfigError

OPTIONS = {
    "budget": "50%", "seeds": 1, "max_tokens": 300, "batch_tokens": 64, "lr": 1e-3, "workers": 1,
    "threads": 1,
}  # fmt: skip


@pytest.fixture
def given(pool, target_file, tiny_llama, make_rows, tmp_path):
    pool.target.add("dev", str(make_rows(tmp_path / "dev.jsonl", 5, 3)))
    return {"target": str(target_file), "model": str(tiny_llama), **OPTIONS}


def trials(pool, method, given, **more):
    plan = pool.prove(method, **given, **more, dry_run=True)["plan"]
    return {one["method"]: one["trial_id"] for one in plan["trials"]}


def test_a_missing_or_useless_target_set_fails_before_anything_is_trained(pool, given):
    with pytest.raises(
        ConfigError, match="'bm25' selects towards a target set; pass --towards NAME"
    ):
        pool.prove("bm25", **given)
    with pytest.raises(
        ConfigError, match="no method here selects towards .*leave out --towards dev"
    ):
        pool.prove("top-k:rank=n_chars", **given, towards="dev")
    with pytest.raises(ConfigError, match="no target set 'den'; did you mean 'dev'"):
        pool.prove("bm25", **given, towards="den")


def test_the_target_set_is_part_of_the_trials_of_those_methods_alone(
    pool, given, make_rows, tmp_path
):
    pool.target.add("other", str(make_rows(tmp_path / "other.jsonl", 5, 4)))
    plain = trials(pool, "top-k:rank=n_chars", given)
    one, two = (trials(pool, "bm25", given, towards=name) for name in ("dev", "other"))
    assert one["random"] == two["random"] == plain["random"]
    assert one["bm25"] != two["bm25"]


@pytest.mark.slow
def test_a_proof_says_what_was_selected_towards(pool, given):
    proof = pool.prove("bm25", **given, towards="dev")
    [chosen] = proof["selections"]["50%"]["bm25"]["selection_ids"]
    assert pool.selection(chosen).document["target"]["name"] == "dev"
    assert any(
        "towards dev: 5 examples, 0 of which are evaluated on too." in text
        for text in proof["statements"]
    )
