import numpy as np
import pytest

from curate.train.config import LengthConfig, MethodConfig
from curate.train.data_config import DataConfig
from curate.train.steps.batches import cut_micro, deal, keep_within_tokens, plan_epoch
from curate.train.steps.stream import EpochStream, MixedStream, open_stream


@pytest.fixture(scope="module")
def lengths():
    """Lengths as instruction data has them: a long tail."""
    return np.random.default_rng(0).lognormal(5, 0.8, 3000).astype(np.int64).clip(8, 2000)


def plan(lengths, batch_tokens=8192, seed=0):
    return plan_epoch(lengths, np.arange(len(lengths)), batch_tokens, np.random.default_rng(seed))


def test_every_row_is_in_exactly_one_batch(lengths):
    batches = plan(lengths)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))


def test_batches_are_of_nearly_equal_size(lengths):
    sizes = np.array([lengths[batch].sum() for batch in plan(lengths)])
    assert sizes.max() <= 8192 + 2000
    assert sizes.std() / sizes.mean() < 0.15


def test_batches_mix_lengths(lengths):
    means = np.array([lengths[batch].mean() for batch in plan(lengths, 16_384)])
    assert means.max() / means.min() < 6


def test_order_depends_on_the_seed_alone(lengths):
    one, same, other = plan(lengths), plan(lengths), plan(lengths, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(np.concatenate(one), np.concatenate(other))


@pytest.mark.parametrize("micro", [512, 2048, 100_000])
def test_less_than_five_percent_is_padding(lengths, micro):
    tokens = padded = 0
    for batch in plan(lengths):
        passes = cut_micro(lengths, batch, micro)
        assert sorted(np.concatenate(passes).tolist()) == sorted(batch.tolist())
        for one in passes:
            cost = lengths[one].max() * len(one)
            assert cost <= micro or len(one) == 1
            padded += cost
            tokens += lengths[one].sum()
    assert 1 - tokens / padded < 0.05


def test_adversarial_lengths_waste_little_too():
    lengths = np.tile([1, 1000], 200)
    rng = np.random.default_rng(0)
    for batch in plan_epoch(lengths, np.arange(400), 50_000, rng):
        passes = cut_micro(lengths, batch, 50_000)
        assert sum(lengths[p].max() * len(p) for p in passes) * 0.95 <= lengths[batch].sum()


def test_a_pass_that_costs_as_much_as_its_tokens_is_filled(lengths):
    batch = np.arange(80)  # of all lengths, as few rows have them
    few = cut_micro(lengths, batch, 4_096, pass_tokens=4_096)
    many = cut_micro(lengths, batch, 4_096)
    assert sorted(np.concatenate(few).tolist()) == batch.tolist()
    assert len(few) <= 8 and len(many) > 15
    assert all(lengths[one].max() * len(one) <= 4_096 for one in few)


def test_processes_share_the_passes_of_a_batch(lengths):
    batch = plan(lengths)[0]
    passes = cut_micro(lengths, batch, 100_000, 4)
    dealt = deal(lengths, passes, 4)
    assert sorted(i for one in dealt for i in one) == list(range(len(passes)))
    load = [sum(lengths[passes[i]].max() * len(passes[i]) for i in one) for one in dealt]
    assert min(load) > 0
    assert max(load) < 2 * np.mean(load)


def test_prefix_within_tokens():
    lengths = np.array([3, 4, 5])
    assert keep_within_tokens(lengths, np.array([2, 0, 1]), 8).tolist() == [2, 0]
    assert keep_within_tokens(lengths, np.array([2, 0, 1]), 4).tolist() == []


def test_length_of_a_run():
    lengths = np.full(100, 10)
    assert EpochStream(lengths, 100, LengthConfig(epochs=3), 0).n_steps == 30
    assert EpochStream(lengths, 100, LengthConfig(max_steps=17), 0).n_steps == 17
    stream = EpochStream(lengths, 100, LengthConfig(max_tokens=1234), 0)
    fed = [len(stream.batch(step)) for step in range(stream.n_steps)]
    assert sum(fed) == 123
    first = np.concatenate([stream.batch(step) for step in range(10)])
    assert sorted(first.tolist()) == list(range(100))


class Prepared:
    """What a stream reads of prepared rows."""

    def __init__(self, rows, lengths):
        self.rows, self.lengths, self.n_targets = rows, lengths, lengths

    def __len__(self):
        return len(self.rows)


@pytest.fixture
def mixed(config, make):
    """A stream over a large and a small source whose losses are 1 and 3."""
    from curate.train.mixtures.loss_proportional import LossProportional

    def open_mixed():
        rows = [*make.rows(90, 0, "big"), *make.rows(10, 1, "small")]
        settings = config(
            data=DataConfig("plain", batch_tokens=200),
            length=LengthConfig(max_steps=40),
            method=MethodConfig(mixture=LossProportional(period=5)),
        )
        return open_stream(Prepared(rows, np.full(100, 10)), settings)

    return open_mixed


def step(stream, number):
    rows = stream.batch(number)
    stream.observe(rows, np.where(rows < 90, 1.0, 3.0) * 10)
    return rows


def test_mixture_draws_sources_by_their_recent_loss(mixed):
    stream = mixed()
    assert isinstance(stream, MixedStream)
    rows = [step(stream, number) for number in range(40)]
    share = [np.mean(np.concatenate(rows[a:b]) >= 90) for a, b in ((0, 5), (5, 40))]
    assert share[0] == pytest.approx(0.5, abs=0.02)  # nothing is known yet
    assert share[1] == pytest.approx(0.75, abs=0.02)
    big = np.concatenate(rows)
    counts = np.bincount(big[big < 90], minlength=90)
    assert counts.max() - counts.min() <= 1, "a source is used up evenly"


def test_mixture_goes_on_from_its_state(mixed):
    import json

    stream = mixed()
    rows = [step(stream, number) for number in range(8)]
    state = json.loads(json.dumps(stream.state()))
    rest = [step(stream, number) for number in range(8, 40)]
    resumed = mixed()
    resumed.restore(state)
    again = [step(resumed, number) for number in range(8, 40)]
    assert len(rows) == 8
    assert all(np.array_equal(a, b) for a, b in zip(rest, again, strict=True))
