"""Auto-Correct on a tiny model, with a writer and a judge made up where answers must be known."""

import json
from pathlib import Path

import pytest
from stub_decoder import StubDecoder

import curate as cu
from curate.errors import ConfigError
from curate.models.load import load_tokenizer
from curate.models.text.prompts import Prompter
from curate.scorers.bsdetector.letters import letter_tokens
from curate.select.procedures.correct import candidates, parts
from curate.select.procedures.correct import judge as judging
from curate.select.procedures.correct.candidates import Answerer
from curate.select.procedures.correct.judge import LoadedJudge

pytestmark = pytest.mark.slow

SETTINGS = {"consistency": "likelihood", "epochs": "1", "lr": "1e-3", "max_new_tokens": "4"}


def reply(prompt, example, k):
    """Write a better answer for two prompts of three, and nothing for the third."""
    number = int(prompt.split("name ")[1].split()[0])
    return ["" if number % 3 == 0 else f"better {number}"]


def letter(text):
    """Find a better response better, but not that to every second question."""
    number = int(text.split("name ")[1].split()[0])
    share = 0.97 if number % 2 else 0.7
    if "Proposed answer" in text:
        return ("A" if "(A) The proposed answer is correct" in text else "B"), share
    first = text.split("Response 1:")[1].split("Response 2:")[0]
    return ("A" if "better" in first else "B"), share


@pytest.fixture
def made_up(monkeypatch, roomy_model):
    """Put a writer and a judge in the place of the loaded models; parts of four examples."""
    tokenizer = load_tokenizer(str(roomy_model))
    stub = StubDecoder(tokenizer, reply, letter)
    prompter = Prompter(tokenizer, "chat")
    monkeypatch.setattr(parts, "PART_ROWS", 4)
    monkeypatch.setattr(
        candidates, "load_answerer",
        lambda context, template, drawing, gains, counted: Answerer(
            stub, prompter, drawing, gains, counted
        ),
    )  # fmt: skip
    monkeypatch.setattr(
        judging, "load_judge",
        lambda context, step: LoadedJudge(stub, prompter, step, dict(letter_tokens(tokenizer, "m"))),
    )  # fmt: skip


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("correct")
    rows = [
        {"id": f"row-{n}", "prompt": f"name {n} please", "response": "it is " + "so " * (n % 5)}
        for n in range(24)
    ]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    opened = cu.open(folder / "curate.duckdb", create=True)
    opened.ingest(str(folder / "pool.jsonl"))
    return opened


def selected(pool, model, budget=None, **settings):
    return pool.select(
        "clear-correct", model=str(model), settings={**SETTINGS, **settings}, device="cpu",
        budget=budget,
    )  # fmt: skip


def numbers(pool, ids):
    """Return the number of each example's prompt."""
    table = pool.sql("select id, prompt from examples")
    prompts = dict(zip(table["id"], table["prompt"], strict=True))
    return {int(prompts[one].split()[1]) for one in ids}


def test_replaced_kept_and_dropped_add_up_and_say_why(pool, roomy_model, made_up):
    chosen = selected(pool, roomy_model)
    d = chosen.document
    revisions = pool.store.revisions(chosen.id).to_pylist()
    low = numbers(pool, pool.store.read("select id from examples")["id"].to_pylist()) - numbers(
        pool, pool.store.selection_rows(d["selections"][0])["id"].to_pylist()
    )
    expected = {n for n in low if n % 2 and n % 3}
    assert numbers(pool, [one["parent_id"] for one in revisions]) == expected and expected
    assert {one["response"] for one in revisions} == {f"better {n}" for n in expected}
    assert all(
        one["confidence"] == pytest.approx(0.7 * 0.97 + 0.3 * 0.9775, abs=1e-5) for one in revisions
    )
    assert all(one["parent_confidence"] < 0.8 for one in revisions)
    assert {one["model"] for one in revisions} == {
        f"model fine-tuned on selection {d['selections'][0]}"
    }
    counts = d["corrected"]
    n_empty = len([n for n in low if n % 3 == 0])
    assert counts["dropped"] == {"empty": n_empty, "not_better": len(low) - n_empty - len(expected)}
    assert counts["n_replaced"] == len(expected)
    assert counts["n_kept"] + counts["n_replaced"] == d["n_selected"] == len(chosen)
    assert counts["n_kept"] + counts["n_replaced"] + counts["n_dropped"] == 24
    assert f"{n_empty} of {len(low)} answers are no candidates: {n_empty} empty" in d["warnings"]
    assert d["procedure"]["n_models"] == 1 and d["procedure"]["tokens"] > 0
    gains = chosen.rows()["gain"].to_pylist()
    assert gains == sorted(gains, reverse=True)
    assert not list((pool.store.parts / "runs").glob("step-*"))


def test_tokens_of_the_result_are_those_of_the_new_responses(pool, roomy_model, made_up):
    chosen = selected(pool, roomy_model)
    tokenizer = load_tokenizer(str(roomy_model))
    frame = chosen.to_polars()
    texts = [f"{p}\n{r}" for p, r in zip(frame["prompt"], frame["response"], strict=True)]
    assert chosen.document["n_tokens"] == sum(len(tokenizer(text)["input_ids"]) for text in texts)


def test_with_a_budget_the_most_confident_of_both_are_left(pool, roomy_model, made_up):
    chosen = selected(pool, roomy_model, budget="50%")
    assert len(chosen) == 12
    assert chosen.document["corrected"]["n_replaced"] > 0
    assert chosen.document["corrected"]["dropped"]["over_budget"] > 0


def test_run_again_nothing_is_trained_written_or_judged(pool, roomy_model, made_up, monkeypatch):
    first = selected(pool, roomy_model)
    monkeypatch.setattr(candidates, "load_answerer", None)
    monkeypatch.setattr(judging, "load_judge", None)
    again = selected(pool, roomy_model)
    assert again.rows().equals(first.rows())
    assert pool.store.revisions(again.id).num_rows == first.document["corrected"]["n_replaced"]


def files_of(pool, chosen, folder):
    folder.mkdir()
    chosen.export(folder / "out.jsonl")
    return [(folder / f"out.jsonl{end}").read_bytes() for end in ("", ".revisions.jsonl")]


@pytest.mark.parametrize("place", range(6))
def test_killed_before_any_step_it_ends_with_the_same_bytes(
    pool, roomy_model, made_up, monkeypatch, tmp_path, place
):
    from curate.select.procedures.execute import StepExecutor

    whole = files_of(pool, selected(pool, roomy_model), tmp_path / "whole")
    real, calls = StepExecutor.__call__, []

    def breaking(self, step):
        calls.append(step)
        if len(calls) == place + 1:
            raise KeyboardInterrupt
        return real(self, step)

    lr = f"1.{place}1e-3"  # other weights: nothing is there yet
    with monkeypatch.context() as patch:
        patch.setattr(StepExecutor, "__call__", breaking)
        with pytest.raises(KeyboardInterrupt):
            selected(pool, roomy_model, lr=lr)
    resumed = selected(pool, roomy_model, lr=lr)
    assert files_of(pool, resumed, tmp_path / "resumed") == whole


@pytest.mark.parametrize("kind", [Answerer, LoadedJudge])
def test_killed_inside_a_step_the_parts_that_are_done_stay(
    pool, roomy_model, made_up, monkeypatch, tmp_path, kind
):
    whole = files_of(pool, selected(pool, roomy_model), tmp_path / "whole")
    lr = {Answerer: "2e-3", LoadedJudge: "3e-3"}[kind]  # other weights: nothing is there yet
    real, sizes = kind.__call__, []

    def breaking(self, items):
        sizes.append(len(items))
        if len(sizes) == 2:
            raise KeyboardInterrupt
        return real(self, items)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "__call__", breaking)
        with pytest.raises(KeyboardInterrupt):
            selected(pool, roomy_model, lr=lr)
    n_before = sum(sizes)
    with monkeypatch.context() as patch:
        patch.setattr(
            kind, "__call__", lambda s, items: (sizes.append(len(items)), real(s, items))[1]
        )
        resumed = selected(pool, roomy_model, lr=lr)
    n_low = 24 - len(pool.store.selection_rows(resumed.document["selections"][0]))
    assert sum(sizes) - n_before == n_low - 4, "the first part is not done again"
    assert files_of(pool, resumed, tmp_path / "resumed")[0] == whole[0]


def test_the_export_shows_both_responses_and_is_made_again(
    pool, roomy_model, made_up, tmp_path, monkeypatch
):
    from curate.api.reproduce import reproduce

    chosen = selected(pool, roomy_model)
    report = chosen.export(tmp_path / "subset.jsonl")
    made = [json.loads(line) for line in (tmp_path / "subset.jsonl").read_text().splitlines()]
    beside = tmp_path / "subset.jsonl.revisions.jsonl"
    revised = [json.loads(line) for line in beside.read_text().splitlines()]
    assert len(revised) == chosen.document["corrected"]["n_replaced"]
    by_id = dict(zip(chosen.ids, made, strict=True))
    for one in revised:
        row = by_id[one["curate_parent_id"]]
        assert row["response"] == one["response"] == f"better {row['prompt'].split()[1]}"
        assert one["curate_original_response"].startswith("it is ")
        assert 0.8 < one["curate_confidence"] <= 1
    manifest = json.loads((tmp_path / "subset.jsonl.manifest.json").read_text())
    assert manifest["output"]["revisions"]["name"] == beside.name
    assert manifest["output"]["revisions"]["n_rows"] == len(revised)
    assert report == report | {"n_revised": len(revised), "revisions": str(beside)}
    monkeypatch.setattr(candidates, "load_answerer", None)
    monkeypatch.setattr(judging, "load_judge", None)
    again = {"store": None, "output": None, "workers": None, "progress": pool.progress}
    path = tmp_path / "subset.jsonl.manifest.json"
    assert reproduce(path, rescore=False, **again)["identical"]
    with pytest.raises(cu.StoreError, match="'clear-correct' trains models to select"):
        reproduce(path, rescore=True, **again)


def test_a_folder_has_the_revisions_inside_and_its_card_says_so(
    pool, roomy_model, made_up, tmp_path
):
    chosen = selected(pool, roomy_model)
    chosen.export(tmp_path / "folder")
    n = chosen.document["corrected"]["n_replaced"]
    assert len((tmp_path / "folder" / "revisions.jsonl").read_text().splitlines()) == n
    assert (
        f"{n} responses were written by model fine-tuned on selection"
        in (tmp_path / "folder" / "README.md").read_text()
    )
    chosen.export(tmp_path / "folder")  # over the earlier one


def test_an_export_can_be_a_dataset_of_its_own(pool, roomy_model, made_up, tmp_path):
    chosen = selected(pool, roomy_model)
    chosen.export(tmp_path / "subset.jsonl")
    other = cu.open(tmp_path / "other.duckdb", create=True)
    other.ingest(str(tmp_path / "subset.jsonl"))
    ids = set(other.sql("select id from examples")["id"].to_list())
    assert {one["id"] for one in pool.store.revisions(chosen.id).to_pylist()} <= ids
    assert len(ids) == len(chosen)


def test_what_would_use_the_originals_is_refused(pool, roomy_model, made_up):
    chosen = selected(pool, roomy_model)
    message = r"has \d+ revised responses, .*would use the originals; read it as a new dataset"
    for given in ({"within": chosen.id}, {"include": [chosen.id]}):
        with pytest.raises(ConfigError, match=message):
            pool.select("random", budget=3, **given)
    with pytest.raises(ConfigError, match=message):
        pool.score("likelihood", model=str(roomy_model), within=chosen.id)
    assert len(pool.select("random", budget=3, exclude=[chosen.id])) == 3


def test_a_plain_export_to_the_same_place_takes_the_revisions_away(
    pool, roomy_model, made_up, tmp_path
):
    report = selected(pool, roomy_model).export(tmp_path / "subset.jsonl")
    assert Path(report["revisions"]).is_file()
    pool.select("random", budget=3).export(tmp_path / "subset.jsonl")
    assert not Path(report["revisions"]).exists()


def test_explain_shows_a_revision_and_why_another_example_was_dropped(pool, roomy_model, made_up):
    from curate.cli.explain import _text

    chosen = selected(pool, roomy_model)
    row = pool.store.revisions(chosen.id).to_pylist()[0]
    document = pool.explain(row["parent_id"], selections=[chosen.id])
    [mine] = [one for one in document["revisions"] if one["selection_id"] == chosen.id]
    assert mine == {
        "selection_id": chosen.id, "method": "clear-correct", **row,
        "original_response": document["response"],
    }  # fmt: skip
    text = _text(document)
    assert f"  before: {document['response']}\n  now:    {row['response']}\n" in text
    left_out = [one for one in pool.sql("select id from examples")["id"] if one not in chosen.ids]
    [absent] = pool.explain(left_out[0], selections=[chosen.id])["absent"]
    assert absent["cause"] == "left out"
    assert absent["text"].startswith("its confidence is low, and no response replaced it: ")


def test_a_proof_trains_on_the_revised_responses(pool, roomy_model, made_up, tmp_path, monkeypatch):
    from curate.train import api

    target = [{"prompt": f"say {n}", "response": f"it is {n}"} for n in range(6)]
    (tmp_path / "target.jsonl").write_text("".join(json.dumps(row) + "\n" for row in target))
    real, trained = api.train, []

    def watching(config, rows, *args, **kwargs):
        trained.append([row.example.messages[-1]["content"] for row in rows])
        return real(config, rows, *args, **kwargs)

    monkeypatch.setattr(api, "train", watching)
    d = pool.prove(
        "clear-correct", budget="50%", target=str(tmp_path / "target.jsonl"), device="cpu", seeds=1,
        model=str(roomy_model), max_tokens=200, allow_overlap=True,
        settings={f"clear-correct.{name}": value for name, value in SETTINGS.items()},
        train={"data.batch_tokens": 100, "optimiser.lr": 1e-3, "compute.threads": 1},
    )  # fmt: skip
    assert any(text.startswith("better ") for rows in trained for text in rows)
    proven = d["methods"]["clear-correct"]
    assert not proven["verdict"].startswith("not applicable")
    [one] = d["selections"]["50%"]["clear-correct"]["selection_ids"]
    cost = pool.store.selection(one)["procedure"]
    assert proven["scoring_tokens"] > cost["tokens"] > 0
    assert proven["scoring_s"] > 0


def test_the_command_line_prints_what_became_of_the_responses(pool, roomy_model, made_up):
    from curate.cli.select import _text

    d = selected(pool, roomy_model).document
    n = d["corrected"]
    assert (
        f"{n['n_kept']} kept, {n['n_replaced']} replaced, {n['n_dropped']} dropped: "
        f"{n['dropped']['empty']} empty, {n['dropped']['not_better']} not_better"
    ) in _text(d)


def test_with_real_models_a_random_one_corrects_nothing_and_says_so(pool, roomy_model):
    chosen = selected(pool, roomy_model, lr="4e-3")
    assert chosen.document["corrected"]["n_replaced"] == 0
    assert pool.store.revisions(chosen.id).num_rows == 0
    assert any(w.startswith("no candidate was judged better") for w in chosen.document["warnings"])


def test_without_a_model_it_says_which_to_pass(pool):
    with pytest.raises(cu.CurateError, match="--model"):
        pool.select("clear-correct", settings={"consistency": "nli"})
