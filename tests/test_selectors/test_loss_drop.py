"""Training on a target set, and what it makes likelier: as steps, and on a tiny model for real."""

import json

import numpy as np
import pytest
from driven import drive

import curate as cu
from curate import TARGET_SET, Budget, BudgetError, ConfigError, Score, Select, Train
from curate_selectors.loss_drop import LossDrop

SETTINGS = {"loss-drop.lr": "3e-3", "loss-drop.epochs": "2"}


def test_the_losses_before_and_after_are_of_the_same_examples_and_rendering():
    steps, outcome = drive(LossDrop(template="plain"), lambda *_: {}, "10%")
    before, scored, trained, after, chosen = steps
    loss = {"template": "plain", "score_end": True}
    assert before == Score("likelihood", loss, "target")
    assert after == Score("likelihood", loss, "target", "Select-2", "Train-3")
    assert scored.bind == {"before": "Score-1"} and scored.budget is None
    assert trained == Train(
        TARGET_SET,
        {"length.epochs": 3, "optimiser.lr": 2e-5, "data.template": "plain"},
        "target",
        7,
    )
    assert chosen == Select(
        "top-k", "10%", {"rank": "1 - after.mean_logp / before.mean_logp"}, "Select-2", 7, (),
        {"before": "Score-1", "after": "Score-4"},
    )  # fmt: skip
    assert outcome.selection_id == "Select-5"
    adapter = drive(LossDrop(lora_r=4), lambda *_: {}, "10%")[0][2]
    assert adapter.settings["lora.r"] == 4


def test_wrong_settings_and_a_missing_budget_are_named():
    with pytest.raises(ConfigError, match=r"loss-drop\.epochs must be at least 1, got 0"):
        LossDrop(epochs=0)
    with pytest.raises(ConfigError, match=r"loss-drop\.lr=0 must be positive"):
        LossDrop(lr=0.0)
    with pytest.raises(BudgetError, match="loss-drop needs a budget; add --budget 10%"):
        next(LossDrop().run(None, 0))
    assert LossDrop.uses_target and next(LossDrop().run(Budget(3), 0)).scorer == "likelihood"


# For real ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Forty examples of two kinds, and a target set of one kind, an example of it in the pool."""
    folder = tmp_path_factory.mktemp("drop")

    def written(name, rows):
        path = folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    def kind(n, word):
        return {"prompt": f"{word} the {word} {n}", "response": f"{word} {word} {n}"}

    opened = cu.open(folder / "curate.duckdb", create=True)
    opened.ingest(written("pool.jsonl", [kind(n, "cat" if n % 2 else "poem") for n in range(40)]))
    opened.target.add("cats", written("cats.jsonl", [kind(n, "cat") for n in (1, 77, 78, 79)]))
    return opened


def selected(pool, model, budget="10", **options):
    settings = {**SETTINGS, **options.pop("settings", {})}
    return pool.select(
        "loss-drop", budget=budget, target="cats", model=str(model), settings=settings,
        device="cpu", **options,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("lora_r", [None, 4])
def test_it_selects_what_drops_most_by_a_training_and_two_scorings_of_ours(
    pool, tiny_model, tmp_path, lora_r
):
    settings = {"loss-drop.lora_r": str(lora_r)} if lora_r else {}
    chosen = selected(pool, tiny_model, settings=settings)
    drops = slow_drops(pool, tiny_model, tmp_path, lora_r)
    wanted = sorted(drops, key=lambda i: (-drops[i], i))[:10]
    assert chosen.rows().column("id").to_pylist() == wanted
    gains = chosen.rows().column("gain").to_numpy()
    np.testing.assert_allclose(gains, [drops[i] for i in wanted], rtol=1e-6)
    texts = chosen.to_arrow()["prompt"].to_pylist()
    assert sum("cat" in text for text in texts) >= 9 and gains[0] > 0


def slow_drops(pool, model, folder, lora_r):
    """Train on the target set and score with either model, each by a command of its own."""
    from curate.train.api import train
    from curate.train.data import prepare, rows_of_pool
    from curate.train.recipes import build_config

    rows = rows_of_pool(pool.store.target("cats"))
    settings = {
        "length.epochs": 2, "optimiser.lr": 3e-3, "data.template": "chat", "compute.device": "cpu",
        **({"lora.r": lora_r} if lora_r else {}),
    }  # fmt: skip
    config = build_config(str(model), settings).resolved(has_chat_template=True)
    renderer = renderer_of(config)
    tokens = int(prepare(rows, renderer, config.data.rendering).lengths.sum())
    config = build_config(str(model), {**settings, "data.batch_tokens": tokens // 4})
    config = config.resolved(has_chat_template=True)
    train(config, rows, folder / "trained")
    other = cu.open(folder / "other.duckdb", create=True)
    other.ingest(pool.store.datasets()[0].extra["files"][0])
    losses = []
    for trained in (False, True):
        weights = {"adapter": str(folder / "trained")} if trained and lora_r else {}
        name = folder / "trained" if trained and not lora_r else model
        other.score(
            "likelihood", model=str(name), device="cpu", **weights,
            settings={"likelihood.template": "chat", "likelihood.score_end": "true"},
            alias=f"loss{trained:d}",
        )  # fmt: skip
        table = other.sql(f"select id, -loss{trained:d}.mean_logp as loss from scores order by id")
        losses.append(dict(table.iter_rows()))
    return {i: (losses[0][i] - losses[1][i]) / losses[0][i] for i in losses[0]}


def renderer_of(config):
    from curate.models.load import load_tokenizer, resolve_model
    from curate.models.text.render import Renderer

    resolved = resolve_model(config.model)
    return Renderer(load_tokenizer(resolved.path), resolved.max_length, resolved.chat)


@pytest.mark.slow
def test_it_leaves_no_weights_and_its_scores_are_nobody_elses(pool, tiny_model, tmp_path):
    chosen = selected(pool, tiny_model)
    assert not list((pool.store.parts / "runs").glob("step-*"))
    document = chosen.document
    assert document["method"] == "loss-drop" and document["procedure"]["n_models"] == 1
    assert document["procedure"]["target"] == {
        "name": "cats",
        "content_hash": pool.store.targets()[0].content_hash,
        "n_selected": 1,
    }
    [warning] = [text for text in document["warnings"] if "in target 'cats' too" in text]
    assert warning.startswith("1 of the selected examples are")
    by_name = pool.select(
        "top-k", budget="5", settings={"rank": "likelihood.mean_logp"}, device="cpu"
    )
    [read] = by_name.document["score_sets"].values()
    assert read["set_id"] == document["score_sets"]["before"]["set_id"]
    assert selected(pool, tiny_model).rows().equals(chosen.rows())


@pytest.mark.slow
def test_it_is_reproduced_from_the_stored_scores_but_not_trained_again(pool, tiny_model, tmp_path):
    from curate.api.reproduce import reproduce
    from curate.contracts.progress import SilentProgress

    selected(pool, tiny_model, budget="5").export(tmp_path / "out.jsonl")

    def again(rescore):
        return reproduce(
            tmp_path / "out.jsonl.manifest.json", store=None, output=None, rescore=rescore,
            workers=1, progress=SilentProgress(),
        )  # fmt: skip

    made = again(rescore=False)
    assert made["identical"], made["differences"]
    with pytest.raises(cu.StoreError, match="'loss-drop' trains models to select, which --rescore"):
        again(rescore=True)


def test_an_adapter_or_a_missing_target_is_told_before_anything_is_trained(pool, tiny_model):
    with pytest.raises(
        ConfigError, match="'loss-drop' selects towards a target set; pass --target"
    ):
        pool.select("loss-drop", budget="5", model=str(tiny_model))
    with pytest.raises(ConfigError, match="'random' selects towards nothing; .*, loss-drop"):
        pool.select("random", budget="5", target="cats")
