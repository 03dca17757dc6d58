import hashlib
import json

import numpy as np
import pytest
import torch

import curate as cu
from curate.contracts import FAILURE, TOKENS_RUN, Example, LoadContext
from curate.errors import ConfigError, DataError, ModelError
from curate.registry import build
from curate.scorers.judge import LOW_MASS, Judge
from curate.scorers.judging.presets import PRESETS
from curate.scorers.judging.question import OPENING, REPLY
from curate.scoring.options import ScoringOptions
from curate.scoring.requests import request_for

PAIRS = [
    ("name a colour", "blue"),
    ("what is two plus two", "four"),
    ("what is two plus two", "the sea {instruction}"),
    ("write a poem about the sea", "the cat sat on the mat " * 3),
    ("x", ""),
]


def example_of(question, answer, number=0):
    return Example(
        f"{number:032x}",
        ({"role": "user", "content": question}, {"role": "assistant", "content": answer}),
    )


EXAMPLES = [example_of(*pair, n) for n, pair in enumerate(PAIRS)]


def load(model, batch_tokens=None, **settings):
    context = LoadContext("cpu", "float32", str(model), batch_tokens=batch_tokens)
    return Judge(**{"min_mass": 0.0, **settings}).load(context)


def slow(model, tokenizer, text, answers):
    """One whole prompt, and the digits' probabilities by hand."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        probability = model(torch.tensor([ids])).logits[0, -1].double().softmax(-1)
    by_answer = {
        answer: float(sum(probability[i] for i in range(len(tokenizer))
                          if tokenizer.decode([i]).strip() == str(answer)))
        for answer in answers
    }  # fmt: skip
    mass = sum(by_answer.values())
    return sum(answer * p for answer, p in by_answer.items()) / mass, mass, len(ids)


@pytest.fixture(scope="module")
def loaded(roomy_model):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return (
        AutoModelForCausalLM.from_pretrained(roomy_model).eval(),
        AutoTokenizer.from_pretrained(roomy_model),
    )


@pytest.mark.parametrize("preset", ["quality", "complexity", "accuracy"])
def test_the_score_is_the_expected_answer_of_the_whole_prompt(roomy_model, loaded, preset):
    model, tokenizer = loaded
    answers = range(0 if preset == "accuracy" else 1, 6)
    found = load(roomy_model, preset=preset)(EXAMPLES)
    for number, (question, answer) in enumerate(PAIRS):
        text = PRESETS[preset].text.replace("{lowest}", str(answers[0])).replace("{highest}", "5")
        head, _, _ = text.partition("\n\nInstruction:\n")
        shown = f"\n\nInstruction:\n{question}"
        if preset != "complexity":
            shown += f"\n\nResponse:\n{answer}"
        reply = f"\n\nReply with one whole number from {answers[0]} to 5 and nothing else, in this form:\nscore: (number)"
        asked = f"<s><|user|>{head}{shown}{reply}<|end|>\n<|assistant|>score: ("
        score, mass, n_tokens = slow(model, tokenizer, asked, answers)
        assert found["score"][number] == pytest.approx(score, abs=1e-5)
        assert found["mass"][number] == pytest.approx(mass, abs=1e-6)
        assert found[TOKENS_RUN][number] == n_tokens
    assert len(set(found["score"].round(6))) == (4 if preset == "complexity" else 5)


def test_the_prompts_of_deita_are_continued_letter_by_letter(roomy_model, loaded):
    asked = (
        "<s>You are a helpful assistant. Please identify the quality score of the Response corresponding "
        "to the Question. \n #Question#:\nname a colour\n#Response#:\nblue \n##Quality: "
    )
    found = load(roomy_model, preset="deita-quality")(EXAMPLES[:1])
    score, mass, _ = slow(*loaded, asked, range(1, 7))
    assert found["score"][0] == pytest.approx(score, abs=1e-5)
    assert found["mass"][0] == pytest.approx(mass, abs=1e-6)
    query = (
        "<s>You are a helpful assistant. Please identify the complexity score of the following user "
        "query. \n##Query: name a colour  \n##Complexity: "
    )
    found = load(roomy_model, preset="deita-complexity")(EXAMPLES[:1])
    assert found["score"][0] == pytest.approx(slow(*loaded, query, range(1, 7))[0], abs=1e-5)


@pytest.mark.parametrize("batch_tokens", [1, 2000, 20_000])
def test_scores_do_not_depend_on_the_batch(roomy_model, batch_tokens):
    whole = load(roomy_model)(EXAMPLES)
    found = load(roomy_model, batch_tokens)(EXAMPLES)
    np.testing.assert_allclose(found["score"], whole["score"], atol=1e-6)
    again = load(roomy_model, batch_tokens)(EXAMPLES)
    assert found["score"].tobytes() == again["score"].tobytes()


def test_low_mass_is_refused_by_name_and_not_averaged(roomy_model):
    mass = load(roomy_model)(EXAMPLES)["mass"]
    between = float(np.sort(mass)[2:4].mean())
    found = load(roomy_model, min_mass=between)(EXAMPLES)
    assert list(found[FAILURE]) == [LOW_MASS if m < between else None for m in mass]
    assert list(found[FAILURE]).count(LOW_MASS) == 3


def test_a_prompt_beyond_the_context_or_without_a_question_fails_alone(roomy_model):
    long = example_of("never seen " * 200, "x", 9)
    alone = Example("f" * 32, ({"role": "assistant", "content": "blue"},))
    found = load(roomy_model)([EXAMPLES[0], long, alone])
    assert list(found[FAILURE]) == [None, "prompt_exceeds_context", "no_prompt"]


def test_a_prompt_of_ones_own_has_its_fields_filled_once(roomy_model, loaded):
    prompt = "{x} {response} or {instruction}: {lowest} to {highest}"
    found = load(roomy_model, prompt=prompt, scale="3-4", format="text")(EXAMPLES[2:3])
    asked = "<s>{x} the sea {instruction} or what is two plus two: 3 to 4"
    score, mass, _ = slow(*loaded, asked, (3, 4))
    assert found["score"][0] == pytest.approx(score, abs=1e-5)
    assert found["mass"][0] == pytest.approx(mass, abs=1e-6)


def test_a_prompt_from_a_file_is_keyed_by_its_contents(roomy_model, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("Is {response} kind?")
    scorer = Judge(prompt=f"@{file}", min_mass=0)

    def key():
        return request_for(scorer, "judge", str(roomy_model), ScoringOptions(device="cpu")).key

    first, files = key(), scorer.read_files()
    assert files == key().files() and key() == first
    context = LoadContext("cpu", "float32", str(roomy_model), files=files)
    found = scorer.load(context)(EXAMPLES[:1])
    alike = load(roomy_model, prompt="Is {response} kind?")(EXAMPLES[:1])
    assert found["score"].tobytes() == alike["score"].tobytes()
    file.write_text("Is {response} rude?")
    assert key() != first
    with pytest.raises(DataError, match=r"prompt.txt changed after scoring began"):
        scorer.load(context)
    file.write_bytes(b"\xff{response}")
    with pytest.raises(
        DataError, match=r"prompt.txt is not UTF-8 text .*; save the prompt as UTF-8"
    ):
        key()
    file.unlink()
    with pytest.raises(ConfigError, match=r"prompt.txt', which cannot be read: No such file"):
        key()


def test_question_scale_and_format_are_in_the_key(roomy_model):
    def key(**settings):
        options = ScoringOptions(device="cpu")
        return request_for(Judge(**settings), "judge", str(roomy_model), options).key

    keys = {
        key(**settings).set_id
        for settings in (
            {}, {"preset": "accuracy"}, {"scale": "1-7"}, {"min_mass": 0.1}, {"format": "text"},
            {"prompt": "Is {response} kind?"},
        )
    }  # fmt: skip
    assert len(keys) == 6
    assert key().template.startswith("chat@") and key(format="text").template == "text"


def test_a_changed_preset_is_a_new_version():
    """Scores are kept under the preset's name: whoever changes a text raises the version."""
    presets = {name: [p.text, p.scale, p.is_chat] for name, p in PRESETS.items()}
    texts = json.dumps([presets, REPLY, OPENING])
    digest = hashlib.blake2b(texts.encode(), digest_size=8).hexdigest()
    assert (Judge.version, digest) == (1, "2406e5c5181b82de")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scale": "1-10"}, r"judge.scale='1-10' is not a scale; .*single digits .*such as 1-5"),
        ({"scale": "5-1"}, "judge.scale='5-1' is not a scale"),
        ({"scale": "3-3"}, "judge.scale='3-3' is not a scale"),
        ({"prompt": "How good?"}, r"has neither \{instruction\} nor \{response\}.*'How good\?'"),
        ({"prompt": "{response}", "preset": "accuracy"}, "judge.preset=accuracy is given too"),
        ({"min_mass": "1.5"}, r"judge.min_mass is a probability, 0 to 1, got 1.5; try 0.5"),
        ({"preset": "kindness"}, "judge.preset='kindness'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        build(Judge, settings)


def test_a_judge_without_a_chat_template_is_refused(roomy_model, tmp_path):
    import shutil

    folder = tmp_path / "base"
    shutil.copytree(roomy_model, folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="has no chat template.*--set judge.format=text"):
        load(folder)
    assert load(folder, format="text")(EXAMPLES)["score"].all()


def test_its_cost_is_in_the_plan_and_is_what_it_runs(roomy_model, tmp_path):
    rows = [{"prompt": q, "response": a} for q, a in PAIRS[:4]]
    rows.append({"prompt": "never seen " * 200, "response": "x"})
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(tmp_path / "pool.jsonl"))
    run = {"model_for": {"judge": str(roomy_model)}, "settings": {"min_mass": "0"}}
    plan = pool.score("judge", **run, dry_run=True).as_dict()["plan"]
    [planned] = plan["passes"]
    assert planned["reasons"] == {"prompt_exceeds_context": 1} and planned["requests"] == 0
    report = pool.score("judge", **run, max_failures="1")
    [scored] = report.sets
    assert scored.status.tokens == planned["tokens"] == plan["tokens"] > 1000
    assert scored.failures == {"prompt_exceeds_context": 1}
    assert pool.score("judge", **run, max_failures="1").sets[0].n_scored == 0
