"""Ids, keys and relations as version 0.1 wrote them: a store of any age must be found again."""

import json

import pytest

import curate as cu

RELATIONS = {
    "examples": "id n_rows source group_id messages prompt response n_chars",
    "rows": "dataset position id external_id source",
    "score_sets": (
        "set_id alias scorer version config model spec created_at n_examples n_failed tokens wall_s "
        "device content_hash"
    ),
    "scores": "id mtld",
    "vectors": "set_id id vector",
    "failures": "id set_id reason",
    "selections": "selection_id method config budget seed counts created_at manifest",
    "selection_rows": "selection_id id rank gain weight reason",
    "revisions": "id parent_id selection_id confidence",
    "trials": (
        "trial_id selection_id method budget seed model config status created_at tokens wall_s manifest"
    ),
    "trial_evals": "trial_id step tokens target metric value",
    "targets": "name n_rows n_examples n_in_pool n_pool content_hash data created_at",
    "shard_runs": (
        "set_id shard worker device finished_at n_examples n_failed tokens seconds tokens_per_s padding "
        "n_retries peak_mib device_peak_mib"
    ),
}
WEATHER_CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"town": "Bern"}'},
}
CONVERSATIONS = [
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name a colour."},
        {
            "role": "assistant",
            "content": "Red, as a fox in the snow is red, or a barn in the fields.",
        },
    ],
    [
        {"role": "user", "content": "Add 2 and 3."},
        {
            "role": "assistant",
            "content": "Two and three make five, as any child with five fingers can tell you.",
        },
    ],
    [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [WEATHER_CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "12 degrees"},
        {
            "role": "assistant",
            "content": "It is twelve degrees in Bern at the moment, and dry.",
        },
    ],
    [{"role": "user", "content": "Add 2 and 3."}, {"role": "assistant", "content": "5"}],
]
COLOUR, ADD_LONG, WEATHER, ADD_SHORT = (
    "86f6f319beb1343ae2a3e87ee7c52b19", "fa0c895c5e7979fe0db7db93eae54537",
    "b0c98b597e6a717eb157932033ff53a5", "bb8e5ff2569de926fb1ab468d7ce4e79",
)  # fmt: skip


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fixed")
    path = folder / "fixed.jsonl"
    path.write_text("".join(json.dumps({"messages": c}) + "\n" for c in CONVERSATIONS))
    pool = cu.open(folder / "fixed.duckdb", create=True)
    pool.ingest(str(path))
    pool.score("mtld", max_failures="100%")
    return pool


def column(pool, query):
    return pool.sql(query).to_series().to_list()


def test_ids_of_examples_and_groups(pool):
    ids = column(pool, "select id from examples order by n_chars")
    assert set(ids) == {COLOUR, ADD_LONG, WEATHER, ADD_SHORT}
    assert set(column(pool, f"select group_id from examples where id = '{ADD_SHORT}'")) == {
        "d6054538b3b1521e6c3e9cb7a3db35f0"
    }
    assert len(set(column(pool, "select group_id from examples"))) == 3


def test_the_key_of_a_score_set_its_id_and_the_hash_of_its_values(pool):
    [spec] = column(pool, "select spec from score_sets")
    assert json.dumps(json.loads(spec)["key"], sort_keys=True, separators=(",", ":")) == (
        '{"config":{"part":"response","threshold":0.72},"dtype":null,"inputs":{},"max_length":null,'
        '"model":null,"scorer":"mtld","template":null,"tokenizer":null,"version":1}'
    )
    assert column(pool, "select set_id from score_sets") == ["a6b058ccedb55465"]
    assert column(pool, "select content_hash from score_sets") == [
        "6c447739162c2a28f0bcee44c69b5475"
    ]


@pytest.mark.parametrize(
    ("method", "options", "selection_id", "ids"),
    [
        ("random", {"budget": "2", "seed": 7}, "161874d8ff78f918", [COLOUR, ADD_SHORT]),
        ("top-k", {"budget": "2", "rank": "n_chars"}, "e51aa7e357667fa2", [ADD_LONG, COLOUR]),
        (
            "random", {"budget": "50%", "seed": 1, "where": "n_chars > 3"},
            "25bed5a349f06262", [COLOUR, WEATHER],
        ),
    ],
)  # fmt: skip
def test_ids_and_picks_of_selections(pool, method, options, selection_id, ids):
    selection = pool.select(method, **options)
    assert (selection.id, selection.ids) == (selection_id, ids)


@pytest.mark.parametrize("relation", RELATIONS)
def test_columns_of_the_documented_relations(pool, relation):
    assert " ".join(pool.sql(f"select * from {relation} limit 0").columns) == RELATIONS[relation]
