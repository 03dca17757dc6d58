"""Every command, end to end on a small pool: what it prints, what it leaves behind."""

import hashlib
import json
from pathlib import Path

import pytest

COMMANDS = (
    "demo", "ingest", "target", "gather", "score", "select", "export", "report", "explore", "status", "methods", "explain", "reproduce",
    "run", "doctor", "gc", "forget",
)  # fmt: skip


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_help_lists_every_command(curate) -> None:
    shown = curate("--help")
    assert shown.code == 0
    assert all(command in shown.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_takes_json(curate, command: str) -> None:
    shown = curate(command, "-h")
    assert shown.code == 0
    assert "--json" in shown.out


@pytest.mark.slow
def test_the_whole_product_in_one_command(curate, pool_file: Path, tiny_model: Path) -> None:
    first = curate(
        "select",
        pool_file,
        "--method",
        "grape",
        "--model",
        tiny_model,
        "-o",
        "subset.jsonl",
        "--json",
    )
    assert first.code == 0, first.err
    report = first.json
    assert (report["n_pool"], report["n_eligible"], report["n_selected"]) == (26, 24, 8)
    assert report["n_excluded"] == {"only response to its instruction": 2}
    assert report["n_scored"] == 52  # likelihood and length of 26 examples
    assert report["n_tokens"] > 0
    assert {"selection_id", "method", "budget", "seed", "output", "warnings"} <= set(report)
    lines = Path("subset.jsonl").read_text().splitlines()
    assert len(lines) == 8
    assert set(lines) <= set(pool_file.read_text().splitlines())

    before = sha256(Path("subset.jsonl"))
    again = curate(
        "select",
        pool_file,
        "--method",
        "grape",
        "--model",
        tiny_model,
        "-o",
        "subset.jsonl",
        "--json",
    )
    assert again.json["n_scored"] == 0
    assert again.json["selection_id"] == report["selection_id"]
    assert sha256(Path("subset.jsonl")) == before

    made = curate("reproduce", "subset.jsonl.manifest.json", "-o", "again.jsonl", "--json")
    assert made.code == 0, made.out + made.err
    assert made.json["identical"] is True
    assert sha256(Path("again.jsonl")) == before


@pytest.mark.slow
def test_rescoring_from_the_manifest_flips_nothing(
    curate, pool_file: Path, tiny_model: Path
) -> None:
    curate("select", pool_file, "--method", "grape", "-m", tiny_model, "-o", "subset.jsonl")
    made = curate("reproduce", "subset.jsonl.manifest.json", "--rescore", "--json")
    assert made.code == 0, made.out + made.err
    assert made.json["flipped"] == {"only_then": [], "only_now": []}


def test_rescoring_renders_conversations_as_they_were(
    curate, pool_file: Path, tiny_model: Path
) -> None:
    Path("own.jinja").write_text(
        "{% for m in messages %}<{{ m.role }} {{ style }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
        "{% if add_generation_prompt %}<assistant {{ style }}>{% endif %}"
    )
    chat = ("--template", "chat", "--chat-template", "own.jinja", "--template-args", "style=short")
    curate("ingest", pool_file)
    curate("score", "--scorer", "likelihood", "-m", tiny_model, *chat)
    ranked = ("--rank", "likelihood.mean_logp", "--budget", "5")
    made = curate("select", *ranked, "-m", tiny_model, *chat, "-o", "subset.jsonl")
    assert made.code == 0, made.err
    Path("own.jinja").unlink()
    manifest = json.loads(Path("subset.jsonl.manifest.json").read_text())
    key = manifest["specs"]["likelihood"]["key"]["template"]
    assert key.endswith(';args={"style": "short"}')
    again = curate("reproduce", "subset.jsonl.manifest.json", "--rescore", "--json")
    assert again.code == 0, again.out + again.err
    assert again.json["flipped"] == {"only_then": [], "only_now": []}
    del manifest["specs"]["likelihood"]["run"]["chat"]
    Path("subset.jsonl.manifest.json").write_text(json.dumps(manifest))
    refused = curate("reproduce", "subset.jsonl.manifest.json", "--rescore")
    assert 'computed with args={"style": "short"} for template chat@' in refused.err


@pytest.mark.slow
def test_reproduce_names_a_file_that_was_changed(curate, pool_file: Path, tiny_model: Path) -> None:
    curate("select", pool_file, "--method", "grape", "-m", tiny_model, "-o", "subset.jsonl")
    with Path("subset.jsonl").open("a") as file:
        file.write("{}\n")
    made = curate("reproduce", "subset.jsonl.manifest.json")
    assert made.code == 1
    assert "subset.jsonl was changed after its export" in made.out


@pytest.mark.slow
def test_score_says_what_it_scored_and_reused(curate, pool_file: Path, tiny_model: Path) -> None:
    assert curate("ingest", pool_file, "--json").json["n_added"] == 26
    arguments = ("score", "--scorer", "likelihood,ifd,embedding,length", "-m", tiny_model, "--json")
    first = curate(*arguments).json["score_sets"]
    assert [one["alias"] for one in first] == ["likelihood", "ifd", "embedding", "length"]
    assert all((one["n_scored"], one["n_reused"]) == (26, 0) for one in first)
    assert all(one["content_hash"] for one in first)
    second = curate(*arguments).json["score_sets"]
    assert all((one["n_scored"], one["n_reused"]) == (0, 26) for one in second)
    assert [one["content_hash"] for one in second] == [one["content_hash"] for one in first]


def test_appended_rows_alone_are_scored(
    curate, pool_file: Path, tiny_model: Path, tmp_path: Path
) -> None:
    curate("ingest", pool_file)
    arguments = ("score", "--scorer", "likelihood", "-m", tiny_model, "--json")
    curate(*arguments)
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({"prompt": "Say red.", "response": "red, what else"}) + "\n")
    curate("ingest", more)
    (after,) = curate(*arguments).json["score_sets"]
    assert (after["n_scored"], after["n_reused"]) == (1, 26)


def test_a_dry_run_plans_and_stores_nothing(curate, pool_file: Path, tiny_model: Path) -> None:
    curate("ingest", pool_file)
    arguments = ("score", "--scorer", "likelihood,ifd", "-m", tiny_model, "--dry-run")
    plan = curate(*arguments, "--json").json["plan"]
    assert plan["n_passes"] == 2
    assert [one["scorers"] for one in plan["passes"]] == ["likelihood", "ifd"]
    assert all(one["tokens"] > 0 for one in plan["passes"])
    assert plan["unified"].startswith("--template method: 2 passes")
    assert curate("status", "--json").json["score_sets"] == []
    together = curate(*arguments, "--template", "plain", "--json").json["plan"]
    assert together["n_passes"] == 1
    shown = curate(*arguments)
    assert "to estimate the time, measure a sample: add --limit 200" in shown.out


def test_a_limited_run_measures_and_stores_nothing(
    curate, pool_file: Path, tiny_model: Path
) -> None:
    curate("ingest", pool_file)
    arguments = ("score", "--scorer", "likelihood", "-m", tiny_model, "--limit", "5")
    plan = curate(*arguments, "--json").json["plan"]
    assert plan["measured_on"] == 5
    assert plan["seconds"] > 0
    assert "measured" in curate(*arguments).out
    assert curate("status", "--json").json["score_sets"] == []


def test_rank_and_where_share_one_grammar(curate, pool_file: Path, tiny_model: Path) -> None:
    curate("ingest", pool_file)
    curate("score", "--scorer", "length", "-m", tiny_model)
    report = curate(
        "select", "--rank", "length.response_tokens", "--where", "length.response_tokens > 0 and "
        "starts_with(prompt, 'Say')", "--budget", 3, "-o", "long.jsonl", "--annotate", "--json",
    ).json  # fmt: skip
    assert (report["method"], report["n_selected"], report["n_eligible"]) == ("top-k", 3, 24)
    row = json.loads(Path("long.jsonl").read_text().splitlines()[0])
    assert list(row)[:3] == ["id", "prompt", "response"]
    assert row["curate_rank"] == 1
    assert row["curate_reason"].startswith("length.response_tokens = ")


@pytest.mark.slow
def test_budgets_in_all_four_units(curate, pool_file: Path, tiny_model: Path) -> None:
    curate("ingest", pool_file)
    sizes = {}
    for budget in ("5", "50%", "60tok", "50%tok"):
        report = curate(
            "select", "--method", "random", "-b", budget, "-m", tiny_model, "--json"
        ).json
        sizes[budget] = report["n_selected"], report["n_tokens"]
        assert report["budget"] == budget
    assert sizes["5"][0] == 5
    assert sizes["50%"][0] == 13
    assert 0 < sizes["60tok"][1] <= 60
    whole = curate("select", "--method", "random", "-b", "100%", "-m", tiny_model, "--json").json
    assert sizes["50%tok"][1] <= whole["n_tokens"] / 2


def test_include_exclude_and_quota(curate, pool_file: Path) -> None:
    curate("ingest", pool_file, "--source", "toys")
    everything = curate("select", "--method", "random", "-b", "26", "--json").json
    assert everything["n_selected"] == 26
    chosen = curate(
        "export", "--selection", everything["selection_id"], "-o", "all.jsonl", "--annotate"
    )
    assert chosen.code == 0
    ids = [json.loads(line)["curate_id"] for line in Path("all.jsonl").read_text().splitlines()]
    Path("ids.txt").write_text("\n".join(ids[:2]))
    report = curate(
        "select", "--method", "random", "-b", "4", "--include", ids[-1], "--exclude", "ids.txt",
        "--quota", "toys=10", "-o", "some.jsonl", "--annotate", "--json",
    ).json  # fmt: skip
    assert report["n_excluded"] == {"exclude": 2}
    kept = [json.loads(line)["curate_id"] for line in Path("some.jsonl").read_text().splitlines()]
    assert kept[0] == ids[-1]
    assert not set(ids[:2]) & set(kept)


def test_methods_compose_with_a_bar(curate, pool_file: Path, tiny_model: Path) -> None:
    curate("ingest", pool_file)
    report = curate(
        "select", "--method", "perplexity | longest", "-b", "20%", "-m", tiny_model, "--json"
    )
    assert report.code == 0, report.err
    assert report.json["n_selected"] == 5


def test_explain_shows_what_a_pass_sees(curate, pool_file: Path, tiny_model: Path) -> None:
    curate("ingest", pool_file)
    curate("score", "--scorer", "likelihood", "-m", tiny_model)
    document = curate("explain", "red-2", "-m", tiny_model, "--scorer", "likelihood", "--json").json
    rendered = document["rendered"]
    assert rendered["text"] == "Question: Say red. \n Answer: red red indeed"
    assert len(rendered["token_ids"]) == len(rendered["response_mask"])
    assert document["scores"]["likelihood"]["n_tokens"] == sum(rendered["response_mask"])
    shown = curate("explain", "red-2", "-m", tiny_model, "--scorer", "likelihood").out
    assert "⟦" in shown
    assert "likelihood" in shown


@pytest.mark.slow
def test_status_gc_forget_and_doctor(curate, pool_file: Path, tiny_model: Path) -> None:
    curate("ingest", pool_file)
    curate("score", "--scorer", "length", "-m", tiny_model)
    status = curate("status", "--json").json
    assert status["n_examples"] == 26
    assert status["score_sets"][0]["content_hash"]
    assert "26 examples" in curate("status").out
    assert (
        curate("forget", "--where", "prompt = 'Count to 4.'", "--dry-run", "--json").json[
            "n_examples"
        ]
        == 1
    )
    assert curate("status", "--json").json["n_examples"] == 26
    assert (
        curate("forget", "--where", "prompt = 'Count to 4.'", "--json", "-y").json["n_examples"]
        == 1
    )
    assert curate("status", "--json").json["n_examples"] == 25
    assert curate("gc", "--json").code == 0
    assert curate("doctor", "--json").json["ok"] is True
    hashes = {s["set_id"]: s["content_hash"] for s in curate("status", "--json").json["score_sets"]}
    assert curate("doctor", "--rebuild").code == 0
    rebuilt = curate("status", "--json").json
    assert {s["set_id"]: s["content_hash"] for s in rebuilt["score_sets"]} == hashes


def test_a_recipe_runs_the_same_steps(curate, pool_file: Path, tiny_model: Path) -> None:
    Path("recipe.yaml").write_text(
        f"pool: {{data: [{pool_file}]}}\n"
        f"models: {{target: {tiny_model}}}\n"
        "score: {lik: {scorer: likelihood}}\n"
        "select: {method: grape, seed: 3}\n"
        "export: {output: subset.jsonl}\n"
    )
    report = curate("run", "recipe.yaml", "--json")
    assert report.code == 0, report.err
    assert [step["step"] for step in report.json["steps"]] == [
        "ingest",
        "score lik",
        "select",
        "export",
    ]
    assert len(Path("subset.jsonl").read_text().splitlines()) == 8
    assert report.json["recipe"]["select"]["seed"] == 3
    assert curate("run", "recipe.yaml", "--dry-run").code == 0


def test_a_selection_can_be_read_as_a_dataset(curate, pool_file: Path) -> None:
    curate("ingest", pool_file)
    selection = curate("select", "--method", "random", "-b", "4", "--json").json["selection_id"]
    report = curate(
        "ingest", "--from-selection", selection, "--store", "curate.duckdb", "--json"
    ).json
    assert (report["n_read"], report["n_added"], report["n_duplicate"]) == (4, 0, 4)


def test_python_and_the_command_line_select_the_same(
    curate, pool_file: Path, tiny_model: Path
) -> None:
    import curate as cu

    by_command = curate("select", pool_file, "--method", "grape", "-m", tiny_model, "--json").json
    pool = cu.open("curate.duckdb", create=True)
    selected = pool.select("grape", data=[str(pool_file)], model=str(tiny_model))
    assert selected.id == by_command["selection_id"]
    assert selected.to_polars()["rank"].to_list() == list(range(1, 9))
    assert len(selected.to_dataset()) == 8
    assert selected.to_jsonl("py.jsonl").read_text().count("\n") == 8
    assert repr(pool).startswith("Pool(")


def test_an_example_without_such_a_score_ends_no_run(curate) -> None:
    rows = [{"prompt": "What is it?", "response": text} for text in ("A word.", "123", "12")]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    curate("ingest", "rows.jsonl")
    scored = curate("score", "--scorer", "mtld", "--json")
    assert (scored.code, scored.json["score_sets"][0]["n_failed"]) == (0, 0)
    assert scored.json["score_sets"][0]["n_undefined"] == 2
    assert "mtld: 2 of 3 examples have no such score (2 no_words); what selects" in scored.err
    kept = curate("select", "--rank", "mtld.mtld", "-b", "1", "--json")
    assert (kept.code, kept.json["n_eligible"]) == (0, 1), kept.err
