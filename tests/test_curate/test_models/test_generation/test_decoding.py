from dataclasses import replace

import numpy as np
import pytest
import torch
from drawing import WORD, slow_draw

from curate.contracts import LoadContext
from curate.errors import ModelError
from curate.models.generation.decoding import Sampling, load_decoder
from curate.models.generation.gumbel import sample_key

SAMPLED = Sampling(k=3, max_new_tokens=12, temperature=1.0, seed=0)
RNG = np.random.default_rng(0)
PROMPTS = [RNG.integers(6, 320, size=n).tolist() for n in (5, 17, 3, 17, 9, 30, 1, 4, 22)]
IDS = [f"{n:032x}" for n in range(len(PROMPTS))]


@pytest.fixture(scope="module")
def decoder(tiny_model):
    return load_decoder(LoadContext("cpu", "float32", str(tiny_model)))


@pytest.fixture(scope="module")
def library_model(tiny_model):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model).eval()


def texts(drawn):
    return [[one.text for one in answers] for answers in drawn]


def slow_answers(model, tokenizer, prompt, example_id, drawing):
    """No batch, no cache: the whole text runs again for every token."""
    answers = []
    for sample in range(drawing.k):
        ids = list(prompt)
        for step in range(drawing.max_new_tokens):
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1]
            key = sample_key(drawing.seed, example_id, sample) & WORD
            drawn = drawing.temperature > 0
            token = slow_draw(logits, key, step, drawing.temperature) if drawn else logits.argmax()
            ids.append(int(token))
            if token == tokenizer.eos_token_id:
                break
        answers.append(tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True))
    return answers


@pytest.mark.parametrize("drawing", [SAMPLED, replace(SAMPLED, k=1, temperature=0.0)])
def test_answers_are_those_of_one_prompt_at_a_time_without_a_cache(decoder, library_model, drawing):
    found = texts(decoder.draw(PROMPTS[:5], IDS[:5], drawing))
    for prompt, example_id, answers in zip(PROMPTS, IDS, found, strict=False):
        slow = slow_answers(library_model, decoder.tokenizer, prompt, example_id, drawing)
        assert answers == slow


def test_answers_do_not_depend_on_the_batch(decoder):
    whole = decoder.draw(PROMPTS, IDS, SAMPLED)
    for batch_tokens in (1, 7 * 3, 64 * 3):
        small = replace(decoder, batch_tokens=batch_tokens)
        assert small.draw(PROMPTS, IDS, SAMPLED) == whole
    backwards = decoder.draw(PROMPTS[::-1], IDS[::-1], SAMPLED)
    assert backwards[::-1] == whole


def test_fewer_answers_are_the_first_of_more_and_a_seed_draws_others(decoder):
    five = decoder.draw(PROMPTS, IDS, replace(SAMPLED, k=5))
    assert [answers[:3] for answers in five] == decoder.draw(PROMPTS, IDS, SAMPLED)
    other = texts(decoder.draw(PROMPTS, IDS, replace(SAMPLED, seed=1)))
    assert sum(a != b for a, b in zip(other, texts(five), strict=True)) == len(PROMPTS)
    assert all(len(set(answers)) > 1 for answers in texts(five))


def counted(decoder, monkeypatch):
    """Count the tokens that run through the model, padding left out of account."""
    seen = []
    forward = decoder.backbone.forward

    def counting(*args, **options):
        new = options["input_ids"].shape[1]
        seen.append(int(options["attention_mask"][:, -new:].sum()))
        return forward(*args, **options)

    monkeypatch.setattr(decoder.backbone, "forward", counting)
    return seen


def test_a_prompt_runs_once_for_all_its_answers(decoder, monkeypatch):
    seen = counted(decoder, monkeypatch)
    one = replace(decoder, batch_tokens=10_000)
    drawn = one.draw(PROMPTS, IDS, replace(SAMPLED, k=5))
    assert seen[0] == sum(len(prompt) for prompt in PROMPTS)
    fed = sum(answer.n_tokens - 1 for answers in drawn for answer in answers)
    assert sum(seen[1:]) == fed  # an answer's last token is never fed back


def test_what_prompts_share_runs_once_and_changes_no_choice(decoder, library_model, monkeypatch):
    shared = [prompt * 2 for prompt in PROMPTS[:5]]
    rows = [[[*head, *tail] for tail in ([7, 8], [9], [7, 10, 11, 12])] for head in shared]
    tokens = [3, 50, 319]
    seen = counted(decoder, monkeypatch)
    found = replace(decoder, batch_tokens=10_000).choices(rows, IDS[:5], tokens)
    expected = [sum(map(len, shared)), 5 * (2 + 1 + 4)]
    assert seen == expected
    assert sum(decoder.tokens_run(row) for row in rows) == sum(expected)
    for row, values in zip(rows, found, strict=True):
        for prompt, log_probs in zip(row, values, strict=True):
            with torch.no_grad():
                logits = library_model(torch.tensor([prompt])).logits[0, -1]
            wanted = logits.double().log_softmax(-1)[tokens].numpy()
            np.testing.assert_allclose(log_probs, wanted, atol=1e-5)


def test_choices_do_not_depend_on_the_batch(decoder):
    rows = [[[*prompt, 5, 6], [*prompt, 7]] for prompt in PROMPTS]
    whole = decoder.choices(rows, IDS, [1, 2])
    for batch_tokens in (1, 70, 640):
        found = replace(decoder, batch_tokens=batch_tokens).choices(rows, IDS, [1, 2])
        np.testing.assert_allclose(found, whole, atol=1e-5)


def test_an_answer_ends_at_the_cap_or_with_the_context(decoder):
    endless = replace(decoder, ends=frozenset())
    drawn = endless.draw([[9] * 60, [9] * 10], IDS[:2], replace(SAMPLED, max_new_tokens=20))
    assert [[one.n_tokens for one in answers] for answers in drawn] == [[4] * 3, [20] * 3]
    assert not any(one.ended for answers in drawn for one in answers)


def test_an_answer_may_be_empty(decoder):
    mute = replace(decoder, ends=frozenset(range(320)))
    for answers in mute.draw(PROMPTS, IDS, SAMPLED):
        assert [(one.text, one.n_tokens, one.ended) for one in answers] == [("", 1, True)] * 3


def test_a_batch_beyond_the_memory_is_halved_and_a_row_beyond_it_is_none(decoder, monkeypatch):
    whole = decoder.draw(PROMPTS, IDS, SAMPLED)
    run = type(decoder).run

    def limited(self, ids, mask, cache):
        if mask.shape[1] > 36 or mask.numel() > 150:  # the longest prompt reaches 37 by itself
            raise MemoryError
        return run(self, ids, mask, cache)

    monkeypatch.setattr(type(decoder), "run", limited)
    found = decoder.draw(PROMPTS, IDS, SAMPLED)
    assert found[5] is None
    assert [a for n, a in enumerate(found) if n != 5] == [a for n, a in enumerate(whole) if n != 5]


def test_a_model_whose_past_cannot_be_shared_is_refused(decoder, monkeypatch):
    run = type(decoder).run
    monkeypatch.setattr(
        type(decoder), "run", lambda self, *rest: (run(self, *rest)[0], (None, None))
    )
    with pytest.raises(ModelError, match="keeps its past as tuple, which cannot be shared"):
        decoder.draw(PROMPTS, IDS, SAMPLED)


def test_ends_of_the_generation_settings_count_and_its_sampling_does_not(tiny_model, tmp_path):
    import json
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    settings = {"eos_token_id": [1, 5], "do_sample": True, "temperature": 0.01, "top_k": 1}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    own = load_decoder(LoadContext("cpu", "float32", str(folder)))
    plain = load_decoder(LoadContext("cpu", "float32", str(tiny_model)))
    assert own.ends == {1, 5} and plain.ends == {1}
    same = replace(own, ends=plain.ends)
    assert same.draw(PROMPTS, IDS, SAMPLED) == plain.draw(PROMPTS, IDS, SAMPLED)
