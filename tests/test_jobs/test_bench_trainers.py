"""What the benchmark compares training with trains on the same rows, and on nothing else."""

import numpy as np
import pytest
import torch

from curate.models.text.render import Rendered
from jobs.bench import trainers
from jobs.bench.figure import QUICK, Bench
from jobs.bench.gpu.shapes import TINY, qwen2, random_causal, random_rows
from jobs.bench.gpu.trainers import no_tokenizer
from jobs.bench.libraries import IGNORED, Way, make_trainer, whole

ROWS = random_rows(TINY, 6)


def test_a_row_is_whole_and_has_labels_where_we_have_targets():
    row = Rendered(
        np.array([5, 6, 7, 8]), np.array([1, 3]), np.array([7, 9]), np.array([False, True]), False, 2
    )  # fmt: skip
    assert whole(row) == {
        "input_ids": [5, 6, 7, 8, 9],
        "labels": [IGNORED, IGNORED, 7, IGNORED, 9],
    }


def test_steps_have_as_many_tokens_as_ours_as_near_as_passes_allow():
    assert Way("padded", 4).passes(rows_a_step=20.5, tokens_a_step=4_096) == 5
    assert Way("padded", 8).passes(rows_a_step=3, tokens_a_step=600) == 1
    assert Way.packed("packed", 1_024).passes(rows_a_step=20.5, tokens_a_step=4_096) == 4


def test_without_trl_its_figure_says_what_to_install(monkeypatch):
    monkeypatch.setattr(trainers, "find_spec", lambda name: None)
    figure = trainers.against_trl(Bench(QUICK, inputs=None))
    assert (figure.value, figure.passed, figure.detail) == (None, None, "pip install trl")


def batch_loss(way, folder):
    """Return the loss a library computes of six rows, and by how many tokens it divided it."""
    model = random_causal(qwen2(TINY), "cpu", "float32").train()
    settings = {"output_dir": str(folder), "use_cpu": True, "bf16": False}
    made = make_trainer(model, no_tokenizer(), ROWS, way, settings)
    total = count = 0
    for batch in made.get_train_dataloader():
        n = int((batch["labels"] != IGNORED).sum())
        total += n * float(
            made.compute_loss(model, dict(batch), num_items_in_batch=torch.tensor(n))
        )
        count += n
    return total / count, count


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated:FutureWarning")
def test_every_way_has_the_loss_of_the_rows_alone(tmp_path):
    pytest.importorskip("trl", reason="trl is not installed")
    wanted, n_targets = batch_loss(Way("alone", 1), tmp_path)
    assert n_targets == sum(len(row.targets) for row in ROWS)
    longest = 1 + max(len(row.ids) for row in ROWS)
    for way in (
        Way("padded", 4), Way("by TRL", 4, by_trl=True), Way.padding_free("padding-free", 4),
        Way.packed("packed", 2 * longest),
    ):  # fmt: skip
        assert batch_loss(way, tmp_path) == (pytest.approx(wanted, rel=1e-5), n_targets), way.words
    with pytest.raises(ValueError, match="cut: .* tokens would be trained on, not"):
        batch_loss(Way.packed("cut", longest // 2), tmp_path)
