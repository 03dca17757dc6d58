import pytest
from answering import answering, chat_reply

from curate.errors import ExampleFailure, ModelError
from curate.models.generation.endpoint import Endpoint
from curate.models.generation.short_answers import Place, ShortAnswer, ShortAnswers

FOUR = {"4": -0.1, "5": -2.5}


@pytest.fixture
def server():
    with answering(lambda body: chat_reply("4", [("4", FOUR)])) as made:
        yield made


def ask(server, n=1, *, is_chat=True):
    client = ShortAnswers(Endpoint(server.url, "tiny", wait_s=0.001), 9, is_chat=is_chat)
    return client.ask([f"rate {number}" for number in range(n)])


def test_a_chat_is_asked_for_greedy_answers_with_alternatives(server):
    assert ask(server) == [ShortAnswer("4", (Place("4", FOUR),), 54)]
    assert server.asked == [("/v1/chat/completions", {
        "model": "tiny", "max_tokens": 9, "stream": False, "temperature": 0,
        "messages": [{"role": "user", "content": "rate 0"}], "logprobs": True, "top_logprobs": 20,
    })]  # fmt: skip


def test_a_text_is_continued(server):
    listed = {"tokens": ["4", "\n"], "token_logprobs": [-0.1, -0.2], "top_logprobs": [FOUR, None]}
    server.reply = lambda body: {"choices": [{"text": "4\n", "logprobs": listed}]}
    assert ask(server, is_chat=False) == [
        ShortAnswer("4\n", (Place("4", FOUR), Place("\n", {})), 0)
    ]
    path, body = server.asked[0]
    assert path == "/v1/completions" and (body["prompt"], body["logprobs"]) == ("rate 0", 20)


def test_what_a_server_does_not_take_is_left_out_once_it_says_so(server):
    def picky(body):
        if body.get("top_logprobs", 0) > 5:
            words = "top_logprobs must be at most 5"
        elif "logprobs" in body:
            words = "this model has no logprobs"
        elif "temperature" in body:
            words = "Unsupported value: 'temperature'"
        elif "max_tokens" in body:
            words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        else:
            return chat_reply("4")
        return 400, words

    server.reply = picky
    client = ShortAnswers(Endpoint(server.url, "tiny"), 9, is_chat=True)
    assert client.ask(["a"]) == [ShortAnswer("4", (), 54)]
    assert len(server.asked) == 5
    assert set(server.asked[-1][1]) == {"model", "max_completion_tokens", "stream", "messages"}
    client.ask(["b", "c"])
    assert len(server.asked) == 7, "what it takes is known by now"


QUOTED = "the prompt cannot be read: 'Is the temperature of {} fit? Are logprobs and max_tokens?'"
TOO_LONG = "'max_tokens' or 'max_completion_tokens' is too large: 9. You have 4,090 input tokens"


@pytest.mark.parametrize(
    ("refusal", "without"),
    [
        ((400, QUOTED.format("tea")), None),
        ((400, "'temperature' is not supported here", "messages"), None),
        ((400, TOO_LONG), None),
        ((400, TOO_LONG, "max_tokens"), None),
        ((400, "context_length_exceeded: temperature. " * 3), None),
        ((400, "Unsupported value: 'temperature' does not support 0 with this model."), "temperature"),
        ((400, "it cannot be so", "temperature"), "temperature"),
        ((422, "`temperature` must be strictly positive"), "temperature"),
        ((400, "Unrecognized request argument supplied: top_logprobs"), "top_logprobs"),
        ((400, "Requested sample logprobs of 20, which is greater than max allowed: 5"), "20"),
        ((400, "no", "top_logprobs"), "20"),
        ((400, "Unsupported parameter: 'max_tokens' is not supported", "max_tokens"), "max_tokens"),
        ((400, "'max_tokens' is deprecated: use 'max_completion_tokens'"), "max_tokens"),
    ],
)  # fmt: skip
def test_only_a_refusal_of_a_parameter_leaves_it_out(server, refusal, without):
    server.faults = [refusal]
    [answer] = ask(server)
    if without is None:
        assert isinstance(answer, ExampleFailure) and len(server.asked) == 1
        return
    assert isinstance(answer, ShortAnswer) and len(server.asked) == 2
    first, then = (body for _, body in server.asked)
    changed = {name for name in first if first[name] != then.get(name)}
    assert changed == {"top_logprobs" if without == "20" else without}


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (chat_reply(None, finish_reason="content_filter"), "declined"),
        (
            chat_reply(None, message={"content": None, "refusal": "I cannot judge this."}),
            "declined",
        ),
        (400, "server_refused: 400 fault 400 for None"),
    ],
)
def test_a_refusal_is_a_failure_of_that_example(server, reply, found):
    server.reply = lambda body: reply
    [failure] = ask(server)
    assert isinstance(failure, ExampleFailure) and failure.reason == found


@pytest.mark.parametrize(
    "logprobs", [{"content": None}, {"content": [{}]}, {"tokens": 3}, "x", None]
)
def test_probabilities_in_another_form_are_none(server, logprobs):
    server.reply = lambda body: chat_reply("4", logprobs=logprobs)
    assert ask(server) == [ShortAnswer("4", (), 54)]


def test_something_other_than_a_completion_ends_the_run(server):
    server.reply = lambda body: {"object": "list"}
    with pytest.raises(ModelError, match="answered without choices"):
        ask(server)
    server.reply = lambda body: 422
    with pytest.raises(ModelError, match="refuses every one of 16 requests: server_refused: 422"):
        ask(server, 16)
