"""What three ways to split a round over clusters can reach."""

import numpy as np

from jobs.compare.kmq_rounds import by_chance, largest_remainder, main, published, reached


def test_only_rounding_by_chance_reaches_every_cluster():
    sizes = np.array([2, 9, 9, 9])
    assert reached(sizes, 6, 50, published) == (0, 4, 29)
    assert reached(sizes, 6, 50, largest_remainder) == (6, 1, 9)
    assert reached(sizes, 6, 50, by_chance) == (6, 0, 0)


def test_the_table_has_a_line_for_every_pool_and_way(capsys):
    assert main(["--seeds", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 + 9
    assert printed[2].startswith("| 3,072 | 768 | 256 | published code")
