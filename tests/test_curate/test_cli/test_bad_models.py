"""Models that cannot be used: one clear error line each, and nothing on stdout."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from refused import fails

SCORE = ("score", "--scorer", "likelihood")


@pytest.fixture
def pool(curate, pool_file: Path) -> None:
    """A store of 26 examples, which no request of this file may change."""
    assert curate("ingest", pool_file).code == 0


def edit_config(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:50_000])


def drop(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


@pytest.mark.usefixtures("pool")
class TestModels:
    @pytest.mark.parametrize(
        ("change", "error"),
        [
            (
                drop("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
                "model 'm' has no tokenizer in {m}; save it there with tokenizer.save_pretrained(folder)",
            ),
            (drop("config.json"), "model 'm' has no config.json in {m}; give the folder save_pretrained wrote"),
            (
                drop("model.safetensors"),
                "model 'm' has no weights: no *.safetensors in {m}; save them with model.save_pretrained(folder)",
            ),
            (
                edit_config(vocab_size=100),
                ("the tokenizer of model 'm' does not fit it: token 'ĠAns' has id 319, but the model "
                "has 100 embeddings; use the tokenizer it was trained with"),
            ),
            (
                edit_config(model_type="foo", architectures=["Foo"]),
                ("the config.json of model 'm' cannot be used: The checkpoint you are trying to load has "
                "model type `foo` but Transformers does not recognize this architecture"),
            ),
            (
                cut_weights,
                ("weights file {m}/model.safetensors is cut off: it has 50000 of 158424 bytes; copy the "
                "model again"),
            ),
        ],
    )  # fmt: skip
    def test_folders(
        self, curate, tiny_model: Path, change: Callable[[Path], None], error: str
    ) -> None:
        shutil.copytree(tiny_model, "m")
        change(Path("m"))
        fails(curate, f"ModelError: {error.format(m=Path('m').resolve())}", *SCORE, "-m", "m")
        assert curate("status", "--json").json["score_sets"] == []

    def test_an_id_that_is_not_cached_while_offline(self, curate) -> None:
        fails(
            curate,
            "ModelError: model 'org/none' is not a local folder, is not in the local cache, and "
            "HF_HUB_OFFLINE is set; on a machine with network type: hf download org/none, or pass a "
            "folder",
            *SCORE, "-m", "org/none",
        )  # fmt: skip

    def test_no_model_where_one_is_needed(self, curate) -> None:
        fails(
            curate,
            "ConfigError: scorer 'likelihood' needs a target model; pass --model MODEL (a folder or "
            "a Hugging Face id)",
            *SCORE,
        )  # fmt: skip
        fails(
            curate,
            "MissingColumnError: score 'likelihood' (scorer likelihood) is not in the store; pass "
            "--model MODEL to compute it here, or run: curate score --scorer likelihood --model MODEL",
            "select", "--method", "grape",
        )  # fmt: skip

    def test_a_model_without_the_chat_template_asked_for(self, curate, tiny_model: Path) -> None:
        shutil.copytree(tiny_model, "m")
        Path("m/chat_template.jinja").unlink()
        ran = curate(*SCORE, "-m", "m", "--template", "chat", "--json")
        assert (ran.code, ran.result) == (2, "")
        assert ran.err.splitlines()[-1] == (
            f"ModelError: the tokenizer of {str(Path('m').resolve())!r} has no chat template, but "
            "template 'chat' needs one; use an instruction-tuned model, or pass --template plain"
        )
