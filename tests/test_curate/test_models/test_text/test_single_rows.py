from types import SimpleNamespace

import numpy as np

from curate.contracts import Example, Rendering
from curate.models.text.single_rows import SingleRows


def row(n, ends, starts=(0,)):
    return SimpleNamespace(ids=np.arange(n), is_end=np.array(ends), starts=starts)


def test_what_is_not_one_row_with_something_scored_is_named_and_in_no_batch():
    rendered = [
        row(3, [False, True]), "no_prompt", row(9, [True]), row(5, [False], (0, 2)), row(4, [False]),
        row(4, [False]),
    ]  # fmt: skip
    renderer = SimpleNamespace(render=lambda examples, rendering: rendered)
    ids = [f"{n:032x}" for n in (1, 2, 3, 4, 6, 5)]
    examples = [Example(i, ({"role": "user", "content": "x"},)) for i in ids]

    def single(score_end):
        return SingleRows.of(
            renderer, examples, Rendering("plain"), score_end=score_end, batch_tokens=8
        )

    found = single(score_end=False)
    several = "turns_in_several_rows"
    assert found.reasons == [None, "no_prompt", "no_scored_tokens", several, None, None]
    assert found.lengths.tolist() == [3, 0, 0, 0, 4, 4]
    assert [batch.tolist() for batch in found.batches] == [[5, 4], [0]]
    rows, keeps = found.of_batch(found.batches[1])
    assert rows == [rendered[0]] and keeps[0].tolist() == [True, False]
    with_ends = single(score_end=True)
    assert with_ends.reasons[2] is None and with_ends.keeps[0].tolist() == [True, True]
