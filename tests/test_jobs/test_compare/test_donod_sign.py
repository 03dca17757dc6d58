"""Which columns the comparison of DONOD's signs ranks by."""

import numpy as np
import pytest

from jobs.compare.donod_sign import scores


def test_the_two_signs_are_opposites_where_nod_is_the_same():
    found = scores(np.array([-1.0, 0.0, 2.0]), np.ones(3), np.array([-3.0, -2.0, -1.0]))
    before, after = found["DONOD, before_minus_after"], found["DONOD, after_minus_before"]
    assert before.tolist() == pytest.approx([0, 1 / 3, 1])
    assert after.tolist() == pytest.approx([1, 2 / 3, 0])
    assert found["NOD alone, negated"].tolist() == [-1.0] * 3
    assert found["mean log-probability"].tolist() == [-3.0, -2.0, -1.0]
