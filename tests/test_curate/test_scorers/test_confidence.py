import numpy as np
import polars as pl
import pytest
from tiny_nli import save_tiny_nli

import curate as cu
from curate.contracts import Example, LoadContext
from curate.errors import ConfigError
from curate.models.classifiers.text_model import object_column
from curate.registry import build
from curate.scorers.confidence import Confidence

EXAMPLES = [Example(f"{n:032x}", ()) for n in range(2)]
HERE = LoadContext("cpu", "float32")


def lists(*rows):
    return object_column([np.array(row, dtype=np.float32) for row in rows])


SAMPLED = {
    "consistency.similarity": lists([1, 0.5, 0.25], [0, 0, 1]),
    "consistency.match": lists([1, 0, 0], [0, 0, 1]),
    "consistency.parsed": lists([1, 1, 0], [0, 0, 0]),
    "reflection.reflection": np.array([0.75, 0.1]),
    "reflection.mass": np.array([0.9, 0.3]),
}


def test_the_parts_are_combined():
    found = Confidence(k=3, k_max=3).load(HERE)(EXAMPLES, SAMPLED)
    observed = [0.8 * 1.75 / 3 + 0.2 / 3, 0.8 / 3 + 0.2 / 3]
    assert found["consistency"] == pytest.approx(observed)
    assert found["confidence"] == pytest.approx([0.7 * observed[0] + 0.3 * 0.75, 0.7 * observed[1] + 0.3 * 0.1])  # fmt: skip
    assert found["reflection"].tolist() == [0.75, 0.1]
    assert found["reflection_mass"].tolist() == [0.9, 0.3]
    assert found["n_parsed"].tolist() == [2, 0] and found["method"].tolist() == ["nli", "nli"]


def test_fewer_samples_are_the_first_ones():
    found = Confidence(k=1, k_max=3).load(HERE)(EXAMPLES, SAMPLED)
    assert found["consistency"].tolist() == [1, 0] and found["n_parsed"].tolist() == [1, 0]


def test_weights_at_their_ends():
    only_s = Confidence(k=3, k_max=3, beta=0.0).load(HERE)(EXAMPLES, SAMPLED)
    assert only_s["confidence"].tolist() == [0.75, 0.1]
    only_r = Confidence(k=3, k_max=3, beta=1.0, alpha=0.0).load(HERE)(EXAMPLES, SAMPLED)
    assert only_r["confidence"] == pytest.approx([1 / 3, 1 / 3])


def test_the_likelihood_stands_in_without_samples():
    read = {
        "consistency.mean_probability": np.array([0.4, 0.2]),
        "reflection.reflection": np.array([1.0, 0.5]),
        "reflection.mass": np.array([0.9, 0.3]),
    }
    found = Confidence("likelihood").load(HERE)(EXAMPLES, read)
    assert found["confidence"] == pytest.approx([0.7 * 0.4 + 0.3, 0.7 * 0.2 + 0.15])
    assert found["method"].tolist() == ["likelihood"] * 2 and found["n_parsed"].tolist() == [0, 0]


def test_what_is_read_follows_from_the_configuration():
    nli = Confidence(k=2, k_max=7, prompt="plain", max_new_tokens=9, seed=3).requires()
    drawn = {"k": 7, "prompt": "plain", "max_new_tokens": 9, "seed": 3}
    assert (nli["consistency"].scorer, nli["consistency"].config) == ("nli-consistency", drawn)
    embed = Confidence("embed", "generate").requires()
    assert (embed["consistency"].scorer, embed["consistency"].role) == ("embedding-consistency", "encoder")  # fmt: skip
    assert embed["reflection"].scorer == "reflection-generated"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 6}, "confidence.k=6 of confidence.k_max=5 samples cannot count"),
        ({"k": 0}, "confidence.k=0 of"),
        ({"alpha": 1.5}, "confidence.alpha is a weight from 0 to 1, got 1.5"),
        ({"beta": -0.1}, "confidence.beta is a weight"),
        ({"consistency": "nil"}, "is not one of nli, embed, likelihood; did you mean 'nli'"),
    ],
)
def test_impossible_settings_say_what_is_possible(settings, message):
    with pytest.raises(ConfigError, match=message):
        build(Confidence, settings)


@pytest.mark.slow
def test_confidence_of_real_rows(realdata, realmodel, minilm, tmp_path):
    rows = pl.read_parquet(realdata / "qa_context.parquet", columns=["prompt", "response"])
    short = rows.filter(pl.col("prompt").str.len_chars() < 400).head(12)
    short.write_ndjson(tmp_path / "rows.jsonl")
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(tmp_path / "rows.jsonl"))
    models = {"nli": str(save_tiny_nli(tmp_path / "nli")), "encoder": str(minilm)}
    sampled = {"prompt": "plain", "max_new_tokens": "6", "k": "2", "k_max": "2"}
    ways = {
        "nli": sampled,
        "embed": {**sampled, "consistency": "embed"},
        "likelihood": {"consistency": "likelihood"},
    }
    for way, settings in ways.items():
        report = pool.score(
            "confidence", alias=way, settings=settings, model=str(realmodel), model_for=models,
            template="plain",
        )  # fmt: skip
        assert all(one.status.n_failed == 0 for one in report.sets)
        found = pool.sql(f"select {way}.confidence as c, {way}.method as m from scores")
        assert len(found) == 12 and set(found["m"]) == {way}
        assert found["c"].is_between(0, 1).all() and found["c"].n_unique() > 10
