"""Recipes are checked as a whole before anything runs."""

from pathlib import Path

import pytest

from curate.api.recipe import load_recipe
from curate.errors import ConfigError

GOOD = """
pool: {data: [pool.jsonl]}
models: {target: ./model}
score: {lik: {scorer: likelihood, set: {score_end: true}}}
select: {method: grape, seed: 3}
export: {output: subset.jsonl}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_recipe_reads_into_typed_sections(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, GOOD), {})
    assert recipe.score["lik"].set == {"score_end": True}
    assert recipe.select is not None
    assert (recipe.select.method, recipe.select.seed) == ("grape", 3)


def test_overrides_are_yaml_values_at_dotted_keys(tmp_path: Path) -> None:
    recipe = load_recipe(
        written(tmp_path, GOOD), {"select.budget": "20%", "score.lik.set.score_end": "false"}
    )
    assert recipe.select is not None
    assert recipe.select.budget == "20%"
    assert recipe.score["lik"].set == {"score_end": False}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("seed:", "sed:"), "unknown key 'select.sed'; did you mean 'seed';"),
        (GOOD.replace("select:", "selct:"), "unknown key 'selct'; did you mean 'select';"),
        (GOOD.replace("seed: 3", "seed: three"), "select.seed: input should be a valid integer"),
        ("pool: [", "is not valid YAML"),
        ("- a", "must be a mapping of sections"),
        ("pool: {data: []}", "pool.data: list should have at least 1 item"),
    ],
)
def test_a_wrong_recipe_is_one_error_with_the_path(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(written(tmp_path, text), {})
    assert words in str(caught.value)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read recipe '.*none.yaml': No such file"):
        load_recipe(tmp_path / "none.yaml", {})


def test_an_override_through_a_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'method' is not a section"):
        load_recipe(written(tmp_path, GOOD), {"select.method.x": "1"})
