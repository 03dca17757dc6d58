import pytest

from curate.errors import ExampleFailure
from curate.scorers.bsdetector.answers import (
    Answer,
    normalised,
    parse_answer,
    read_answers,
    sentences,
)
from curate.scorers.bsdetector.prompts import (
    LETTERS,
    chosen_letter,
    history_text,
    reasoned_reflection_prompts,
    reflection_prompts,
    sampling_messages,
)


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    ("text", "answer", "parsed"),
    [
        ("explanation: it adds up\nanswer: 4", "4", True),
        ("Explanation: x. ANSWER : [ four ]", "four", True),
        ("answer: (4)\nanswer: 5", "(4)\nanswer: 5", True),
        ("  just four  ", "just four", False),
        ("explanation: no end\nanswer:  ", "explanation: no end\nanswer:", False),
        ("the answers: none", "the answers: none", False),
        ("", "", False),
    ],
)
def test_the_answer_is_what_follows_its_name(text, answer, parsed):
    assert parse_answer(text, "cot") == Answer(answer, parsed)


def test_plain_texts_are_answers_as_they_are():
    assert parse_answer(" answer: 4 ", "plain") == Answer("answer: 4", True)
    assert read_answers('["a", ""]', "plain") == [Answer("a", True), Answer("", True)]


def test_equal_answers():
    assert normalised(" The\n sea. ") == normalised("the SEA") == "the sea"
    assert normalised("3.5") != normalised("35")
    assert normalised(" . ") == ""


def test_sentences_end_at_marks_and_lines():
    assert sentences("Mr. X came.\nHe sat! Why? 3.5 ") == [
        "Mr.",
        "X came.",
        "He sat!",
        "Why?",
        "3.5",
    ]
    assert sentences("no mark") == ["no mark"]


def test_sampling_asks_for_reasons_in_the_last_turn_or_not_at_all():
    history = [user("2+2?"), assistant("4"), user("and {3}+3?")]
    asked = sampling_messages(history, "cot")
    assert asked[:2] == history[:2] and len(asked) == 3
    assert asked[2]["content"].endswith("and {3}+3?") and "answer: [" in asked[2]["content"]
    assert sampling_messages(history, "plain") == history
    after_tool = [*history, {"role": "tool", "content": "6"}]
    assert sampling_messages(after_tool, "cot")[:4] == after_tool


def test_an_example_without_a_prompt_fails():
    for ask in (lambda: sampling_messages([], "cot"), lambda: history_text([])):
        with pytest.raises(ExampleFailure, match="no_prompt"):
            ask()


def test_reflections_share_their_beginning_and_swap_the_meaning_of_two_letters():
    prompts = reflection_prompts([user("2+2?")], assistant("4"))
    assert len(set(prompts)) == 4
    assert all(text.startswith("Question:\n2+2?\n\nProposed answer:\n4\n\n") for text in prompts)
    for number, text in enumerate(prompts):
        correct = LETTERS[number % 2]  # A, B, A, B
        assert f"({correct}) The proposed answer is correct\n" in text
        assert "(C) I am not sure\n" in text
    reasoned = reasoned_reflection_prompts([user("2+2?")], assistant("4"))
    assert len(set(reasoned)) == 2 and all(
        "(A) The proposed answer is correct" in t for t in reasoned
    )


def test_several_turns_are_shown_with_their_roles():
    assert history_text([user("a"), assistant("b"), user("c")]) == "User: a\nAssistant: b\nUser: c"


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("explanation: yes\nanswer: (A)", "A"),
        ("Answer: b", "B"),
        ("answer: [C]. answer: A", "C"),
        ("answer: because", None),
        ("A", None),
        ("", None),
    ],
)
def test_the_letter_follows_the_word_answer(reply, letter):
    assert chosen_letter(reply) == letter
