import numpy as np
import pytest
import torch
from random_models import ALIKE, EVERYTHING, REFUSED, assert_close, loaded, random_rows

from curate.models.batch import plan_batches
from curate.models.passes.device_batch import HostBatch
from curate.models.passes.forward import Forward
from curate.models.passes.head import Head
from curate.models.passes.packing import packing_flaw


@pytest.mark.parametrize("name", ALIKE)
def test_a_row_gets_the_same_end_to_end_padded_and_alone_in_chunks(name, monkeypatch):
    model = loaded(name)
    assert packing_flaw(model) is None
    rows = random_rows()
    padded = [one for _, one in Forward(model).run(rows, EVERYTHING)]
    packed = [one for _, one in Forward(model, packed=True).run(rows, EVERYTHING)]
    monkeypatch.setattr(Head, "chunk_rows", property(lambda self: 4))
    alone = [one for row in rows for _, one in Forward(model).run([row], EVERYTHING)]
    assert_close(padded, packed)
    assert_close(padded, alone)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_end_to_end_is_found_out_when_it_is_loaded(name):
    model = loaded(name)
    before = model.backbone.config._attn_implementation
    assert packing_flaw(model)
    assert model.backbone.config._attn_implementation == before


def test_many_batches_come_back_in_order_with_one_in_flight():
    model = loaded("qwen2")
    rows = random_rows(12)
    batches = [rows[:5], rows[5:6], rows[6:]]
    forward = Forward(model, packed=True)
    found = list(forward.run_all(batches, EVERYTHING))
    assert [(n, place) for n, place, _ in found] == [
        (n, place) for n, batch in enumerate(batches) for place in range(len(batch))
    ]
    wanted = [one for batch in batches for _, one in Forward(model).run(batch, EVERYTHING)]
    assert_close(wanted, [one for _, _, one in found])


def test_a_queued_batch_without_room_is_halved_and_a_row_without_room_given_up():
    model = loaded("qwen2")
    rows = random_rows(6)

    class Cramped:
        def __getattr__(self, name):
            return getattr(model, name)

        class backbone:
            config = model.backbone.config

            def __new__(cls, input_ids, **options):
                if input_ids.shape[1] > 62:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                return model.backbone(input_ids=input_ids, **options)

    forward = Forward(Cramped(), packed=True)
    halved = [one for _, one in forward.run(rows, EVERYTHING)]
    assert forward.n_split == 6
    assert_close([one for _, one in Forward(model).run(rows, EVERYTHING)], halved)


def test_an_error_that_is_no_lack_of_memory_ends_the_run():
    model = loaded("qwen2")

    def broken(**_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    broken.config = model.backbone.config

    class Broken:
        backbone = staticmethod(broken)

        def __getattr__(self, name):
            return getattr(model, name)

    with pytest.raises(RuntimeError, match="illegal memory access"):
        list(Forward(Broken(), packed=True).run(random_rows(), EVERYTHING))


def test_a_batch_is_laid_out_end_to_end_or_padded():
    rows = random_rows(4)
    lengths = [len(row.ids) for row in rows]
    for packed in (True, False):
        batch = HostBatch.of(rows, packed=packed)
        at = batch.to("cpu")
        assert len(at["ids"]) == (sum(lengths) if packed else len(rows) * max(lengths))
        own = at["ids"][at["tokens"]].tolist()
        assert own == [token for row in rows for token in row.ids.tolist()]
        assert at["starts"].tolist() == np.cumsum([0, *lengths]).tolist()
        scored = at["scored"].tolist()
        predicted = [at["positions"][n].item() for n in scored]
        assert predicted == [p for row in rows for p in row.positions.tolist()]
        assert at["targets"].tolist() == [t for row in rows for t in row.targets.tolist()]


def test_batches_of_rows_end_to_end_are_even_and_hold_every_row_once():
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 900, 500)
    ids = [f"{n:04d}" for n in range(500)]
    plan = plan_batches(lengths, ids, 16_384, packed=True)
    sizes = [int(lengths[batch].sum()) for batch in plan]
    assert sorted(np.concatenate(plan).tolist()) == np.flatnonzero(lengths).tolist()
    assert len(plan) == int(np.ceil(lengths.sum() / 16_384))
    assert max(sizes) - min(sizes) < 2 * 900 and max(sizes) < 16_384 + 900
    assert plan_batches(np.zeros(3, int), ids[:3], 100, packed=True) == []
    plan = plan_batches(np.array([500, 3]), ids[:2], 100, packed=True)
    assert [batch.tolist() for batch in plan] == [[0, 1]]
