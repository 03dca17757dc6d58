"""Samples from a server: against a tiny one in a thread, which answers as it is told."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import curate as cu
from curate.contracts import FAILURE, TOKENS_RUN, Example, LoadContext
from curate.errors import ConfigError, ExampleFailure, ModelError
from curate.models.generation import endpoint
from curate.models.generation import server as module
from curate.models.generation.addresses import KEY_VARIABLE, check_address
from curate.models.generation.server import Asked, CompletionServer
from curate.models.text.chat_options import ChatOptions
from curate.registry import build
from curate.scorers.samples import Samples

EXAMPLES = [
    Example(
        f"{n:032x}",
        ({"role": "user", "content": f"say {n}"}, {"role": "assistant", "content": "blue"}),
    )
    for n in range(3)
]


class Server(ThreadingHTTPServer):
    """Keeps what it was asked; ``faults`` are statuses of the next replies, or texts in their place."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.keys, self.faults, self.models = [], [], [], ["tiny"]
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""

    def do_GET(self):
        if self.server.models is None:
            return self.send(404, {"error": {"message": "no such page"}})
        return self.send(200, {"data": [{"id": name} for name in self.server.models]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append((self.path, body))
            self.server.keys.append(self.headers.get("Authorization"))
            fault = self.server.faults.pop(0) if self.server.faults else None
        if isinstance(fault, int):
            return self.send(fault, {"error": {"message": f"fault {fault}"}})
        if fault is not None:
            return self.send(200, fault)
        prompt = body.get("prompt") or body["messages"][-1]["content"]
        said = f"{prompt} / {body['seed'] % 1000}"
        chat = self.path.endswith("chat/completions")
        choice = {"message": {"content": said}} if chat else {"text": said}
        choice["finish_reason"] = "length" if "2" in prompt else "stop"
        usage = {"prompt_tokens": 7, "completion_tokens": 3}
        return self.send(200, {"choices": [choice], "usage": usage})

    def send(self, status, body):
        text = body if isinstance(body, str) else json.dumps(body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def samples(server, model="tiny", **settings):
    settings = {"k": 2, "prompt": "plain", "max_new_tokens": 9, **settings}
    return Samples(server=server.url, served_model=model, **settings)


def load(server, **settings):
    return samples(server, **settings).load(LoadContext("cpu", "float32", "nowhere"))


def client(server, **settings):
    return CompletionServer(server.url, "tiny", 9, 1.0, **{"wait_s": 0.001, **settings})


def test_every_example_has_its_samples_whatever_the_order_of_the_replies(server):
    found = load(server)(EXAMPLES)
    texts = [json.loads(text) for text in found["texts"]]
    for n, row in enumerate(texts):
        assert [text.split(" / ")[0] for text in row] == [f"say {n}"] * 2
        assert row[0] != row[1], "every sample has a seed of its own"
    assert [one.tolist() for one in found["n_tokens"]] == [[3, 3]] * 3
    assert found["n_capped"].tolist() == [0, 0, 2]
    assert found[TOKENS_RUN].tolist() == [13] * 3
    assert list(found[FAILURE]) == [None] * 3
    again = load(server)(EXAMPLES[1:])
    assert again["texts"].tolist() == found["texts"].tolist()[1:], "seeds follow from the ids"


def test_it_is_asked_for_the_distribution_of_the_model_itself(server):
    load(server, temperature=0.5)(EXAMPLES[:1])
    path, body = server.asked[0]
    assert path == "/v1/chat/completions"
    assert body["messages"] == [{"role": "user", "content": "say 0"}]
    wanted = {"model": "tiny", "temperature": 0.5, "max_tokens": 9, "n": 1, "top_p": 1}
    assert {key: body[key] for key in wanted} == wanted
    assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (-1, 0, 1)
    assert len({body["seed"] for _, body in server.asked}) == 2
    assert all(0 <= body["seed"] < 2**31 for _, body in server.asked)


def test_a_text_template_is_continued(server, tiny_model):
    score = samples(server, template="plain").load(LoadContext("cpu", "float32", str(tiny_model)))
    score(EXAMPLES[:1])
    path, body = server.asked[0]
    assert path == "/v1/completions" and "messages" not in body
    assert body["prompt"].startswith("say 0")


def test_what_the_template_is_told_reaches_the_server_and_its_own_template_stays(server):
    def context(**chosen):
        return LoadContext("cpu", "float32", "nowhere", chat=ChatOptions(**chosen))

    thoughtful = {"role": "assistant", "content": "a", "reasoning_content": "hm"}
    asked = Example("0" * 32, (EXAMPLES[0].messages[0], thoughtful, *EXAMPLES[0].messages))
    given = context(reasoning="drop", arguments='{"enable_thinking": false}')
    samples(server).load(given)([asked])
    body = server.asked[0][1]
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert [one.get("reasoning_content") for one in body["messages"]] == [None] * 3
    load(server)([asked])
    assert "chat_template_kwargs" not in server.asked[-1][1]
    assert server.asked[-1][1]["messages"][1]["reasoning_content"] == "hm"
    for chosen, words in (
        (
            {"template": "{{ x }}"},
            "start it with the template you want .*leave out --chat-template",
        ),
        ({"reasoning": "inline"}, "cannot be put inline here; use --reasoning drop"),
    ):
        with pytest.raises(ConfigError, match=words):
            samples(server).load(context(**chosen))


def test_a_key_comes_from_the_environment_and_goes_nowhere_else(server, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    score = load(server)
    assert set(server.keys) <= {"Bearer secret"}
    score(EXAMPLES[:1])
    assert set(server.keys) == {"Bearer secret"}
    assert "secret" not in repr(samples(server))


def test_a_busy_server_is_asked_again_and_others_are_not_bothered(server):
    server.faults = [503, 429, 500]
    found = client(server).answers([Asked("x 1", 1), Asked("x 3", 2)])
    assert [one.text for one in found] == ["x 1 / 1", "x 3 / 2"]
    assert len(server.asked) == 5


def test_what_the_server_refuses_is_a_failure_of_that_example(server, monkeypatch):
    monkeypatch.setattr(endpoint, "CONCURRENT", 1)
    server.faults = [400]
    found = load(server)(EXAMPLES)
    assert list(found[FAILURE]) == ["server_refused: 400 fault 400", None, None]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (503, r"refuses requests: 503 fault 503; look at its log, and run the same command again"),
        (404, r"refuses requests: 404 fault 404; check the address, which usually ends in /v1"),
        (307, r"refuses requests: 307 fault 307"),
        (401, r"401 fault 401; set the environment variable CURATE_SERVER_KEY to its key"),
        ({"choices": []}, r"answered without choices: \{\"choices\": \[\]\}"),
        ({"object": "error"}, r"answered without choices: .*interface of OpenAI"),
        ("<html>", r"does not answer in JSON: '<html>'; give the address of its OpenAI-compatible"),
    ],
)
def test_what_ends_the_run_is_said(server, fault, words):
    server.faults = [fault] * 5
    with pytest.raises(ModelError, match=words):
        client(server).answers([Asked("x", 1)])


def test_a_server_that_refuses_everything_is_no_failure_of_the_examples(server, monkeypatch):
    monkeypatch.setattr(module, "SYSTEMATIC", 3)
    server.faults = [422] * 3
    with pytest.raises(ModelError, match=r"refuses every one of 3 requests: .*422 fault 422; look"):
        client(server).answers([Asked(f"x {n}", n) for n in range(3)])
    server.faults = [422] * 2
    found = client(server).answers([Asked(f"x {n}", n) for n in range(3)])
    assert sum(isinstance(one, ExampleFailure) for one in found) == 2


def test_a_server_that_is_not_there_or_lacks_the_model_is_found_out_first(server, monkeypatch):
    with pytest.raises(ModelError, match="has no model 'other'; it serves: tiny; pass one of them"):
        load(server, model="other")
    server.models = None
    load(server)  # it lists none, so it is asked
    monkeypatch.setattr(endpoint, "LOOK_S", 0.5)
    gone = Samples(server="http://127.0.0.1:9/v1", served_model="tiny")
    with pytest.raises(
        ModelError, match=r"at http://127.0.0.1:9/v1 cannot be reached \(.*vllm serve tiny"
    ):
        gone.load(LoadContext("cpu", "float32", "nowhere"))


def test_a_server_that_goes_away_ends_the_run(server):
    made = client(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(ModelError, match="cannot be reached .*what is finished is kept"):
        made.answers([Asked("x", n) for n in range(50)])


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            "127.0.0.1:8000",
            "samples.server='127.0.0.1:8000' is not an address; give one such as http:",
        ),
        (
            "https://api.example.com/v1",
            "is not on this machine or its private network.*ssh -L 8000",
        ),
        ("http://8.8.8.8/v1", "is not on this machine"),
        ("http://me:word@localhost/v1", "holds a user name or a query, which would be stored"),
    ],
)
def test_other_addresses_are_refused(url, words):
    with pytest.raises(ConfigError, match=words) as refusal:
        Samples(server=url, served_model="tiny")
    assert "word" not in str(refusal.value).replace("password", "")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "10.1.2.3", "[::1]", "gpu3", "a.local"])
def test_addresses_of_this_machine_and_its_network_are_taken(host):
    check_address("samples.server", f"http://{host}:8000/v1", "tiny")


def test_server_and_name_belong_together(server):
    with pytest.raises(
        ConfigError, match=r"add --set samples.served_model=NAME \(curl .*/v1/models"
    ):
        build(Samples, {"server": server.url})
    with pytest.raises(ConfigError, match="names a server's model, but no server is given"):
        build(Samples, {"served_model": "tiny"})
    from curate.scorers.confidence import Confidence

    with pytest.raises(ConfigError, match="consistency=likelihood reads none"):
        Confidence("likelihood", server=server.url, served_model="tiny")


def test_the_confidence_reads_them_and_its_key_says_so(server, tmp_path, roomy_model):
    from tiny_nli import save_tiny_nli

    rows = [{"prompt": f"what is {n}", "response": f"it is {n}"} for n in range(4)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(tmp_path / "pool.jsonl"))
    settings = {"k": "2", "k_max": "2", "prompt": "plain", "max_new_tokens": "9",
                "server": server.url, "served_model": "tiny"}  # fmt: skip
    report = pool.score(
        "confidence", model=str(roomy_model), settings=settings,
        model_for={"nli": str(save_tiny_nli(tmp_path / "nli"))},
    )  # fmt: skip
    sets = {one.alias: one.status for one in report.sets}
    assert sets["samples"].config["server"] == server.url
    assert sets["samples"].config["served_model"] == "tiny"
    assert sets["samples"].tokens == 4 * 13 and sets["confidence"].n_failed == 0
    texts = pool.sql(f"select texts from score_set('{sets['samples'].set_id}')")["texts"]
    assert all(len(json.loads(text)) == 2 for text in texts)
    assert len(server.asked) == 8


def test_an_example_without_a_prompt_asks_nothing(server):
    alone = Example("f" * 32, ({"role": "assistant", "content": "blue"},))
    found = load(server)([alone, EXAMPLES[0]])
    assert list(found[FAILURE]) == ["no_prompt", None]
    assert found["n_tokens"][0].dtype == np.int32 and len(server.asked) == 2
