"""Swapped answers in a pool of sums, and models that can add: always, now and then, never."""

import hashlib
import json
import random
import re

import numpy as np
import pytest
from stub_decoder import StubDecoder
from tiny_nli import save_tiny_nli

import curate as cu
from curate.errors import BudgetError
from curate.models.load import load_tokenizer

SUM = re.compile(r"what is (\d+) plus (\d+)")
SHOWN = re.compile(r"Proposed answer:\s*it is (\d+)")


class Literal:
    """An NLI model for which different texts contradict each other."""

    limit = None

    def lengths(self, pairs):
        return np.zeros(len(pairs), dtype=np.int64)

    def contradictions(self, pairs):
        return np.array([float(a != b) for a, b in pairs]), self.lengths(pairs)


def can_add(tokenizer, skill, judgement):
    """Make a model that adds right this often, and judges right that often."""

    def luck(*key):
        return int(hashlib.blake2b(repr(key).encode(), digest_size=4).hexdigest(), 16) / 2**32

    def reply(prompt, example_id, k):
        a, b = map(int, SUM.search(prompt).groups())
        sums = (a + b if luck(example_id, n) < skill else a + b + 1 for n in range(k))
        return [f"explanation: I count.\nanswer: it is {total}" for total in sums]

    def letter(prompt):
        a, b = map(int, SUM.search(prompt).groups())
        right = (int(SHOWN.search(prompt)[1]) == a + b) == (luck(prompt) < judgement)
        swapped = "(A) The proposed answer is incorrect" in prompt
        return ("A" if right != swapped else "B"), 0.9

    return StubDecoder(tokenizer, reply, letter)


@pytest.fixture
def pool(tmp_path):
    """Sixty sums; in one of five the answer is that of another."""
    rng = random.Random(0)
    sums = [(rng.randrange(100), rng.randrange(100)) for _ in range(60)]
    answers = [a + b for a, b in sums]
    answers[:12] = [total + 50 for total in answers[:12]]
    rows = [
        {"id": str(n), "prompt": f"what is {a} plus {b}", "response": f"it is {total}"}
        for n, ((a, b), total) in enumerate(zip(sums, answers, strict=True))
    ]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    opened = cu.open(tmp_path / "curate.duckdb", create=True)
    opened.ingest(str(tmp_path / "sums.jsonl"))
    return opened


@pytest.fixture
def score(pool, roomy_model, tmp_path, monkeypatch):
    nli = str(save_tiny_nli(tmp_path / "nli"))
    tokenizer = load_tokenizer(str(roomy_model))
    monkeypatch.setattr("curate.scorers.nli_consistency.load_nli", lambda *rest: Literal())

    def run(skill, judgement):
        stub = can_add(tokenizer, skill, judgement)
        monkeypatch.setattr("curate.models.generation.decoding.load_decoder", lambda context: stub)
        pool.score("confidence", model=str(roomy_model), model_for={"nli": nli})
        return pool.sql(
            "select external_id::int < 12 as planted, confidence.* from scores join rows using (id)"
        )

    return run


def area(found):
    """Return the area under the ROC curve of confidence as a mark of the rows left as they were."""
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(~found["planted"], found["confidence"])


@pytest.mark.slow
def test_a_model_that_always_adds_right_finds_every_swapped_answer(pool, score):
    found = score(1.0, 1.0)
    assert area(found) == 1.0
    assert set(found["consistency"].round(6)) == {0.0, 1.0} and set(found["n_parsed"]) == {5}
    with pytest.raises(BudgetError, match="none of 60 confidences lies above their median"):
        pool.select("clear")  # 48 of 60 tie at 1
    kept = pool.select("clear", settings={"keep_fraction": "0.8"})
    ids = set(kept.rows().column("id").to_pylist())
    planted = set(pool.sql("select id from rows where external_id::int < 12")["id"])
    assert len(ids) == 48 and not ids & planted


@pytest.mark.slow
def test_a_model_that_adds_right_now_and_then_finds_most(score):
    found = score(0.3, 0.6)
    assert 0.75 < area(found) < 1.0


@pytest.mark.slow
def test_a_model_that_cannot_add_is_confidently_wrong(score):
    found = score(0.0, 0.0)
    assert area(found) < 0.1
