import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from curate.train.api import train
from curate.train.config import (
    ComputeConfig,
    LengthConfig,
    LoraConfig,
    MethodConfig,
    OptimiserConfig,
)
from curate.train.data_config import DataConfig

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from trained import gradient_of, make_rows
from curate.train.api import train
from curate.train.config import *
import torch

if __name__ == "__main__":
    rows = make_rows(80)
    gradient = gradient_of(eval(sys.argv[2]), rows)
    if os.environ["RANK"] == "1":
        torch.save(gradient, sys.argv[4])
    train(eval(sys.argv[3]), rows, sys.argv[5], evaluation={"held": rows[:9]})
    torch.distributed.destroy_process_group()
""".replace("import sys\n", "import os, sys\n", 1)


def distance(one, other):
    """Relative L2 distance of two gradients."""
    names = [name for name in one if name not in ("loss", "nll")]
    assert {*names} == {*other} - {"loss", "nll"}
    difference = sum(float((one[n] - other[n]).double().square().sum()) for n in names)
    return math.sqrt(difference / sum(float(one[n].double().square().sum()) for n in names))


@pytest.fixture(scope="module")
def thirty(config):
    """Thirty steps in float64."""
    return config(
        length=LengthConfig(max_steps=30),
        compute=ComputeConfig(device="cpu", dtype="float64", threads=1),
        optimiser=OptimiserConfig(lr=1e-3, weight_decay=0.1),
    )


def with_micro(config, tokens):
    return replace(config, data=replace(config.data, micro_tokens=tokens))


@pytest.fixture(scope="module")
def exact(thirty, rows, tmp_path_factory):
    """The folder and the record of thirty steps in float64, each batch in one pass."""
    folder = tmp_path_factory.mktemp("exact") / "one"
    record = train(with_micro(thirty, 4096), rows, folder, evaluation={"held": rows[:9]})
    return folder, record


@pytest.mark.parametrize("lora", [None, LoraConfig(r=4)], ids=["full", "lora"])
def test_accumulation_gives_the_gradient_of_one_batch(config, rows, make, lora):
    one = make.gradient(
        config(
            method=MethodConfig(lora),
            data=DataConfig("plain", batch_tokens=1024, micro_tokens=4096),
        ),
        rows,
    )
    many = make.gradient(
        config(
            method=MethodConfig(lora), data=DataConfig("plain", batch_tokens=1024, micro_tokens=90)
        ),
        rows,
    )
    assert distance(one, many) < 1e-5
    assert one["loss"] == pytest.approx(many["loss"], rel=1e-6)


@pytest.mark.slow
def test_accumulation_gives_the_weights_of_one_batch_after_thirty_steps(
    thirty, exact, rows, tmp_path
):
    folder, first = exact
    second = train(with_micro(thirty, 90), rows, tmp_path / "many")
    assert first.run_id == second.run_id
    a, b = (load_file(f / "model.safetensors") for f in (folder, tmp_path / "many"))
    assert max(float((a[n] - b[n]).abs().max()) for n in a) < 1e-9
    assert np.abs(first.losses - second.losses).max() < 1e-9


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(config, thirty, exact, rows, make, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    shared = Path(__file__).parents[2]  # where the module trained lies
    single = config()
    call = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
        script, shared, repr(single), repr(thirty), tmp_path / "gradient.pt", tmp_path / "two",
    ]  # fmt: skip
    path = os.pathsep.join([str(shared.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [str(part) for part in call],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    theirs = torch.load(tmp_path / "gradient.pt", weights_only=False)
    ours = make.gradient(single, rows)
    assert distance(ours, theirs) < 1e-5
    assert np.allclose(ours["nll"], theirs["nll"], rtol=1e-6)
    from curate.train.api import load_record

    two = load_record(tmp_path / "two")
    folder, one = exact
    assert two.config["processes"] == 2
    assert one.run_id == two.run_id
    assert one.cost.tokens == two.cost.tokens
    a, b = (load_file(f / "model.safetensors") for f in (folder, tmp_path / "two"))
    assert max(float((a[n] - b[n]).abs().max()) for n in a) < 1e-9
    assert np.allclose(one.final("held").nll, two.final("held").nll, atol=1e-8)


@pytest.mark.slow
def test_loss_curve_in_float32_follows_float64(thirty, exact, rows, tmp_path):
    single = replace(thirty, compute=replace(thirty.compute, dtype="float32"))
    rough = train(with_micro(single, 90), rows, tmp_path / "single")
    assert np.abs(exact[1].losses - rough.losses).max() < 1e-3


def test_gradient_checkpointing_changes_nothing(config, rows, make):
    saving = ComputeConfig(device="cpu", dtype="float32", threads=1, gradient_checkpointing=True)
    plain, recomputed = make.gradient(config(), rows), make.gradient(config(compute=saving), rows)
    assert distance(plain, recomputed) < 1e-6


def by_hand(model_folder, rows):
    """Mean NLL over the response bytes and EOS of plain-template rows, by transformers alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float64).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    total = count = 0.0
    for row in rows:
        prompt = row.example.messages[0]["content"] + "\n"
        text = prompt + row.example.messages[1]["content"]
        ids = tokenizer(text)["input_ids"]
        start = len(tokenizer(prompt)["input_ids"])
        logits = model(torch.tensor([ids])).logits[0].detach().log_softmax(-1)
        targets = [*ids[start:], tokenizer.eos_token_id]
        found = [-float(logits[start - 1 + i, t]) for i, t in enumerate(targets)]
        total += row.weight * sum(found)
        count += row.weight * len(found)
    return total / count


@pytest.fixture
def double(config):
    """Float64, in passes of about three rows."""
    return config(
        compute=ComputeConfig(device="cpu", dtype="float64", threads=1),
        data=DataConfig("plain", batch_tokens=1024, micro_tokens=300),
    )


def test_loss_is_the_weighted_mean_over_response_tokens_of_the_global_batch(
    double, make, tiny_llama
):
    rows = make.rows(8)
    weighted = [replace(r, weight=w) for r, w in zip(rows, (1, 2, 0.5, 3, 1, 1, 7, 0), strict=True)]
    for listed in (rows, weighted):
        found = make.gradient(double, listed, step=None)
        assert found["loss"] == pytest.approx(by_hand(tiny_llama, listed), rel=1e-9)


def test_twice_the_weight_is_the_row_twice(double, make):
    rows = make.rows(4)
    copied = make.gradient(double, [*rows, rows[0]], step=None)
    weighted = make.gradient(double, [replace(rows[0], weight=2.0), *rows[1:]], step=None)
    scaled = make.gradient(
        double, [replace(r, weight=w) for r, w in zip(rows, (20, 10, 10, 10), strict=True)], None
    )
    copied.pop("nll"), weighted.pop("nll"), scaled.pop("nll")
    assert distance(copied, weighted) < 1e-12
    assert distance(scaled, weighted) < 1e-12
