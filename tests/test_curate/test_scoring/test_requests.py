"""Scorers that read other scores: through the pool, as a user runs them."""

import json
from pathlib import Path

import pytest
from tiny_nli import save_tiny_nli

import curate as cu
from curate.contracts import Need
from curate.contracts.progress import SilentProgress
from curate.errors import (
    ConfigError,
    InterruptedRunError,
    MissingColumnError,
    ModelError,
    ScoreError,
    TooManyFailuresError,
)
from curate.scoring.inputs import Inputs
from curate.scoring.options import ScoringOptions
from curate.scoring.requests import in_waves, make_request, missing_model, roles_of, with_inputs

SHORT = {"max_new_tokens": "5", "k_max": "2", "k": "2", "prompt": "plain"}
DRAWN = {"max_new_tokens": "5", "k": "2", "prompt": "plain"}
INPUTS = ["nli-consistency", "reflection", "samples"]


def write(path, numbers, extra=()):
    rows = [{"prompt": f"what is {n} plus two", "response": f"it is {n + 2}"} for n in numbers]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *extra]))
    return str(path)


@pytest.fixture(scope="module")
def nli(tmp_path_factory):
    return str(save_tiny_nli(tmp_path_factory.mktemp("tiny-nli")))


@pytest.fixture
def pool(tmp_path):
    opened = cu.open(tmp_path / "curate.duckdb", create=True)
    opened.ingest(write(tmp_path / "first.jsonl", range(5)))
    return opened


@pytest.fixture(scope="module")
def scored(tmp_path_factory, roomy_model, nli):
    """A pool with every score, and the report of the run that made them."""
    folder = tmp_path_factory.mktemp("scored")
    opened = cu.open(folder / "curate.duckdb", create=True)
    opened.ingest(write(folder / "first.jsonl", range(5)))
    return opened, score(opened, roomy_model, nli)


def score(pool, model, nli, **settings):
    return pool.score(
        "confidence", model=str(model), model_for={"nli": nli}, settings={**SHORT, **settings}
    )


def hashes(report):
    return {one.alias: one.status.content_hash for one in report.sets}


@pytest.mark.slow
def test_what_a_score_reads_is_computed_first_and_reported_after_it(scored):
    pool, report = scored
    assert [one.alias for one in report.sets] == ["confidence", *INPUTS]
    assert all(one.status.complete and one.n_scored == 5 for one in report.sets)
    tokens = {one.alias: one.status.tokens for one in report.sets}
    assert tokens["confidence"] == 0 and min(tokens[alias] for alias in INPUTS) > 0
    frame = pool.sql(
        'select c.confidence, n.similarity[1] as s1, n.similarity[2] as s2, n."match" as r, f.* '
        'from (select id, confidence from scores) c join (select id, "nli-consistency" as n, '
        "reflection as f from scores) using (id) order by id"
    )
    for row in frame.iter_rows(named=True):
        o = (
            sum(0.8 * s + 0.2 * r for s, r in zip((row["s1"], row["s2"]), row["r"], strict=True))
            / 2
        )
        assert row["confidence"]["confidence"] == pytest.approx(0.7 * o + 0.3 * row["reflection"])


def refuse(*_args, **_options):
    raise AssertionError("a model was loaded")


@pytest.mark.slow
def test_other_weights_and_fewer_samples_run_no_model(scored, roomy_model, nli, monkeypatch):
    pool, report = scored
    before = hashes(report)
    for name in (
        "curate.models.generation.decoding.load_decoder",
        "curate.scorers.nli_consistency.load_nli",
    ):
        monkeypatch.setattr(name, refuse)
    for settings in ({"k": "1"}, {"alpha": "0.5"}, {"beta": "0.1"}):
        report = score(pool, roomy_model, nli, **settings)
        assert [one.n_scored for one in report.sets] == [5, 0, 0, 0]
        after = hashes(report)
        assert after["confidence"] != before["confidence"]
        assert [after[alias] for alias in INPUTS] == [before[alias] for alias in INPUTS]


class Impatient(SilentProgress):
    """Presses Ctrl-C as soon as a shard of the second stage is done."""

    stages = 0

    def start(self, stage, total, unit, done=0):
        self.stages += 1

    def advance(self, stage, amount):
        if self.stages == 2:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_new_rows_alone_are_scored_and_neither_order_nor_interruption_changes_a_number(
    pool, tmp_path, roomy_model, nli
):
    score(pool, roomy_model, nli)
    pool.ingest(write(tmp_path / "second.jsonl", range(5, 12)))
    pool.progress = Impatient()
    with pytest.raises(InterruptedRunError, match="of 8 shards are saved"):
        score(pool, roomy_model, nli)
    pool.progress = SilentProgress()
    report = score(pool, roomy_model, nli)
    assert {one.n_scored for one in report.sets} == {0, 7}
    unbroken = cu.open(tmp_path / "unbroken.duckdb", create=True)
    unbroken.ingest(str(tmp_path / "second.jsonl"), str(tmp_path / "first.jsonl"))
    assert hashes(score(unbroken, roomy_model, nli)) == hashes(report)


@pytest.mark.slow
def test_an_example_whose_input_failed_fails_with_it(pool, tmp_path, roomy_model, nli):
    long = {"prompt": "never seen " * 300, "response": "x"}
    pool.ingest(write(tmp_path / "second.jsonl", [], [long, {"prompt": "a", "response": "b"}]))
    report = pool.score(
        "confidence", model=str(roomy_model), model_for={"nli": nli}, settings=SHORT,
        max_failures="100%",
    )  # fmt: skip
    failed = {one.alias: dict(one.failures) for one in report.sets}
    assert failed["samples"] == failed["reflection"] == {"prompt_exceeds_context": 1}
    assert failed["nli-consistency"] == failed["confidence"] == {"input_failed": 1}
    with pytest.raises(TooManyFailuresError, match="1 of 7 examples failed .1 prompt_exceeds_cont"):
        score(pool, roomy_model, nli).raise_for_failures()


def test_missing_models_are_all_named_with_a_way_out(pool, roomy_model):
    wanted = (
        r"scorer 'confidence' needs a nli model; pass --model-for nli=MODEL .* or take a fallback "
        r"that needs no NLI model.*--set confidence.consistency=likelihood"
    )
    with pytest.raises(ConfigError, match=wanted):
        pool.score("confidence", model=str(roomy_model))
    with pytest.raises(
        ConfigError, match="needs nli and target models; pass --model-for nli=MODEL --model"
    ):
        pool.score("confidence")
    with pytest.raises(
        MissingColumnError,
        match=r"score 'confidence' .* pass --model-for nli=MODEL --model MODEL to compute it here.*"
        r"or take a fallback, which needs no NLI model: --set clear.consistency=likelihood",
    ):
        pool.select("clear", model=str(roomy_model))


def test_what_two_missing_models_have_in_common_is_said_once():
    said = missing_model("instructmining", ScoringOptions({}))
    assert "needs reward and judge models; pass --model-for reward=MODEL --model-for judge=" in said
    assert said.count("rule v3 of instructmining needs") == said.count("nothing is subst") == 1


def test_an_nli_model_with_unknown_labels_stops_everything_before_it_starts(
    pool, roomy_model, tmp_path
):
    odd = str(save_tiny_nli(tmp_path / "odd", ("LABEL_0", "LABEL_1", "LABEL_2")))
    with pytest.raises(ModelError, match="exactly one must be named contradiction"):
        score(pool, roomy_model, odd)
    with pytest.raises(ModelError, match="named contradiction.*--set clear.consistency=likelihood"):
        pool.select("clear", model=str(roomy_model), model_for={"nli": odd})
    assert pool.store.score_sets() == []


def test_stored_scores_serve_where_their_model_is_not_given(pool, roomy_model, nli, scored):
    pool.score("samples", model=str(roomy_model), settings=DRAWN)
    with pytest.raises(ConfigError, match="needs a target model; pass --model MODEL"):
        pool.score("confidence", model_for={"nli": nli}, settings=SHORT)
    pool.score("reflection", model=str(roomy_model))
    report = pool.score("confidence", model_for={"nli": nli}, settings=SHORT)
    assert [one.alias for one in report.sets] == ["confidence", "nli-consistency"]
    assert hashes(report)["confidence"] == hashes(scored[1])["confidence"]


def test_fallbacks_are_other_score_sets(scored, roomy_model):
    pool, full = scored
    cheap = pool.score("confidence", model=str(roomy_model), settings={"consistency": "likelihood"})
    assert [one.alias for one in cheap.sets] == ["confidence", "token-probability", "reflection"]
    assert [one.n_scored for one in cheap.sets] == [5, 5, 0]
    assert full.sets[0].status.set_id != cheap.sets[0].status.set_id
    chosen = pool.select("clear", settings={"consistency": "likelihood"})
    bound = chosen.document["score_sets"]["confidence"]["set_id"]
    assert bound == cheap.sets[0].status.set_id


def test_a_plan_counts_and_times_what_would_be_computed(pool, roomy_model, nli):
    options = {"model": str(roomy_model), "model_for": {"nli": nli}, "settings": SHORT}
    plan = pool.score("confidence", dry_run=True, **options).as_dict()["plan"]
    assert [one["scorers"] for one in plan["passes"]] == ["reflection", "samples", "nli-consistency", "confidence"]  # fmt: skip
    pool.score("confidence", limit=3, **options)
    assert pool.store.score_sets() == []
    pool.score("samples", model=str(roomy_model), settings=DRAWN)
    pool.score("confidence", limit=3, **options)


@pytest.mark.slow
def test_a_selection_can_be_scored_again_elsewhere(scored, tmp_path, roomy_model, nli):
    from curate.api.reproduce import reproduce

    pool, _ = scored
    settings = {f"confidence.{key}": value for key, value in SHORT.items()}
    chosen = pool.select("clear", model=str(roomy_model), model_for={"nli": nli}, settings=settings)
    exported = chosen.export(tmp_path / "subset.jsonl")
    found = reproduce(
        Path(exported["manifest"]), store=None, output=None, rescore=True, workers=1,
        progress=SilentProgress(),
    )  # fmt: skip
    assert found["identical"], found["differences"]


def test_a_method_costs_what_its_scores_read_too(scored):
    from curate.prove.costs import _score_sets

    pool, report = scored
    statuses = {status.set_id: status for status in pool.store.score_sets()}
    selection = {"score_sets": {"confidence": {"set_id": report.sets[0].status.set_id}}}
    found = set(_score_sets(pool.store, selection, statuses))
    assert found == {one.status.set_id for one in report.sets} and len(found) == 4


def request_of(pool, model, nli, name="confidence", **options):
    chosen = ScoringOptions(models={"target": str(model), "nli": nli}, **options)
    return make_request(pool.store, name, name, {}, None, chosen)


def test_requests_come_in_waves_each_score_set_once(pool, roomy_model, nli):
    both = [request_of(pool, roomy_model, nli), request_of(pool, roomy_model, nli, "reflection")]
    flat = with_inputs(both)
    assert [one.alias for one in flat] == ["confidence", "reflection", "nli-consistency", "samples"]
    waves = [[one.alias for one in wave] for wave in in_waves(flat)]
    assert waves == [["reflection", "samples"], ["nli-consistency"], ["confidence"]]
    assert roles_of(both[0].scorer, {}) == ["nli", "target"]


def test_the_targets_adapter_and_revision_are_not_those_of_other_roles(
    pool, roomy_model, nli, tmp_path
):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    request = request_of(pool, roomy_model, nli, adapter=str(adapter))
    adapters = {one.alias: one.model and one.model.adapter for one in with_inputs([request])}
    assert adapters == {
        "confidence": None, "nli-consistency": None, "reflection": str(adapter),
        "samples": str(adapter),
    }  # fmt: skip


def test_a_derived_scorer_cannot_read_the_whole_pool(pool, roomy_model, monkeypatch):
    from curate.scorers.confidence import Confidence

    monkeypatch.setattr(Confidence, "requires", lambda self: {"far": Need("knn")})
    pool.score("embedding", model=str(roomy_model))
    with pytest.raises(ConfigError, match="reads 'knn', which sees the whole pool"):
        pool.score("confidence", model=str(roomy_model))


def test_parts_that_are_missing_or_of_other_examples_are_refused(tmp_path):
    import pyarrow as pa

    from curate.store.parts import part_schema, write_part

    def part(name, *ids):
        schema = part_schema({"x": "float"})
        columns = [
            pa.array(ids, pa.string()),
            pa.array([1.0] * len(ids)),
            pa.nulls(len(ids), pa.string()),
        ]
        write_part(tmp_path / name, pa.Table.from_arrays(columns, schema=schema), {})
        return tmp_path / name

    one, other = part("one.parquet", "a", "b"), part("two.parquet", "a", "c")
    assert Inputs.read({"p": one, "q": one}).take([1])["q.x"].tolist() == [1.0]
    with pytest.raises(ScoreError, match="holds different examples from"):
        Inputs.read({"p": one, "q": other})
    with pytest.raises(ScoreError, match="the scores 'q' of this shard are not at"):
        Inputs.read({"p": one, "q": tmp_path / "none.parquet"})
