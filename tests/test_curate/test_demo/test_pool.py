import hashlib
import json
import re
from collections import Counter, defaultdict

import pytest

from curate.demo.pool import RESPONDERS, build_pool, build_test_split, write_pool, write_test_split
from curate.demo.skills import SKILLS, extract_answer, is_correct
from curate.errors import ConfigError

ROWS = build_pool()
BY_ID = {row.id: row for row in ROWS}
POOL_SHA256 = "c57eaf2da237ab29fc5e66278478983d36d927cbf63ec8fb839a26e8ce93d3dd"


def solve(prompt: str) -> str:
    """Answer a question of the demo by reading it: knows nothing of how it was drawn."""
    prompt = " ".join(prompt.removeprefix("Task: ").split())
    numbers = [int(text) for text in re.findall(r"\d+", prompt)]
    words = prompt.partition(": ")[2].split()
    items = prompt.partition(": ")[2].split(", ")
    if prompt.startswith("Add") or " plus " in prompt:
        return str(sum(numbers))
    if "comes after" in prompt or "further than" in prompt:
        return str(numbers[0] + 1)
    if "larger" in prompt:
        return str(max(numbers))
    if prompt.startswith(("Repeat", "Write again")):
        return " ".join(words)
    if "capitals" in prompt or "upper case" in prompt:
        return " ".join(words).upper()
    if prompt.startswith(("How many", "Count")):
        return str(len(words))
    if "first" in prompt:
        return items[0]
    if "last" in prompt:
        return items[-1]
    if prompt.startswith(("Reverse", "Write this list backwards")):
        return ", ".join(reversed(items))
    label = re.search(r"row (\d)|(\w+day)", prompt)[0].removeprefix("row ")
    rows = dict(item.split() for item in items)
    return rows[label]


def test_every_answer_is_what_the_question_asks_for():
    for row in ROWS:
        assert row.answer == solve(row.prompt), row
    for row in build_test_split():
        assert row["answer"] == solve(row["prompt"])
        assert is_correct(row["skill"], row["response"], row["answer"])


def test_rows_say_truly_whether_they_are_correct():
    for row in ROWS:
        assert is_correct(row.skill, row.response, row.answer) == row.is_correct
        words = re.sub(r"[^\w ]", " ", row.response).split()
        said = re.sub(r"[^\w ]", " ", solve(row.prompt)).split()
        holds = any(words[i : i + len(said)] == said for i in range(len(words)))
        assert holds == row.is_correct, row


def test_one_answer_in_five_is_wrong_each_responder_in_its_own_measure():
    wrong = Counter(row.responder for row in ROWS if not row.is_correct)
    total = Counter(row.responder for row in ROWS)
    assert abs(sum(wrong.values()) / len(ROWS) - 0.20) < 0.001
    for responder in RESPONDERS:
        share = wrong[responder.name] / total[responder.name]
        assert abs(share - responder.wrong_share) < 0.002, responder


def test_every_skill_has_as_many_tasks_as_any_other_and_four_responses_to_each():
    originals = [row for row in ROWS if row.duplicate_of is None]
    assert Counter(row.skill for row in originals) == dict.fromkeys(SKILLS, 64 * 4)
    responders = defaultdict(list)
    for row in originals:
        responders[row.prompt].append(row.responder)
    names = sorted(responder.name for responder in RESPONDERS)
    assert all(sorted(found) == names for found in responders.values())
    assert len(SKILLS) >= 8
    assert {row.source for row in ROWS} == {"arithmetic", "text", "list", "lookup"}


def test_pool_holds_more_than_3000_distinct_examples():
    assert len(ROWS) == 11 * 64 * 4 + 64 * 4 + 64
    assert len({(row.prompt, row.response) for row in ROWS}) == len(ROWS) - 64


def test_repeats_come_after_what_they_repeat():
    near = [row for row in ROWS if row.is_near_duplicate]
    exact = [row for row in ROWS if row.duplicate_of and not row.is_near_duplicate]
    assert (len(near), len(exact)) == (64 * 4, 64)
    for row in near + exact:
        original = BY_ID[row.duplicate_of]
        assert original.id < row.id
        assert original.duplicate_of is None
        assert original.response == row.response
    assert all(BY_ID[row.duplicate_of].prompt == row.prompt for row in exact)


def test_near_duplicates_ask_for_the_same_with_every_number_kept():
    for row in ROWS:
        if row.is_near_duplicate:
            original = BY_ID[row.duplicate_of]
            assert original.prompt != row.prompt
            assert sorted(re.findall(r"\d+", original.prompt)) == sorted(
                re.findall(r"\d+", row.prompt)
            )
            assert solve(original.prompt) == solve(row.prompt)


def test_only_the_chatty_responder_is_off_style():
    assert {row.responder for row in ROWS if row.style == "off-style"} == {"chatty"}
    plain = [len(row.response) for row in ROWS if row.style == "plain"]
    chatty = [len(row.response) for row in ROWS if row.style == "off-style"]
    assert min(chatty) > 2 * sum(plain) / len(plain)


def test_test_split_asks_nothing_the_pool_asks():
    test = build_test_split()
    assert Counter(row["skill"] for row in test) == dict.fromkeys(SKILLS, 20)
    assert not {row["prompt"] for row in test} & {row.prompt for row in ROWS}


def test_pool_of_a_seed_is_the_same_bytes_everywhere(tmp_path):
    rows = write_pool(tmp_path / "pool.jsonl")
    test = write_test_split(tmp_path / "test.jsonl")
    text = (tmp_path / "pool.jsonl").read_bytes()
    lines = [json.loads(line) for line in text.decode().splitlines()]
    assert [line["id"] for line in lines] == [row.id for row in rows]
    assert len((tmp_path / "test.jsonl").read_bytes().splitlines()) == len(test)
    assert hashlib.sha256(text).hexdigest() == POOL_SHA256
    assert write_pool(tmp_path / "other.jsonl", seed=1) != rows


@pytest.mark.parametrize(
    ("skill", "response", "answer"),
    [
        ("add", "The sum is 8.", "8"),
        ("add", "It is 08.", "8"),
        ("add", "8", "8"),
        ("reverse", "Sure!! The reversed list is owl, pen. Bye.", "owl, pen"),
        ("reverse", "owl,pen", "owl, pen"),
        ("row", "It is owl.", "owl"),
    ],
)
def test_right_answers_in_any_wording_are_correct(skill, response, answer):
    assert is_correct(skill, response, answer)


@pytest.mark.parametrize(
    ("skill", "response", "answer"),
    [
        ("add", "The sum is 18.", "8"),
        ("add", "The sum is eight.", "8"),
        ("add", "", "8"),
        ("reverse", "The reversed list is pen, owl.", "owl, pen"),
        ("capitals", "It is owl.", "OWL"),
        ("copy", "owl", "owl pen"),
    ],
)
def test_wrong_answers_are_not(skill, response, answer):
    assert not is_correct(skill, response, answer)


def test_unknown_skill_is_one_clear_error():
    with pytest.raises(ConfigError, match=r"no skill 'poetry' in the demo; choose one of: add, "):
        extract_answer("poetry", "roses are red")
