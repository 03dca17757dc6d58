import errno
import hashlib
import random
import re
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch

from curate.contracts import Example
from curate.contracts.progress import SilentProgress
from curate.demo import model as demo_model
from curate.demo.model import SPECIAL_TOKENS, build_model, build_tokenizer, ensure_model
from curate.demo.pool import PoolRow, build_pool
from curate.demo.train import IGNORED, Schedule, train
from curate.models.text.templates import text_template

ASKED = re.compile(
    r"(?P<before>Question: |Below is an instruction .*\n\n### Instruction:\n)(?P<prompt>.*)"
    r"( \n Answer:|\n\n### Response:)"
)
SHORT = Schedule(n_steps=20, batch_lines=16, warmup_steps=5)


class Steps:
    """Counts steps; can stop the training in the middle."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.n = 0
        self.stop_at = stop_at
        self.notes: list[str] = []

    def start(self, stage: str, total: int | None, unit: str, done: int = 0) -> None:
        self.total = total

    def advance(self, stage: str, amount: int) -> None:
        self.n += amount
        if self.n == self.stop_at:
            raise KeyboardInterrupt

    def finish(self, stage: str) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("demo") / "model"
    build_model(made, SHORT, SilentProgress())
    return made


def test_loads_as_any_other_model_with_about_a_million_parameters(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.model_type == "llama"
    assert 600_000 < sum(weight.numel() for weight in model.parameters()) < 1_200_000
    assert len(tokenizer) == model.config.vocab_size
    for role in ("pad", "bos", "eos"):
        assert getattr(tokenizer, f"{role}_token_id") == getattr(model.config, f"{role}_token_id")
    assert not list(folder.glob("*.bin"))
    assert list(folder.glob("*.safetensors"))


def test_a_token_is_never_more_than_one_digit(folder):
    vocabulary = build_tokenizer().get_vocab()
    assert all(len(token) == 1 for token in vocabulary if any(c.isdecimal() for c in token))
    assert set(SPECIAL_TOKENS) <= set(vocabulary)


def test_any_text_comes_back_from_its_tokens(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in ("What is 12 plus 7?", "ünïcode 漢字 \n\t two  spaces", ""):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_chat_template_marks_each_response_and_its_end_and_nothing_else(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Add 2 and 3."},
        {"role": "assistant", "content": "It is 5."},
        {"role": "user", "content": "Add 5 and 3."},
        {"role": "assistant", "content": "8"},
    ]
    encoded = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, mask = encoded["input_ids"], encoded["assistant_masks"]
    marked = [token for token, counts in zip(ids, mask, strict=True) if counts]
    assert tokenizer.decode(marked) == " It is 5.<|end|> 8<|end|>"
    assert ids.count(tokenizer.bos_token_id) == 1


def test_chat_and_the_grape_template_are_the_same_tokens(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    user, assistant = (
        {"role": "user", "content": "Add 2 and 3."},
        {"role": "assistant", "content": "5"},
    )
    chat = tokenizer.apply_chat_template([user, assistant], tokenize=True, return_dict=True)
    example = Example("a" * 32, (user, assistant))
    text, _ = text_template("grape").render(example)
    assert chat["input_ids"] == [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    opening = tokenizer.apply_chat_template(
        [user], add_generation_prompt=True, tokenize=True, return_dict=True
    )
    assert chat["input_ids"][: len(opening["input_ids"])] == opening["input_ids"]


def test_loss_counts_the_response_and_its_end():
    tokenizer = build_tokenizer()
    lines = demo_model._LineSource(tokenizer, random.Random(1)).draw(200)
    for ids, counts in lines:
        first = counts.index(True)
        assert counts == [False] * first + [True] * (len(ids) - first)
        lead = tokenizer.decode(ids[:first], skip_special_tokens=False)
        assert lead == "<|begin|>" or lead.endswith((" \n Answer:", "### Response:"))
        assert ids[-1] == tokenizer.token_to_id("<|end|>")
    assert any(counts.index(True) == 1 for _, counts in lines)


def test_no_training_text_asks_in_the_words_of_the_pool():
    prompts = {row.prompt for row in build_pool()}
    source = demo_model._LineSource(build_tokenizer(), random.Random(2))
    forms = Counter()
    for _ in range(2000):
        text, (start, _) = source._text()
        lead = text[:start].removeprefix("<|begin|>")
        form = ASKED.fullmatch(lead)
        assert form or lead in ("", "### Response:"), "the only lone responses"
        forms[form and form["before"]] += 1
        assert not form or form["prompt"] not in prompts
    assert forms["Question: "] > 10 * forms[None] > 0
    assert 100 < sum(n for before, n in forms.items() if before and "Instruction" in before) < 300


def test_training_lowers_the_loss():
    tokenizer = build_tokenizer()
    model = demo_model._untrained(tokenizer.get_vocab_size())
    lines = demo_model._LineSource(tokenizer, random.Random(3)).draw
    ids, labels = held_out = _tensors(lines(64))
    before = _loss(model, *held_out)
    steps = Steps()
    train(model, lines, SHORT, random.Random(3), steps)
    assert _loss(model, ids, labels) < 0.7 * before
    assert steps.n == steps.total == SHORT.n_steps


def test_rate_warms_up_and_falls_to_nothing():
    schedule = Schedule(n_steps=100, peak_rate=1.0, warmup_steps=10)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9]
    assert rates[-1] == pytest.approx(0.01), "a hundredth of the peak, in equal steps"
    assert schedule.rate(100) == 0.0


def test_same_seed_gives_the_same_weights_and_leaves_global_chance_alone(tmp_path):
    state = torch.random.get_rng_state()
    for name in ("one", "two"):
        build_model(tmp_path / name, Schedule(n_steps=2), SilentProgress())
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert hashlib.sha256(one).digest() == hashlib.sha256(two).digest()
    assert torch.equal(state, torch.random.get_rng_state())


def test_model_is_trained_once_and_cached_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.demo.train.Schedule", partial(Schedule, n_steps=1))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("CURATE_CACHE", raising=False)
    assert ensure_model().parent == tmp_path / "xdg" / "curate"
    monkeypatch.setenv("CURATE_CACHE", str(tmp_path / "own"))
    steps = Steps()
    made = ensure_model(steps)
    assert (made.parent, steps.n) == (tmp_path / "own", 1)
    again = Steps()
    assert (ensure_model(again), again.n) == (made, 0)


def test_interrupted_training_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.demo.train.Schedule", partial(Schedule, n_steps=3))
    monkeypatch.setenv("CURATE_CACHE", str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        ensure_model(Steps(stop_at=2))
    assert list(tmp_path.rglob("*")) == []


def test_who_finds_another_training_waits_for_its_model(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.demo.train.Schedule", partial(Schedule, n_steps=2))
    monkeypatch.setenv("CURATE_CACHE", str(tmp_path / "cache"))
    first, second = Steps(), Steps()
    with ThreadPoolExecutor() as pool:
        other = None

        def advance(stage: str, amount: int) -> None:
            nonlocal other
            first.n += amount
            other = other or pool.submit(ensure_model, second)
            while not second.notes:
                time.sleep(0.001)

        first.advance = advance
        made = ensure_model(first)
        assert other.result() == made
    assert (first.n, second.n) == (2, 0)
    assert second.notes == ["another process trains the demo model; waiting for it"]


def test_a_cache_on_a_file_system_without_locks_gets_the_model_all_the_same(tmp_path, monkeypatch):
    def unsupported(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("curate.demo.train.Schedule", partial(Schedule, n_steps=1))
    monkeypatch.setattr("curate.store.locks.fcntl.flock", unsupported)
    monkeypatch.setenv("CURATE_CACHE", str(tmp_path))
    made = ensure_model()
    assert list(tmp_path.iterdir()) == [made]
    made.rename(tmp_path / "away")
    with pytest.raises(KeyboardInterrupt):
        ensure_model(Steps(stop_at=1))
    assert list(tmp_path.iterdir()) == [tmp_path / "away"]


def test_second_of_two_processes_takes_the_first_ones_model(tmp_path):
    made, place = tmp_path / "made", tmp_path / "place"
    for folder, text in ((made, "second"), (place, "first")):
        folder.mkdir()
        (folder / "config.json").write_text(text)
    demo_model._move_into_place(made, place)
    assert (place / "config.json").read_text() == "first"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_right_answers_are_likelier_than_wrong_ones_to_the_same_question():
    """On the pool, with the model the demo uses, which is trained here unless it is cached."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = ensure_model()
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [row for row in build_pool() if row.duplicate_of is None]
    groups: dict[str, list[PoolRow]] = defaultdict(list)
    for row in rows:
        groups[row.prompt].append(row)
    asked = [group for group in groups.values() if not all(row.is_correct for row in group)][::2]
    score = _mean_logp(model, tokenizer, [row for group in asked for row in group])
    pairs = [
        (right, wrong)
        for group in asked
        for right in group
        for wrong in group
        if right.is_correct and not wrong.is_correct
    ]
    likelier = [score[right.id] > score[wrong.id] for right, wrong in pairs]
    in_style = [
        score[right.id] > score[wrong.id]
        for right, wrong in pairs
        if "off-style" not in (right.style, wrong.style)
    ]
    best = [max(group, key=lambda row: score[row.id]) for group in asked]
    assert sum(likelier) / len(likelier) > 0.6
    assert sum(in_style) / len(in_style) > 0.6
    assert sum(not row.is_correct for row in best) / len(best) < 0.15  # a random pick: above 0.3


def _tensors(lines) -> tuple[torch.Tensor, torch.Tensor]:
    from curate.demo.train import _collate

    return _collate(lines)


def _loss(model, ids: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    return float(
        torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
        )
    )


def _mean_logp(model, tokenizer, rows: list[PoolRow]) -> dict[str, float]:
    """Score one row at a time with full logits, in the chat rendering: slow and plain."""
    scores = {}
    for row in rows:
        lead = tokenizer.apply_chat_template(
            [{"role": "user", "content": row.prompt}], add_generation_prompt=True, tokenize=False
        )
        n_lead = len(tokenizer(lead, add_special_tokens=False)["input_ids"])
        text = f"{lead} {row.response}"
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            logp = torch.log_softmax(model(input_ids=ids).logits[0].double(), dim=-1)
        scores[row.id] = float(logp[n_lead - 1 : -1].gather(1, ids[0, n_lead:, None]).mean())
    return scores
