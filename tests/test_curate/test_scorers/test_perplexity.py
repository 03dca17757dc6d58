import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from curate.contracts import Example, Rendering, SegmentStats
from curate.errors import ExampleFailure
from curate.models.load import load_model, resolve_model
from curate.models.passes.forward import Forward, PassRequest
from curate.models.text.render import Renderer
from curate.scorers.perplexity import Perplexity


def stats(nll, ends=None, truncated=False, part="response"):
    ends = np.zeros(len(nll), bool) if ends is None else np.array(ends)
    return {part: SegmentStats(np.array(nll), ends, truncated, 9)}


def test_two_tokens_by_hand():
    """Probabilities 1/2 and 1/8: the geometric mean is 1/4."""
    assert Perplexity().reduce(stats([math.log(2), math.log(8)], truncated=True)) == {
        "ppl": pytest.approx(4),
        "truncated": True,
    }


def test_the_end_counts_only_when_asked_for():
    given = stats([math.log(2), math.log(8)], [False, True])
    assert Perplexity().reduce(given)["ppl"] == pytest.approx(2)
    assert Perplexity(score_end=True).reduce(given)["ppl"] == pytest.approx(4)


def test_a_response_of_nothing_but_its_end_fails():
    with pytest.raises(ExampleFailure, match="no_scored_tokens"):
        Perplexity().reduce(stats([1.0], [True]))


def test_the_mode_decides_what_the_model_sees():
    [alone] = Perplexity().segments()
    assert alone.rendering == Rendering("plain", part="response")
    [given] = Perplexity("conditional", "alpaca").segments()
    assert given.rendering == Rendering("alpaca", part="full")


@pytest.mark.parametrize("mode", ["unconditional", "conditional"])
def test_real_rows_agree_with_the_obvious_loop(realdata, realmodel, mode):
    """exp of the mean loss of the response tokens, from full logits, with or without the prompt."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    table = pq.read_table(realdata / "dolly_15k.parquet", columns=["prompt", "response"])
    rows = [row for row in table.slice(0, 40).to_pylist() if len(row["prompt"]) < 300][:4]
    examples = [
        Example(
            f"{number:032x}",
            (
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["response"][:300]},
            ),
        )
        for number, row in enumerate(rows)
    ]
    scorer = Perplexity(mode)
    model = load_model(resolve_model(str(realmodel)), "cpu", "float32")
    [segment] = scorer.segments()
    rendered = Renderer(model.tokenizer, 1024).render(examples, segment.rendering)
    measured = dict(Forward(model).run(rendered, PassRequest.of([scorer])))

    tokenizer = AutoTokenizer.from_pretrained(realmodel)
    causal = AutoModelForCausalLM.from_pretrained(realmodel, dtype=torch.float32).eval()
    for number, row in enumerate(rows):
        response = row["response"][:300]
        text = response if mode == "unconditional" else f"{row['prompt']}\n{response}"
        encoded = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
        first = len(text) - len(response)
        labels = encoded["input_ids"].clone()
        labels[0, encoded["offset_mapping"][0, :, 1] <= first] = -100
        with torch.inference_mode():
            loss = causal(input_ids=encoded["input_ids"], labels=labels).loss
        value = scorer.reduce({segment.name: measured[number].stats(scorer, None)})
        assert value["ppl"] == pytest.approx(math.exp(loss), rel=1e-4)
