import math

import pytest

from curate.errors import ConfigError
from curate.train.mixtures.loss_proportional import LossProportional


def test_a_source_weighs_its_loss_to_the_power():
    losses = {"a": 1.0, "b": 3.0}
    assert LossProportional().weights(20, losses) == {"a": 1.0, "b": 3.0}
    assert LossProportional(power=2.0).weights(20, losses) == {"a": 1.0, "b": 9.0}
    assert LossProportional(power=0.0).weights(20, losses) == {"a": 1.0, "b": 1.0}


def test_a_source_not_seen_yet_counts_as_the_mean_of_the_others():
    losses = {"a": 1.0, "b": math.nan, "c": 4.0}
    assert LossProportional().weights(20, losses) == {"a": 1.0, "b": 2.5, "c": 4.0}
    assert LossProportional().weights(0, {"a": math.nan}) == {"a": 1.0}


def test_sources_learned_by_heart_are_drawn_alike():
    assert LossProportional().weights(20, {"a": 0.0, "b": 0.0}) == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"period": 0}, "period must be at least 1, got 0; pass --set mixture.period=20"),
        ({"power": -1.0}, "power must be a number of at least 0, got -1.0; pass --set"),
        ({"power": math.inf}, "power must be a number of at least 0, got inf"),
    ],
)
def test_values_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        LossProportional(**settings)
