import numpy as np
import pytest

from curate.contracts import LoadContext
from curate.scorers.instructmining import InstructMining


def test_the_rule_stands_beside_what_it_reads():
    read = {
        "reward.reward": np.array([1.0, 2.0]),
        "reward.truncated": np.array([False, True]),
        "unieval.understandability": np.array([0.9, 0.5]),
        "unieval.naturalness": np.array([0.8, 0.5]),
        "unieval.coherence": np.array([0.7, 0.5]),
    }
    columns = InstructMining().load(LoadContext("cpu", "float32"))([], read)
    assert columns["predicted_loss"][0] == pytest.approx(0.05413, abs=1e-12)
    assert columns["reward"].tolist() == [1.0, 2.0] and columns["coherence"].tolist() == [0.7, 0.5]
    assert set(columns) == set(InstructMining.outputs)


def test_it_reads_the_models_of_two_roles():
    needs = InstructMining().requires()
    assert {alias: (need.scorer, need.role) for alias, need in needs.items()} == {
        "reward": ("reward", "reward"),
        "unieval": ("unieval", "judge"),
    }
