"""Recipes are checked as a whole before anything runs; a run hands on what each step makes."""

from pathlib import Path

import pytest
import yaml

from curate.api.commands.catalogue import STEPS
from curate.api.recipe import Recipe, load_recipe
from curate.api.run_recipe import run_recipe
from curate.contracts.progress import SilentProgress
from curate.errors import ConfigError

GOOD = """
pool: {data: [pool.jsonl]}
models: {target: ./model}
score: {lik: {scorer: likelihood, set: {score_end: true}}}
select: {method: grape, seed: 3}
export: {output: subset.jsonl}
"""

ROUNDS = """
models: {target: base, proxy: small, device: cpu}
steps:
  - ingest: {data: pool.jsonl}
  - select: {name: first, method: random, budget: 5}
  - train: {name: warm, from: previous, output: warm, epochs: 2}
  - score: {scorer: [likelihood, length], from: previous, within: null}
  - select: {method: random, budget: 10%}
  - train: {name: final, from: [select-2, warm], output: final, lora: true}
  - score: {scorer: ifd, as: after, from: final}
  - export: {from: first, output: first.jsonl}
  - report: {from: select-2, output: r.html}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def load(folder: Path, text: str, **overrides: str) -> Recipe:
    return load_recipe(written(folder, text), overrides)


def test_sections_become_checked_commands_in_the_order_they_run(tmp_path: Path) -> None:
    recipe = load(tmp_path, GOOD)
    assert [step.label for step in recipe.steps] == ["ingest", "score lik", "select", "export"]
    ingest, score, select, export = recipe.steps
    assert ingest.options.data == ("pool.jsonl",)
    assert (score.options.alias, score.options.settings) == ("lik", {"score_end": "true"})
    assert (score.options.model, select.options.model) == ("./model", "./model")
    assert (select.options.method, select.options.seed) == ("grape", 3)
    assert export.inputs == {"selection": "select"}


def test_overrides_are_yaml_values_at_dotted_keys(tmp_path: Path) -> None:
    overrides = {"select.budget": "20%", "score.lik.set.score_end": "false", "store": "s.duckdb"}
    recipe = load_recipe(written(tmp_path, GOOD), overrides)
    assert recipe.steps[2].options.budget == "20%"
    assert recipe.steps[1].options.settings == {"score_end": "false"}
    assert recipe.store == "s.duckdb"


def test_from_takes_the_selection_or_the_model_of_an_earlier_step(tmp_path: Path) -> None:
    steps = {step.name: step for step in load(tmp_path, ROUNDS).steps}
    assert list(steps) == [
        "ingest", "first", "warm", "score", "select-2", "final", "score-2", "export", "report",
    ]  # fmt: skip
    assert steps["warm"].inputs == {"selection": "first"}
    assert steps["warm"].options.model == "base"
    assert steps["score"].inputs == {"model": "warm"}
    assert steps["score"].options.model_for == {"proxy": "small"}
    assert steps["final"].inputs == {"selection": "select-2", "model": "warm"}
    assert steps["score-2"].inputs == {"model": "final", "adapter": "final"}  # lora: an adapter
    assert steps["report"].inputs == {"selections": "select-2"}


@pytest.mark.parametrize("text", [GOOD, ROUNDS], ids=["sections", "steps"])
def test_a_resolved_recipe_is_a_recipe_that_does_the_same(tmp_path: Path, text: str) -> None:
    recipe = load(tmp_path, text)
    again = load(tmp_path, yaml.safe_dump(dict(recipe.resolved)))
    assert [(one.name, one.options, one.inputs) for one in again.steps] == [
        (one.name, one.options, one.inputs) for one in recipe.steps
    ]
    assert again.resolved == recipe.resolved


def test_a_step_s_key_is_set_by_its_name(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, ROUNDS), {"select-2.budget": "7", "warm.lr": "1e-3"})
    steps = {step.name: step.options for step in recipe.steps}
    assert (steps["select-2"].budget, steps["first"].budget) == ("7", "5")
    assert steps["warm"].lr == 1e-3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("seed:", "sed:"), "unknown key 'select.sed'; did you mean 'seed';"),
        (GOOD.replace("select:", "selct:"), "unknown key 'selct'; did you mean 'select';"),
        (GOOD.replace("scorer:", "scoer:"), "unknown key 'score.lik.scoer'; did you mean 'scorer'"),
        (GOOD.replace("target:", "targt:"), "unknown key 'models.targt'; did you mean 'target'"),
        (GOOD.replace("seed: 3", "seed: three"), "select.seed='three' is not a whole number"),
        (GOOD.replace("output:", "to: jsn, output:"), "export.to='jsn' is not one of input, messag"),
        (GOOD.replace("output: subset.jsonl", ""), "export.output is missing; add it"),
        (GOOD.replace("select: {method: grape, seed: 3}", ""), "selects nothing; add a select sect"),
        ("pool: [", "is not valid YAML"),
        ("- a", "must be a mapping with steps, or with the sections"),
        ("pool: 3", "pool must be a mapping of keys to values, got 3"),
        ("pool: {data: []}", "give either DATA or --from-selection ID"),
        ("select: {budget: 5}", "say how to select"),
        ("train: {model: m, output: o, selection: s, data: d}", "both are given"),
        ("store: a.duckdb", "there is nothing to do; add steps, or one of: pool, ingest, gather, score"),
        ("steps: 3", "steps must be a list, got 3"),
        ("steps: [select]", "a step is one command with its keys"),
        ("steps: [selct: {}]", "no step 'selct'; did you mean 'select'; steps are: ingest, gather, score"),
        ("steps: []\nselect: {}", "steps and the section 'select' do not go together"),
        ("steps: [{ingest: {data: a, name: x}}, {ingest: {data: b, name: x}}]", "called 'x'"),
        (ROUNDS.replace("from: first", "from: frist"), "did you mean 'first'; those that do: first,"),
        (ROUNDS.replace("{data: pool.jsonl}", "{data: p, from: previous}"), "those that do: none"),
        (ROUNDS.replace("output: first.jsonl", "output: f, selection: s"), "is given already"),
        (ROUNDS.replace("from: first", "from: warm"), "'warm' makes a model, but export takes none"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_one_error_with_the_path(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert words in str(caught.value)
    assert str(caught.value).startswith("recipe '")
    assert not any(name in str(caught.value) for name in ("Command", "Section", "Input should"))


def test_every_command_that_is_a_step_can_be_one(tmp_path: Path) -> None:
    values = {
        "ingest": "{data: a}", "gather": "{models: [a, b]}", "score": "{scorer: length}",
        "select": "{method: random}",
        "train": "{from: previous, model: m, output: o}",
        "prove": "{methods: [ifd], budget: 5, target: t, model: m, "
        "arm: {dft: {objective: dft, policy.k: 2}}}",
        "export": "{selection: s, output: o}", "report": "{output: o.html}",
    }  # fmt: skip
    text = "steps:\n" + "".join(f"  - {name}: {values[name]}\n" for name in STEPS)
    steps = load(tmp_path, text).steps
    assert [step.command for step in steps] == list(STEPS)
    [proved] = [step for step in steps if step.command == "prove"]
    assert proved.options.arms == {"dft": {"objective": "dft", "policy.k": 2}}


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read recipe '.*none.yaml': No such file"):
        load_recipe(tmp_path / "none.yaml", {})


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (GOOD, "select.method.x", "'method' is not a section"),
        (ROUNDS, "frist.budget", "no step 'frist'; did you mean 'first'; steps are: ingest, first"),
        (ROUNDS, "first", "name a key of it, STEP.KEY=VALUE"),
    ],
)
def test_an_override_of_what_is_not_there_is_refused(
    tmp_path: Path, text: str, key: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load_recipe(written(tmp_path, text), {key: "1"})


def test_a_recipe_for_the_built_in_pool_says_how_to_run_it(tmp_path: Path) -> None:
    recipe = load(tmp_path, "demo: demo\npool: {data: demo/pool.jsonl}")
    with pytest.raises(ConfigError, match="works on the built-in pool; run it with curate run"):
        run_recipe(recipe, SilentProgress())


def test_target_sets_are_added_once_the_pool_is_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f'{{"prompt": "say {n}", "response": "{n}"}}\n' for n in range(6)]
    Path("pool.jsonl").write_text("".join(rows[:4]))
    Path("dev.jsonl").write_text("".join(rows[3:]))
    recipe = load(
        tmp_path,
        "pool: {data: pool.jsonl}\ntargets: {dev: dev.jsonl, both: [dev.jsonl, pool.jsonl]}\n"
        "select: {method: random, budget: 2}\n",
    )
    assert recipe.resolved["targets"] == {"dev": "dev.jsonl", "both": ["dev.jsonl", "pool.jsonl"]}
    steps = run_recipe(recipe, SilentProgress())["steps"]
    assert [one["step"] for one in steps] == ["ingest", "target dev", "target both", "select"]
    assert steps[1]["summary"] == "3 examples, 1 of them in the pool"
    assert (steps[2]["n_examples"], steps[2]["n_in_pool"]) == (6, 4)


def test_a_target_set_of_a_recipe_is_a_file_or_a_list_of_files(tmp_path: Path) -> None:
    text = "targets: {dev: {}}\nselect: {method: random, budget: 2}\n"
    with pytest.raises(ConfigError, match=r"targets.dev must be a file .*write dev: dev.jsonl"):
        load(tmp_path, text)
