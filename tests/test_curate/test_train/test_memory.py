"""What a run says when memory runs out: an error that can be followed, no traceback."""

import pytest
from trained import make_rows

from curate.errors import DeviceError
from curate.train import loop
from curate.train.api import train
from curate.train.memory import memory_of
from curate.train.recipes import build_config


def config(micro_tokens, *, lora=False):
    return build_config("m", {"data.micro_tokens": str(micro_tokens)}, lora=lora)


def test_a_lack_of_memory_says_what_to_type():
    with pytest.raises(DeviceError) as error, memory_of(config(4096), "cuda:0"):
        raise MemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore")
    assert str(error.value) == (
        "memory ran out on cuda:0 while training (CUDA out of memory. Tried to allocate 2.00 GiB); "
        "saved steps are kept; rerun the same command with --micro-tokens 2048: tokens per forward "
        "pass, now 4096, which change neither the batch nor the run, or train an adapter alone with "
        "--lora and another output folder"
    )
    with pytest.raises(DeviceError) as error, memory_of(config(1, lora=True), "cpu"):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
    assert "--micro-tokens 1:" in str(error.value) and "--lora" not in str(error.value)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="^shapes differ$"), memory_of(config(8), "cpu"):
        raise RuntimeError("shapes differ")


@pytest.mark.slow
def test_a_run_that_does_not_fit_ends_with_it(tiny_model, tmp_path, monkeypatch):
    def run(self):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(loop.Loop, "run", run)
    with pytest.raises(DeviceError, match="memory ran out on cpu .*--micro-tokens 1024"):
        train(
            build_config(str(tiny_model), {"compute.device": "cpu", "data.batch_tokens": "64"}),
            make_rows(4),
            tmp_path / "run",
        )
