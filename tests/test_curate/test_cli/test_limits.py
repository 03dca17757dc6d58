"""Values that no file system, generator or model takes: one error, no traceback, exit code 2."""

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def pool(curate, tmp_path: Path) -> None:
    rows = [{"prompt": f"p {i}", "response": f"r {i}"} for i in range(3)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert curate("ingest", "pool.jsonl").code == 0


@pytest.mark.parametrize("seed", [2**63, 2**70, -1])
def test_a_seed_out_of_range(curate, pool: None, seed: int) -> None:
    ran = curate("select", "--method", "random", "-b", "2", "--seed", seed)
    assert (ran.code, ran.err.strip()) == (
        2,
        f"ConfigError: --seed={seed} is out of range; give a whole number from 0 to 9223372036854775807",
    )
    assert curate("status", "--json").json["selections"] == []


@pytest.mark.parametrize("path", ["x" * 300 + ".jsonl", "a/" * 2500 + "x.jsonl"])
def test_a_path_that_is_too_long(curate, pool: None, path: str) -> None:
    ran = curate("select", "--method", "random", "-b", "2", "-o", path)
    assert ran.code == 2
    assert ran.err.startswith(
        f"ConfigError: --output='{path[:60]}...' is too long: a name in it has "
    )
    assert curate("status", "--json").json["selections"] == []
    assert curate("score", "--scorer", "likelihood", "--model", f"./{path}").code == 2


def test_a_recipe_nested_too_deeply(curate, tmp_path: Path) -> None:
    (tmp_path / "deep.yaml").write_text("steps: " + "[" * 5000 + "]" * 5000)
    ran = curate("run", "deep.yaml")
    assert ran.code == 2
    assert "recipe 'deep.yaml' is nested too deeply to be read" in ran.err


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("tokenizer_config.json", [], "the tokenizer in "),
        ("tokenizer.json", [], "the tokenizer in "),
        ("config.json", {"hidden_size": 7}, "The hidden size (7) is not a multiple of"),
        ("config.json", {"hidden_size": "x"}, "Field 'hidden_size' expected int, got str"),
        (
            "config.json",
            {"num_attention_heads": 0},
            "the config.json of model 'model' cannot be used",
        ),
    ],
)
def test_a_model_whose_files_are_no_model(
    curate, pool: None, tiny_model: str, tmp_path: Path, file: str, content: object, words: str
) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    path = tmp_path / "model" / file
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, **content} if isinstance(content, dict) else content))
    ran = curate("score", "--scorer", "likelihood", "--model", "model")
    assert ran.code == 2
    assert ran.err.splitlines()[-1].startswith("ModelError: ")
    assert words in ran.err


def test_an_adapter_that_is_only_a_pickle(
    curate, pool: None, tiny_model: str, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    folder = tmp_path / "adapter"
    folder.mkdir()
    facts = {"base_model_name_or_path": str(tiny_model), "peft_type": "LORA", "r": 2}
    (folder / "adapter_config.json").write_text(json.dumps(facts))
    (folder / "adapter_model.bin").write_bytes(b"\x80\x04N.")
    ran = curate("score", "--scorer", "likelihood", "--model", tiny_model, "--adapter", "adapter")
    assert ran.code == 2
    assert "has only pickled weights (adapter_model.bin), which can run code" in ran.err


def test_names_of_score_sets_that_no_expression_could_use(curate, pool: None) -> None:
    def refused(name: str) -> str:
        ran = curate("score", "--scorer", "mtld", "--as", name)
        assert (ran.code, ran.out) == (2, "")
        return str(ran.err.splitlines()[-1])

    assert curate("score", "--scorer", "mtld", "--as", "mine").code == 0
    for name in ("id", "ID", "source", "n_chars"):
        assert refused(name) == (
            f"ConfigError: --as {name} is the name of a column of the pool; choose another name"
        )
    assert refused("Mine") == (
        "ConfigError: the name 'Mine' differs from that of a score set, 'mine', in case only, and SQL "
        "cannot tell them apart; use that name, or choose another: curate score --as NAME"
    )
    assert curate("score", "--scorer", "mtld", "--as", "mine").code == 0
