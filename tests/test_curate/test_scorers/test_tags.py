import json

import pytest
from answering import answering, chat_reply
from stub_decoder import StubDecoder

import curate as cu
from curate.contracts import FAILURE, TOKENS_RUN, Example, LoadContext
from curate.errors import ConfigError
from curate.models.generation.addresses import KEY_VARIABLE
from curate.registry import build
from curate.scorers.common_tags import CommonTags
from curate.scorers.tags import TAGS_OPENING, Tags

EXAMPLES = [
    Example(
        f"{n:032x}",
        ({"role": "user", "content": text}, {"role": "assistant", "content": "blue"}),
    )
    for n, text in enumerate(["name a colour", "write a poem", "say sorry"])
]


def load(model, **settings):
    return Tags(**settings).load(LoadContext("cpu", "float32", str(model)))


def test_a_local_model_is_asked_for_a_line_of_tags(tiny_tokenizer, monkeypatch):
    from transformers import AutoTokenizer

    asked = []

    def reply(text, example, k):
        asked.append(text)
        return ["I am sorry."] if "say sorry" in text else [" Colours, Naming_things"]

    stub = StubDecoder(AutoTokenizer.from_pretrained(tiny_tokenizer), reply)
    monkeypatch.setattr("curate.models.generation.decoding.load_decoder", lambda context: stub)
    found = load("anywhere")(EXAMPLES)
    assert found["tags"].tolist() == ["colours, naming things"] * 2 + [""]
    assert found["n"].tolist() == [2, 2, 0]
    assert list(found[FAILURE]) == [None, None, "no_tags"]
    assert "Instruction:\nname a colour\n\nReply with one line" in asked[0]
    assert asked[0].endswith(f"<|assistant|>{TAGS_OPENING}")


def test_a_model_decodes_greedily_within_its_context(roomy_model):
    whole = load(roomy_model, max_new_tokens=5)
    long = Example("f" * 32, ({"role": "user", "content": "never seen " * 200}, {"role": "assistant", "content": "x"}))  # fmt: skip
    found, again = whole([*EXAMPLES, long]), whole([*EXAMPLES[::-1], long])
    assert found["tags"].tolist()[:3] == again["tags"].tolist()[:3][::-1]
    assert found[FAILURE][3] == "prompt_exceeds_context" and found[TOKENS_RUN][3] == 0
    cost = Tags(max_new_tokens=5).costs(LoadContext("cpu", "float32", str(roomy_model)))
    for example, run in zip(EXAMPLES, found[TOKENS_RUN], strict=False):
        assert run <= cost(example).tokens <= run + 5


def test_a_server_tags_and_common_tags_leaves_out_what_is_rare(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)

    def reply(body):
        assert "logprobs" not in body and body["max_tokens"] == 64
        number = int(body["messages"][0]["content"].split("say ")[1].split()[0])
        return chat_reply(f"tags: number {number}, {'poems' if number % 2 else 'Poem'}")

    rows = [{"prompt": f"say {n} now", "response": "so"} for n in range(5)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(tmp_path / "pool.jsonl"))
    with answering(reply) as server:
        settings = {"server": server.url, "served_model": "tiny"}
        [planned] = pool.score("tags", settings=settings, dry_run=True).as_dict()["plan"]["passes"]
        assert planned["requests"] == 5 and not server.asked
        [tagged] = pool.score("tags", settings=settings).sets
        assert tagged.n_scored == 5 and "server" not in tagged.status.config
    pool.score("common_tags", settings={"min_count": "2"})
    found = pool.sql(
        "select tags.tags as raw, common_tags.tags as tags, common_tags.n as n from scores"
    )
    assert set(found["tags"]) == {"poem"} and set(found["n"]) == {1}
    assert sorted(found["raw"])[:2] == ["number 0, poem", "number 1, poems"]


@pytest.mark.parametrize(
    ("scorer", "settings", "words"),
    [
        (Tags, {"prompt": "Which tags?"}, r"tags.prompt has neither \{instruction\} nor"),
        (Tags, {"prompt": "@/no/such"}, None),
        (Tags, {"max_new_tokens": "0"}, "tags.max_new_tokens must be at least 1, got 0; try 64"),
        (Tags, {"server": "http://localhost/v1"}, "add --set tags.served_model=NAME"),
        (Tags, {"server": "http://8.8.8.8/v1", "served_model": "m"}, "--set tags.remote=true"),
        (CommonTags, {"min_count": "0"}, "common_tags.min_count counts examples from 1, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(scorer, settings, words):
    if words is None:
        with pytest.raises(
            ConfigError, match="tags.prompt names the file '/no/such', which cannot"
        ):
            build(scorer, settings).read_files()
        return
    with pytest.raises(ConfigError, match=words):
        build(scorer, settings)


def test_no_address_no_tags():
    with pytest.raises(ConfigError, match="tags.served_model='tiny' is a server's .*tags.server="):
        Tags(served_model="tiny").load(LoadContext("cpu", "float32"))
