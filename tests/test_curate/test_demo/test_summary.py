"""The demo's two sentences, and the outline of its progress."""

from typing import Any

import pytest

from curate.demo.summary import Outline, kept_sentence, trained_sentence


class Heard:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def start(self, stage: str, total: int | None, unit: str, done: int = 0) -> None:
        self.said.append(f"start {stage}")

    def advance(self, stage: str, amount: int) -> None:
        self.said.append(f"advance {stage}")

    def finish(self, stage: str) -> None:
        self.said.append(f"finish {stage}")

    def note(self, text: str) -> None:
        self.said.append(text)


def proof(verdict: str, mean: float) -> dict[str, Any]:
    delta = {"mean": mean - 0.62, "ci_low": mean - 0.63, "ci_high": mean - 0.61, "level": 0.9875}
    arm = {"verdict": verdict, "mean": mean, "delta_vs_random": delta}
    return {"seeds": 5, "results": [{"methods": {"random": {"mean": 0.62}, "grape": arm}}]}


def test_what_was_kept_is_said_with_its_share_of_wrong_answers():
    kept = [
        {"method": "pool", "rows": 3136, "wrong_share": 0.2},
        {"method": "grape", "rows": 768, "wrong_share": 0.0641},
    ]
    assert kept_sentence({"kept": kept, "n_examples": 3072}) == (
        "GRAPE kept 768 of 3,072 examples, one answer to each question: 6% of its answers are wrong, "
        "20% of the pool's."
    )


@pytest.mark.parametrize(
    ("verdict", "mean", "words"),
    [
        ("better", 0.565, "0.055 nats a token lower than after as many random examples (0.565 against"),
        ("worse", 0.7, "0.080 nats a token higher than after as many random examples (0.700 against"),
        ("no difference shown", 0.615, "no different from that after as many random examples, as far"),
    ],
)  # fmt: skip
def test_what_training_gave_follows_the_verdict(verdict: str, mean: float, words: str):
    said = trained_sentence(proof(verdict, mean))
    assert said.startswith(f"Trained on them, the model's loss on held-out tasks is {words}")
    ends = f"{mean - 0.63:+.3f} to {mean - 0.61:+.3f}"
    assert said.endswith(f"; 98.75% interval of the difference {ends}, 5 seeds).")


def test_only_long_stages_warnings_and_the_demo_s_own_words_are_shown():
    heard = Heard()
    outline = Outline(heard)
    for stage in ("scoring", "training", "trials"):
        outline.start(stage, 3, "rows")
        outline.advance(stage, 1)
        outline.finish(stage)
    for text in ("demo: 3 examples", "not read: source", "warning: two of them"):
        outline.note(text)
    assert heard.said == [
        "start scoring", "advance scoring", "finish scoring", "start trials", "advance trials",
        "finish trials", "demo: 3 examples", "warning: two of them",
    ]  # fmt: skip
