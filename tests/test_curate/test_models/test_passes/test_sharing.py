import numpy as np
import pytest
import torch
from random_models import (
    ALIKE,
    EVERYTHING,
    MORE_REFUSED,
    REFUSED,
    assert_close,
    loaded,
    random_groups,
)  # fmt: skip

from curate.contracts import Stat
from curate.models.passes import packing
from curate.models.passes.device_batch import HostBatch
from curate.models.passes.forward import Forward, PassRequest
from curate.models.passes.head import HeadWants
from curate.models.passes.sharing import sharing_flaw
from curate.models.text.render import Rendered


@pytest.mark.parametrize("name", ALIKE)
def test_rows_that_share_what_they_begin_with_get_what_padded_rows_get(name):
    """Mistral's window of 16 tokens ends within the prompt."""
    model = loaded(name)
    assert sharing_flaw(model) is None
    rows = random_groups()
    batch = HostBatch.of(rows, packed=True, shared=True)
    assert len(batch.values[batch.places["ids"]]) < 0.7 * sum(len(row.ids) for row in rows)
    wanted = [one for _, one in Forward(model).run(rows, EVERYTHING)]
    found = [one for _, one in Forward(model, shared=True).run(rows, EVERYTHING)]
    assert_close(wanted, found)


@pytest.mark.parametrize("name", [*REFUSED, *MORE_REFUSED])
def test_what_cannot_share_is_found_out(name):
    assert sharing_flaw(loaded(name))


def test_a_row_that_sees_its_neighbours_is_found_out(monkeypatch):
    model = loaded("llama")

    def leaking(query, key, value, rows, *_):
        return torch.nn.functional.scaled_dot_product_attention(
            query, *(t.repeat_interleave(2, dim=1) for t in (key, value)), is_causal=True
        ).transpose(1, 2)

    monkeypatch.setattr(packing, "_run_by_run", leaking)
    assert "rows that share what they begin with differ from padded ones by" in sharing_flaw(model)


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_positions_that_depend_on_the_longest_row_are_not_shared(kind):
    model = loaded("llama")
    model.backbone.config.rope_parameters["rope_type"] = kind
    because = f"its rotary embedding ({kind}) depends on the longest row of a batch"
    assert sharing_flaw(model) == because


def test_turns_of_one_conversation_that_are_rows_of_their_own_share():
    model = loaded("qwen2")
    rng = np.random.default_rng(2)
    asked = rng.integers(1, 512, 20).astype(np.int32)
    turns = [np.append(asked, rng.integers(1, 512, n)).astype(np.int32) for n in (5, 19, 33)]
    starts = np.cumsum([0, *map(len, turns)])
    ends = (starts[1:] - 1).astype(np.int32)
    example = Rendered(
        np.concatenate(turns), ends, np.array([3, 4, 5], np.int32), np.zeros(3, bool), False, 3,
        tuple(starts[:-1].tolist()),
    )  # fmt: skip
    rows = [example, *random_groups(1)]
    wanted = [one for _, one in Forward(model).run(rows, EVERYTHING)]
    found = [one for _, one in Forward(model, shared=True).run(rows, EVERYTHING)]
    assert_close(wanted, found)


def test_what_else_is_measured_and_a_blank_neighbour_change_no_bit():
    model = loaded("llama")
    rows = random_groups()
    forward = Forward(model, shared=True)
    alone = PassRequest(HeadWants(), (), True)
    company = [one for _, one in forward.run(rows, EVERYTHING)]
    by_itself = [one for _, one in forward.run(rows, alone)]
    beside = [one for _, one in forward.run([rows[0].blank(), *rows[1:]], EVERYTHING)]
    for a, b in zip(company, by_itself, strict=True):
        assert np.array_equal(a.nll, b.nll)
    for a, b in zip(company[1:], beside[1:], strict=True):
        assert np.array_equal(a.nll, b.nll)
        assert np.array_equal(a.pooled[Stat.MEAN_HIDDEN], b.pooled[Stat.MEAN_HIDDEN])


def test_a_failing_device_is_no_flaw_of_the_model(monkeypatch):
    def fails(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(packing, "_run_by_run", fails)
    with pytest.raises(torch.OutOfMemoryError):
        sharing_flaw(loaded("llama"))


def test_in_float64_one_way_to_pool_states_leaves_the_next_what_it_reads():
    model, rows = loaded("llama", dtype="float64"), random_groups()
    wanted = [one for _, one in Forward(model).run(rows, EVERYTHING)]
    for a, b in zip(wanted, Forward(model, shared=True).run(rows, EVERYTHING), strict=True):
        for stat, vector in a.pooled.items():
            np.testing.assert_allclose(b[1].pooled[stat], vector, rtol=1e-9, atol=1e-12)
