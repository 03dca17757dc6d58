"""A slice scores with the plan's models and options, and says what is not the same on its machine."""

import shutil

import pytest
from safetensors.numpy import load_file, save_file

from curate.errors import ConfigError, ModelError
from curate.scoring.remote.document import PlanDocument


@pytest.fixture
def model(tiny_model, tmp_path):
    return shutil.copytree(tiny_model, tmp_path / "model")


def test_a_model_that_lies_elsewhere_is_named_and_verified(
    pool, elsewhere, model, bucket, tmp_path
):
    pool.score("likelihood", model=str(model), parts=str(bucket), plan_only=True)
    moved = model.rename(tmp_path / "moved")
    with pytest.raises(ModelError, match="cannot be used on this machine.*add --model FOLDER"):
        elsewhere.score("likelihood", parts=str(bucket), slice="1/4")
    report = elsewhere.score("likelihood", model=str(moved), parts=str(bucket), slice="1/4")
    assert report.n_written == 1
    weights = moved / "model.safetensors"
    save_file({k: v + 1 for k, v in load_file(weights).items()}, weights, {"format": "pt"})
    renamed = moved.rename(tmp_path / "renamed")
    with pytest.raises(ModelError, match="is not the one of the plan: its files hash to"):
        elsewhere.score("likelihood", model=str(renamed), parts=str(bucket), slice="2/4")


def test_another_command_is_refused(pool, elsewhere, bucket):
    pool.score("text_stats", parts=str(bucket), plan_only=True, settings={"ngram": 3})
    for given, said in (
        (("mtld",), r"--scorer is \['mtld'\] here, but \['text_stats'\] in the plan"),
        (("text_stats", {"ngram": 4}), r"--set is \{'ngram': '4'\} here, but \{'ngram': '3'\}"),
    ):
        settings = given[1] if given[1:] else None
        with pytest.raises(ConfigError, match=said):
            elsewhere.score(given[0], parts=str(bucket), slice="1/2", settings=settings)
    with pytest.raises(ConfigError, match="--dtype is 'bfloat16' here, but not given in the plan"):
        elsewhere.score("text_stats", parts=str(bucket), slice="1/2", dtype="bfloat16")
    assert elsewhere.score("text_stats", parts=str(bucket), slice="1/2").n_written == 2


def test_another_version_of_a_scorer_is_refused(pool, elsewhere, bucket, monkeypatch):
    from curate.scorers.text_stats import TextStats

    pool.score("text_stats", parts=str(bucket), plan_only=True)
    monkeypatch.setattr(TextStats, "version", TextStats.version + 1)
    with pytest.raises(ConfigError, match="install the same version of curate on every machine"):
        elsewhere.score("text_stats", parts=str(bucket), slice="1/2")


def test_a_set_that_would_have_another_key_is_refused(pool, elsewhere, bucket, monkeypatch):
    pool.score("text_stats", parts=str(bucket), plan_only=True)
    find = PlanDocument.find

    def tampered(objects):
        plan = find(objects)
        plan.sets[0].settings["ngram"] = 9
        return plan

    monkeypatch.setattr(PlanDocument, "find", tampered)
    with pytest.raises(
        ConfigError, match="text_stats would not be the score set .* its config differs"
    ):
        elsewhere.score("text_stats", parts=str(bucket), slice="1/2")
