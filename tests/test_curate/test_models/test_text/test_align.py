"""Which tokens lie in a span of characters."""

import random

import numpy as np

from curate.models.load import load_tokenizer
from curate.models.text.align import covered


def test_the_tokens_of_a_span_are_those_that_share_a_character_with_it(tiny_tokenizer):
    tokenizer = load_tokenizer(str(tiny_tokenizer))
    draw = random.Random(0)
    alphabet = "ab \n\u00e9\u4e16\U0001f600<|end|>."
    for _ in range(60):
        text = "".join(draw.choice(alphabet) for _ in range(draw.randrange(2, 40)))
        encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        cuts = sorted(draw.randrange(len(text) + 1) for _ in range(4))
        spans = [span for span in (cuts[:2], cuts[2:]) if span[0] < span[1]]
        for rows, (start, end) in zip(
            covered(encoding, slice(0, len(encoding)), spans), spans, strict=True
        ):
            places = np.array(encoding.offsets).reshape(-1, 2)
            wanted = [n for n, (a, b) in enumerate(places) if b > start and a < end and a < b]
            assert rows.tolist() == wanted
