"""Timing a model in two dtypes."""

import torch

from curate.models import speedup
from curate.models.load import resolve_model


def test_it_is_the_time_in_float32_by_that_in_bfloat16_on_one_thread(tiny_model, monkeypatch):
    seen = []
    monkeypatch.setattr(
        speedup,
        "_seconds",
        lambda backbone, ids: (
            seen.append((backbone.dtype, tuple(ids.shape), torch.get_num_threads()))
            or (2.0 if backbone.dtype == torch.float32 else 0.5)
        ),
    )
    before = torch.get_num_threads()
    resolved = resolve_model(str(tiny_model))
    assert speedup.bfloat16_speedup(resolved) == 4.0
    assert seen == [(torch.bfloat16, (4, 128), 1), (torch.float32, (4, 128), 1)]
    assert torch.get_num_threads() == before


def test_it_takes_the_shorter_of_two_runs_after_a_first(tiny_model, monkeypatch):
    runs = []
    clock = iter([0.0, 9.0, 10.0, 13.0, 20.0, 22.0])
    monkeypatch.setattr(speedup.time, "thread_time", lambda: next(clock))
    ids = torch.zeros(1, 2, dtype=torch.long)
    assert speedup._seconds(lambda **given: runs.append(given), ids) == 2.0
    assert len(runs) == 3 and not runs[0]["use_cache"]
