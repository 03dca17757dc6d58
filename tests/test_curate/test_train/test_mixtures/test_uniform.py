from curate.train.mixtures.uniform import Uniform


def test_the_data_stays_as_it_is():
    assert Uniform().every is None
    assert Uniform().weights(0, {"a": 1.0, "b": 3.0}) == {"a": 1.0, "b": 1.0}
