import pytest

from curate.errors import ConfigError
from curate.registry import get_scorer
from curate.scoring.recorded.trajectories import OUTPUTS, SCORER, VERSION
from curate.testing import check_scorer, variants
from curate.train.recipes import config_of

Trajectory = get_scorer("trajectory")


@pytest.mark.parametrize("scorer", list(variants(Trajectory)), ids=str)
def test_keeps_the_contract(scorer):
    check_scorer(scorer)


def test_declares_what_a_recorded_run_stores():
    assert (Trajectory.name, Trajectory.version) == (SCORER, VERSION)
    assert {name: column.dtype for name, column in Trajectory.outputs.items()} == OUTPUTS


def test_tokens_take_the_place_of_epochs():
    config = config_of(Trajectory(max_tokens=5000).recipe(), "model", "alpaca")
    assert (config.length.max_tokens, config.length.epochs) == (5000, None)
    assert config_of(Trajectory().recipe(), "model", "alpaca").length.epochs == 3


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match=r"trajectory.share is a share in \(0, 1\], got 1.5"):
        Trajectory(share=1.5)
    with pytest.raises(ConfigError, match="trajectory.points must be at least 1, got 0"):
        Trajectory(points=0)
