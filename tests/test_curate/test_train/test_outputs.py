import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from curate.data.write.portable import Portable
from curate.errors import ConfigError, DataError, MissingPackageError, ModelError, TrainError
from curate.train.api import load_record, train
from curate.train.config import (
    ComputeConfig,
    LengthConfig,
    LoraConfig,
    MethodConfig,
    OptimiserConfig,
    WatchConfig,
)
from curate.train.data_config import DataConfig
from curate.train.record import HISTORY

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def plain_nll(model, tokenizer, rows):
    """Mean response NLL of chat-free rows by transformers alone, one at a time."""
    total, count = 0.0, 0
    for row in rows:
        prompt = row.example.messages[0]["content"] + "\n"
        ids = tokenizer(prompt + row.example.messages[1]["content"])["input_ids"]
        start = len(tokenizer(prompt)["input_ids"])
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        targets = [*ids[start:], tokenizer.eos_token_id]
        total -= sum(float(logits[start - 1 + i, t]) for i, t in enumerate(targets))
        count += len(targets)
    return total / count


def test_full_folder_loads_in_transformers_and_gives_the_printed_figure(config, rows, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    held = rows[:12]
    record = train(config(), rows, tmp_path / "run", evaluation={"held": held})
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert plain_nll(model, tokenizer, held) == pytest.approx(record.final("held").mean_nll, 1e-5)


def test_adapter_loads_in_peft_and_gives_the_printed_figure(config, rows, tiny_llama, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    held = rows[:12]
    lora = config(method=MethodConfig(LoraConfig(r=4, targets=("q_proj", "down_proj"))))
    record = train(lora, rows, tmp_path / "run", evaluation={"held": held})
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert "adapter_model.safetensors" in names
    assert "model.safetensors" not in names
    base = AutoModelForCausalLM.from_pretrained(tiny_llama)
    before = plain_nll(base.eval(), AutoTokenizer.from_pretrained(tmp_path / "run"), held)
    model = PeftModel.from_pretrained(base, tmp_path / "run").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    after = plain_nll(model, tokenizer, held)
    assert after == pytest.approx(record.final("held").mean_nll, 1e-5)
    assert after < before
    assert record.config["parameters"]["trained"] < record.config["parameters"]["all"]


def test_adapter_run_is_reproducible_with_dropout(config, rows, tmp_path):
    lora = config(method=MethodConfig(LoraConfig(r=4, dropout=0.3)))
    torch.manual_seed(1)
    first = train(lora, rows, tmp_path / "a")
    state = torch.manual_seed(2).get_state()
    second = train(lora, rows, tmp_path / "b")
    assert torch.equal(torch.get_rng_state(), state), "training touched the caller's generator"
    assert np.array_equal(first.history, second.history)


def test_tied_embeddings_stay_tied(config, tiny_chat, rows, tmp_path):
    from transformers import AutoModelForCausalLM

    record = train(config(model=str(tiny_chat)), rows, tmp_path / "run")
    assert record.config["settings"]["data"]["template"] == "chat"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert record.losses[-1] < record.losses[0]


def test_bfloat16_trains_float32_weights(config, rows, tmp_path):
    from safetensors.torch import load_file

    half = config(compute=ComputeConfig(device="cpu", dtype="bfloat16", threads=1))
    record = train(half, rows, tmp_path / "run", evaluation={"held": rows[:5]})
    exact = train(config(), rows, tmp_path / "exact")
    assert all(
        w.dtype == torch.float32 for w in load_file(tmp_path / "run" / "model.safetensors").values()
    )
    assert np.abs(record.losses - exact.losses).max() < 0.05
    assert record.losses[-1] < record.losses[0]


def test_record_says_what_it_cost(config, rows, tmp_path):
    record = train(
        config(length=LengthConfig(epochs=2)), rows, tmp_path / "run", evaluation={"held": rows[:5]}
    )
    cost = record.cost
    assert cost.tokens == int(record.history[:, HISTORY.index("tokens")].sum())
    assert 0 <= cost.padding < 0.05
    assert cost.flops == record.config["parameters"]["all"] * (
        6 * cost.tokens + 2 * cost.other_tokens
    )
    assert cost.seconds > 0
    assert cost.peak_bytes > 1_000_000
    assert cost.energy_j is None
    assert record.versions["torch"] == torch.__version__
    again = load_record(tmp_path / "run")
    written = Portable(tmp_path / "run").value(record.as_dict())
    assert again.as_dict() == {**written, "output": str(tmp_path / "run")}


def test_token_budget_is_kept_to_a_row(config, rows, tmp_path):
    length = LengthConfig(max_tokens=5000)
    record = train(config(length=length), rows, tmp_path / "run")
    assert 4900 < record.cost.tokens <= 5000


def test_patience_keeps_the_best_weights(config, rows, make, tmp_path):
    watching = config(
        optimiser=OptimiserConfig(lr=0.3, schedule="constant"),
        length=LengthConfig(max_steps=12),
        watch=WatchConfig(eval_every=1, patience=2),
    )
    held = make.rows(10, seed=5)
    record = train(watching, rows, tmp_path / "run", evaluation={"held": held})
    nll = [one.mean_nll for one in record.evaluations]
    best = int(np.argmin(nll))
    assert record.outcome["stopped_early"]
    assert record.outcome["final_step"] == best + 1
    assert len(nll) == best + 3
    assert record.final("held").mean_nll == nll[best]
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert plain_nll(model, tokenizer, held) == pytest.approx(nll[best], rel=1e-5)


def test_loss_that_is_not_finite_names_step_examples_and_checkpoint(config, rows, tmp_path):
    wild = config(
        optimiser=OptimiserConfig(lr=1e30, schedule="constant", clip=None),
        watch=WatchConfig(save_every=1),
    )
    with pytest.raises(TrainError) as caught:
        train(wild, rows, tmp_path / "run")
    text = str(caught.value)
    assert re.match(r"the (loss|gradient norm) is nan at step 2, .* example [0-9a-f]{32}", text)
    assert "the last good checkpoint is" in text and "step-00000001" in text
    with pytest.raises(TrainError, match="no checkpoint was saved yet"):
        train(config(optimiser=wild.optimiser), rows, tmp_path / "other")


def test_bad_input_is_named(config, rows, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(DataError, match="there are no training rows"):
        train(config(), [], run)
    lora = config(method=MethodConfig(LoraConfig(targets=("c_attn",))))
    with pytest.raises(
        ConfigError,
        match=r"'c_attn' matches no linear layer .* it has: down_proj, gate_proj, k_proj",
    ):
        train(lora, rows, tmp_path / "lora")
    with pytest.raises(ConfigError, match=r"max_tokens=500 is less than one batch of 1024 tokens"):
        train(config(length=LengthConfig(max_tokens=500)), rows, run)
    with pytest.raises(
        ConfigError, match=r"the 2 training rows have \d+ tokens, less than one batch of 1024"
    ):
        train(config(), rows[:2], run)
    with pytest.raises(
        DataError, match="none of the 80 training rows can be used .80 prompt_exceeds_context"
    ):
        train(config(data=DataConfig(max_length=2, batch_tokens=100)), rows, run)
    with pytest.raises(ModelError, match="no chat template"):
        train(config(data=DataConfig("chat")), rows, run)
    with pytest.raises(
        ConfigError, match="no answer extractor 'last-numbr'; did you mean 'last-number'"
    ):
        train(config(watch=WatchConfig(extractor="last-numbr")), rows, tmp_path / "extractor")
    with pytest.raises(
        MissingPackageError, match="needs the package wandb; type: pip install wandb"
    ):
        train(config(watch=WatchConfig(report_to="wandb")), rows, run)
    with pytest.raises(ConfigError, match="patience needs an evaluation set"):
        train(config(watch=WatchConfig(eval_every=1, patience=1)), rows, run)
    with pytest.raises(DataError, match=f"the weight of example {rows[0].id} is nan"):
        train(config(), [replace(rows[0], weight=float("nan")), *rows], run)
    assert not run.exists()


@pytest.mark.parametrize(
    ("make_config", "message"),
    [
        (lambda: LengthConfig(epochs=1, max_steps=3), "one length, got epochs=1, max_steps=3"),
        (lambda: LengthConfig(max_tokens=0), "max_tokens must be a positive number, got 0"),
        (
            lambda: OptimiserConfig(schedule="cosin"),
            "schedule must be one of cosine, linear, constant",
        ),
        (lambda: OptimiserConfig(lr=float("nan")), "lr must be a positive number, got nan"),
        (lambda: OptimiserConfig(betas=(0.9, 1.0)), "betas are two numbers"),
        (lambda: LoraConfig(dropout=1.0), "dropout must be in"),
        (lambda: WatchConfig(patience=2), "patience=2 counts evaluations; set eval_every too"),
        (lambda: WatchConfig(report_to="mlflow"), "report_to must be one of none, tensorboard"),
        (lambda: ComputeConfig(dtype="float16"), "dtype must be one of auto, float32"),
    ],
)
def test_wrong_settings_are_refused(make_config, message):
    with pytest.raises(ConfigError, match=message):
        make_config()


def test_learning_rate_warms_up_and_falls():
    """The first step of w takes 1 / w of the peak, where transformers' Trainer takes nothing."""
    cosine = OptimiserConfig(lr=1.0, warmup_ratio=0.2)
    assert [cosine.rate(s, 10) for s in (0, 1, 2, 6)] == pytest.approx([0.5, 1.0, 1.0, 0.5])
    linear = OptimiserConfig(lr=1.0, schedule="linear", warmup_ratio=0.0)
    assert [linear.rate(s, 4) for s in range(4)] == [1.0, 0.75, 0.5, 0.25]
    assert OptimiserConfig(lr=1.0, schedule="constant").rate(9, 10) == 1.0


def test_decay_spares_norms_and_biases():
    from curate.train.steps.optimiser import make_optimiser

    layer = torch.nn.Linear(2, 2)
    optimiser = make_optimiser(dict(layer.named_parameters()), OptimiserConfig(weight_decay=0.1))
    decay = {id(p): g["weight_decay"] for g in optimiser.param_groups for p in g["params"]}
    assert decay == {id(layer.weight): 0.1, id(layer.bias): 0.0}
