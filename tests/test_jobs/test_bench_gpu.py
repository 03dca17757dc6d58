import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import stub_vllm

from jobs.bench.gpu.bench import Bench, LineTimeoutError, Measurement, at_most
from jobs.bench.gpu.lines import LIMITS, LINES, measure
from jobs.bench.gpu.shapes import SHAPES, random_rows

ROOT = Path(__file__).resolve().parents[2]
ABSENT = ("duckdb", "polars", "faiss", "datasets", "trl", "beartype", "flaml")


@pytest.mark.slow
def test_every_line_runs_on_a_cpu_without_the_packages_a_gpu_machine_lacks(tmp_path):
    block = f"import sys\nfor name in {ABSENT!r}: sys.modules[name] = None\n"
    (tmp_path / "sitecustomize.py").write_text(block)
    path = os.pathsep.join([str(tmp_path), str(ROOT), str(ROOT / "selectors")])
    done = subprocess.run(
        [sys.executable, "jobs/bench", "--device", "cpu", "--tiny", "--out", str(tmp_path)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    document = json.loads((tmp_path / "gpu.json").read_text())
    failed = [one for one in document["measurements"] if one["error"]]
    assert done.returncode == 0 and not failed, f"{failed}\n{done.stderr[-2000:]}"
    lines = {one["line"].split()[0] for one in document["measurements"]}
    assert lines == {
        "peak", "pass", "donod", "prefixes", "profile", "head", "agreement", "choices", "rendering", "training", "vllm",
    }  # fmt: skip
    agreement = [one for one in document["measurements"] if one["line"] == "agreement"]
    float32 = [one["values"] for one in agreement if one["variant"].startswith("float32")]
    assert len(float32) == 2 and all(max(values.values()) < 1e-4 for values in float32)
    assert "log-normal" in document["notes"][0] and document["machine"]["device"] == "cpu"
    assert {one["variant"]: one["note"] for one in document["measurements"]}["TRL, packing"] == (
        "not measured: trl is not installed"
    )
    assert (tmp_path / "gpu-profile.txt").stat().st_size > 1000


def test_a_line_that_fails_or_takes_too_long_is_recorded_and_the_next_one_runs(
    monkeypatch, tmp_path
):
    def broken(_):
        yield Measurement("broken", "first", {"x": 1.0})
        raise RuntimeError("no such kernel")

    def endless(_):
        while True:
            pass
        yield

    def fine(_):
        yield Measurement("fine", "only", {"x": 2.0})

    monkeypatch.setattr(
        "jobs.bench.gpu.lines.LINES", {"broken": broken, "endless": endless, "fine": fine}
    )
    monkeypatch.setattr("jobs.bench.gpu.lines.LIMITS", {"broken": 5, "endless": 0.2, "fine": 5})
    found = []
    measure(Bench("cpu", True, tmp_path), ["broken", "endless", "fine"], float("inf"), found.append)
    assert [(one.line, one.error) for one in found] == [
        ("broken", None),
        ("broken", "RuntimeError: no such kernel"),
        ("endless", "the rest is not measured: took longer than 0 s"),
        ("fine", None),
    ]
    measure(Bench("cpu", True, tmp_path), ["fine"], 0.0, found.append)
    assert found[-1].error == "not measured: the time was over"


def test_a_time_limit_is_taken_back():
    with pytest.raises(LineTimeoutError, match="took longer"), at_most(0.05):
        while True:
            pass
    with at_most(60):
        pass


def test_every_line_has_a_limit_and_shapes_count_what_qwen_has():
    assert set(LIMITS) == set(LINES)
    millions = {name: shape.weights / 1e6 for name, shape in SHAPES.items()}
    assert millions == pytest.approx({"0.5B": 357.8, "1.5B": 1310.1, "7B": 6525.3}, rel=2e-3)
    rows = random_rows(SHAPES["0.5B"], 4000)
    lengths = sorted(len(row.ids) for row in rows)
    assert lengths[2000] == pytest.approx(98, abs=6) and lengths[3800] == pytest.approx(
        352, rel=0.1
    )


def test_the_report_holds_every_figure_and_what_was_not_measured(tmp_path):
    from jobs.bench.gpu import report

    run = {
        "machine": {"device": "cuda", "card": "Some Card", "driver": "1.2"},
        "notes": ["lengths are made up"],
        "measurements": [
            {"line": "pass", "variant": "ours", "note": "8 rows", "error": None,
             "values": {"tokens/s": 133343.2, "share of peak": 0.532, "seconds": 1.9917}},
            {"line": "pass", "variant": "theirs", "note": "", "error": None,
             "values": {"tokens/s": 9.5}},
            {"line": "slow", "variant": "-", "note": "", "error": "the time was over", "values": {}},
        ],
    }  # fmt: skip
    (tmp_path / "one.json").write_text(json.dumps(run))
    assert report.main([str(tmp_path / "one.json"), "--out", str(tmp_path)]) == 0
    text = (tmp_path / "gpu.md").read_text()
    assert "## Run 1: Some Card\n\ncard Some Card, driver 1.2." in text
    assert "| ours | 133,343 | 53.2% | 1.992 | 8 rows |" in text
    assert "| theirs | 9.5 |  |  |  |" in text
    assert "### Not measured\n\n- slow, -: the time was over" in text
    assert (
        report.main(
            [str(tmp_path / "gpu.json"), str(tmp_path / "one.json"), "--out", str(tmp_path)]
        )
        == 0
    )
    assert "## Run 2: Some Card" in (tmp_path / "gpu.md").read_text()


def test_vllm_is_measured_beside_our_pass_where_it_is_installed(monkeypatch, tmp_path):
    from jobs.bench.gpu import engines

    bench = Bench("cpu", True, tmp_path)
    [absent] = engines.against_vllm(bench)
    assert (absent.note, absent.values, absent.error) == (
        "not measured: vllm is not installed", {}, None
    )  # fmt: skip
    stub_vllm.install(monkeypatch)
    ours, theirs = engines.against_vllm(bench)
    assert theirs.variant == "vLLM: prompt_logprobs" and theirs.values["rows/s"] > 0
    assert theirs.note.startswith(ours.note) and "gpu_memory_utilization 0.8" in theirs.note
    assert theirs.values["largest difference"] < 1e-5


def test_what_is_measured_is_the_gpu_that_was_named(monkeypatch, tmp_path):
    import torch
    from mocked_card import GIB, MockedCard

    from jobs.bench.gpu import command

    card, happened = MockedCard(monkeypatch, 100, n=2), []
    for name in ("synchronize", "reset_peak_memory_stats", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: happened.append(name))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * GIB)

    def measured(bench, names, until, done):
        assert card.current == ["cuda:1"] and bench.dtype == "bfloat16"
        bench.free()
        assert bench.seconds(lambda: happened.append("work"))[1] == 3.0
        done(Measurement("peak", "-", {"x": 1.0}))

    monkeypatch.setattr(command, "measure", measured)
    assert command.main(["--device", "cuda:1", "--tiny", "--out", str(tmp_path)]) == 0
    assert happened == [
        "empty_cache", "synchronize", "reset_peak_memory_stats", "work", "synchronize",
    ]  # fmt: skip
    facts = json.loads((tmp_path / "gpu.json").read_text())["machine"]
    assert (facts["device"], facts["card"], facts["memory"]) == ("cuda:1", "Mocked 1", "80.0 GiB")


@pytest.fixture
def as_if_a_gpu(monkeypatch, tmp_path):
    """Return a bench on the CPU that takes it for a GPU, and what is asked of that."""
    import on_card
    import torch
    from mocked_card import GIB, MockedCard

    from curate.models.passes import head_kernel

    MockedCard(monkeypatch, 100)
    happened = []
    for name in ("synchronize", "reset_peak_memory_stats", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: happened.append(name))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * GIB)
    monkeypatch.setattr(Bench, "is_cuda", property(lambda self: True))
    monkeypatch.setattr(head_kernel, "available", lambda: True)
    monkeypatch.setattr(head_kernel, "row_statistics", on_card.row_statistics)
    return Bench("cpu", True, tmp_path), happened


def test_the_kernel_a_compiled_head_and_the_kernels_of_the_profile_are_lines(
    as_if_a_gpu, monkeypatch
):
    import torch
    from torch import profiler

    from jobs.bench.gpu import pieces

    bench, _ = as_if_a_gpu
    compiled, asked, profile = [], [], profiler.profile
    monkeypatch.setattr(torch, "compile", lambda one, dynamic: compiled.append(dynamic) or one)

    def on_cpu(activities):
        asked.extend(activity.name for activity in activities)
        return profile(activities=activities[:1])

    monkeypatch.setattr(profiler, "profile", on_cpu)
    found = {one.variant: one for one in pieces.head_alone(bench)}
    assert not any(one.error for one in found.values()) and compiled == [False]
    assert found["one-read kernel, chunks of 512"].values["peak GiB"] == 3.0
    assert "compiled, chunks of 2048" in found
    [kernels] = pieces.profile(bench)
    assert asked == ["CPU", "CUDA"] and set(kernels.values.values()) == {0.0}  # of no GPU
    assert (bench.out / "gpu-profile.txt").stat().st_size > 1000


def test_another_trainers_step_has_the_peak_of_the_gpu(as_if_a_gpu, monkeypatch):
    from types import SimpleNamespace

    from jobs.bench.gpu import trainers

    bench, happened = as_if_a_gpu

    class Trainer:
        accelerator = SimpleNamespace(unwrap_model=lambda model, keep_fp32_wrapper: model)

        def add_callback(self, clock):
            self.clock = clock

        def train(self):
            happened.append("train")
            for _ in range(trainers.EPOCHS):
                self.clock.on_epoch_begin()
                self.clock.on_epoch_end()

    def make(model, tokenizer, rows, way, settings):
        assert not settings["use_cpu"]
        return Trainer()

    monkeypatch.setattr(trainers, "make_trainer", make)
    monkeypatch.setattr(trainers, "no_tokenizer", lambda: None)
    seconds, peak = trainers.trainer_step(bench, None, [], trainers.PADDED[0])
    assert seconds < 1 and peak == 3.0
    before = happened.index("train")
    assert happened[:before] == ["synchronize", "reset_peak_memory_stats"]
    assert happened[before + 1 :] == ["synchronize"] * 2 * trainers.EPOCHS
