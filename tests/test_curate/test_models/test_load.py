import json
import shutil

import pytest
import torch
from mocked_card import MockedCard
from safetensors.torch import load_file, save_file

from curate.errors import ConfigError, MissingPackageError, ModelError
from curate.models import files
from curate.models.load import (
    context_length,
    load_model,
    resolve_device,
    resolve_dtype,
    resolve_encoder,
    resolve_model,
)
from curate.train.config import TrainConfig
from curate.train.model import load_trained_model


@pytest.fixture
def folder(tiny_model, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(tiny_model, copy)
    return copy


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_resolves_without_loading_weights(folder):
    found = resolve_model(str(folder))
    assert (found.max_length, found.vocab_size, found.revision) == (64, 320, None)
    with torch.device("meta"):
        from transformers import AutoConfig, AutoModelForCausalLM

        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    assert found.n_parameters == sum(p.numel() for p in model.parameters())
    assert resolve_model(str(folder)) == found


def test_the_fingerprint_follows_weights_and_the_hashes_what_they_hash(folder):
    before = resolve_model(str(folder))
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    after = resolve_model(str(folder))
    assert after.fingerprint != before.fingerprint
    assert after.tokenizer_hash == before.tokenizer_hash
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    rewritten = resolve_model(str(folder))
    assert rewritten.chat_template_hash != after.chat_template_hash
    assert rewritten.tokenizer_hash == after.tokenizer_hash


def test_weights_are_read_once_while_they_do_not_change(folder, monkeypatch):
    resolve_model(str(folder))
    hits = files._hash_file.cache_info().hits
    resolve_model(str(folder))
    assert files._hash_file.cache_info().hits > hits


def test_a_moved_folder_is_the_same_model(folder, tmp_path):
    before = resolve_model(str(folder))
    moved = folder.rename(tmp_path / "elsewhere")
    assert resolve_model(str(moved)).fingerprint == before.fingerprint


def test_a_missing_folder_is_named():
    with pytest.raises(ModelError, match="model folder './nowhere' does not exist .*config.json"):
        resolve_model("./nowhere")


def test_a_file_is_not_a_model(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="is a file; give the folder that contains config.json"):
        resolve_model(str(tmp_path / "model.safetensors"))


def test_a_hub_id_that_is_not_cached_says_what_to_type():
    with pytest.raises(ModelError) as error:
        resolve_model("org/model-nobody-has")
    assert str(error.value).startswith(
        "model 'org/model-nobody-has' is not a local folder, is not in"
    )
    assert "type: hf download org/model-nobody-has" in str(error.value)


def test_a_revision_is_part_of_the_name():
    with pytest.raises(ModelError, match="model 'org/model-nobody-has@v2' is not a local folder"):
        resolve_model("org/model-nobody-has", revision="v2")


def test_an_impossible_name_is_refused():
    with pytest.raises(ModelError, match="neither a folder nor a Hugging Face id; write org/name"):
        resolve_model("a b/c")


def test_a_folder_without_configuration(folder):
    (folder / "config.json").unlink()
    with pytest.raises(
        ModelError, match="has no config.json in .*; give the folder save_pretrained"
    ):
        resolve_model(str(folder))


def test_a_folder_without_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="has no tokenizer in .*tokenizer.save_pretrained"):
        resolve_model(str(folder))


def test_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no weights: no \\*.safetensors in"):
        resolve_model(str(folder))


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        ModelError, match=r"only pickled weights \(pytorch_model.bin\), which can run"
    ):
        resolve_model(str(folder))


def test_damaged_weights_are_named(folder):
    (folder / "model.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(ModelError, match="weights file .*model.safetensors is damaged"):
        resolve_model(str(folder))


def test_a_tokenizer_with_more_ids_than_embeddings(folder):
    edit(folder / "config.json", vocab_size=300)
    with pytest.raises(
        ModelError, match="does not fit it: token .* has id 319, but the model has 300"
    ):
        resolve_model(str(folder))


def test_an_architecture_that_is_no_causal_language_model(folder):
    edit(folder / "config.json", model_type="no-such-architecture")
    with pytest.raises(ModelError, match="the config.json of model .* cannot be used"):
        resolve_model(str(folder))


def test_an_adapter_needs_peft(folder, tmp_path, monkeypatch):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    found = resolve_model(str(folder), adapter=str(adapter))
    assert found.adapter_fingerprint
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(
        MissingPackageError, match=r"needs the package peft; type: pip install 'curate"
    ):
        load_model(found, "cpu", "float32")


def test_device_and_dtype_resolve_to_what_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    assert (resolve_dtype("auto", "cpu"), resolve_dtype("float64", "cpu")) == ("float32", "float64")
    with pytest.raises(ConfigError, match="torch finds no CUDA device here; pass --device cpu"):
        resolve_device("cuda")
    with pytest.raises(ConfigError, match="no device 'tpu'; choose auto, cpu, cuda or cuda:0"):
        resolve_device("tpu")
    for several in ("cuda:0,1", "cuda:", "cuda:x"):
        with pytest.raises(ConfigError, match=f"no device '{several}'; choose auto, cpu, cuda or"):
            resolve_device(several)
    with pytest.raises(
        ConfigError, match="no dtype 'int8'; choose auto, float32, bfloat16, float64"
    ):
        resolve_dtype("int8", "cpu")


def test_a_card_that_only_emulates_bfloat16_gets_float32(monkeypatch):
    MockedCard(monkeypatch, 100, n=2)
    compute = {
        0: (9, 0),
        1: (7, 5),
    }  # an H100, and a T4, of which torch says that it supports bfloat16
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda device: compute[device.index or 0]
    )
    assert resolve_device("auto") == resolve_device("cuda") == "cuda"
    found = [resolve_dtype("auto", device) for device in ("cuda", "cuda:0", "cuda:1")]
    assert found == ["bfloat16", "bfloat16", "float32"]
    assert resolve_dtype("bfloat16", "cuda:1") == "bfloat16"


def test_a_card_that_is_not_here_is_refused_with_those_that_are(monkeypatch):
    MockedCard(monkeypatch, 100, n=2)
    assert resolve_device("cuda:1") == "cuda:1"
    with pytest.raises(ConfigError) as error:
        resolve_device("cuda:2")
    assert str(error.value) == (
        "device 'cuda:2' was requested, but torch finds 2 GPUs here: cuda:0, cuda:1; pass one of these, or "
        "cuda for all"
    )


def test_a_tokenizer_that_reports_no_limit_sets_none():
    class Settings:
        pass

    class Tokenizer:
        model_max_length = int(1e30)

    assert context_length(Settings(), Tokenizer()) is None
    Tokenizer.model_max_length = 128
    assert context_length(Settings(), Tokenizer()) == 128


def test_an_encoder_resolves_by_its_files(folder):
    found = resolve_encoder(str(folder))
    assert not found.is_causal and found.n_parameters is None


ARCHITECTURES = {
    "gemma2": {"final_logit_softcapping": 5.0, "head_dim": 8, "query_pre_attn_scalar": 8},
    "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 4.0},
    "gpt2": {},
    "phi": {},
    "gpt_neox": {},
    "qwen3": {"head_dim": 8},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 16},
}


def make(name, settings, folder):
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {
        "vocab_size": 320, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(name, **sizes, **settings)
        model = AutoModelForCausalLM.from_config(config)
        output = model.get_output_embeddings()
        if output.bias is not None:
            torch.nn.init.normal_(output.bias)
    for path in ("config.json", "model.safetensors"):
        (folder / path).unlink()
    model.save_pretrained(folder)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_heads_of_other_architectures_give_the_models_own_logits(folder, name):
    make(name, ARCHITECTURES[name], folder)
    loaded = load_model(resolve_model(str(folder)), "cpu", "float64")
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    ids = torch.tensor([[0, 5, 9, 77, 300]])
    with torch.inference_mode():
        found = loaded.head.finish(loaded.head.project(loaded.hidden(ids)))
        torch.testing.assert_close(found, model(ids, use_cache=False).logits, rtol=1e-8, atol=1e-10)


def test_a_head_of_another_kind_is_refused_by_name(folder, monkeypatch):
    make("granite", {"logits_scaling": 4.0}, folder)
    monkeypatch.setattr("curate.models.load._logit_scale", lambda model, config: 1.0)
    with pytest.raises(ModelError, match=r"\(GraniteForCausalLM\) computes its logits in a way"):
        load_model(resolve_model(str(folder)), "cpu", "float32")


def test_tied_weights_count_as_a_head_of_their_own(folder):
    make("llama", {"tie_word_embeddings": True}, folder)
    loaded = load_model(resolve_model(str(folder)), "cpu", "float64")
    assert loaded.head.is_linear
    wanted = float(loaded.backbone.embed_tokens.weight.square().sum())
    assert loaded.head_weight_sq_norm == pytest.approx(wanted, rel=1e-12)


def rewritten(folder, change):
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    return resolve_model(str(folder))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda w: {k: v for k, v in w.items() if "layers.0.mlp" not in k},
            (
                r"lack model.layers.0.mlp.down_proj.weight, model.layers.0.mlp.gate_proj.weight, "
                r"model.layers.0.mlp.up_proj.weight; random ones"
            ),
        ),
        (
            lambda w: {f"language_model.{k}": v for k, v in w.items()},
            r"lack .* and \d+ more; they hold language_model\.\S+ instead",
        ),
    ],
    ids=["layer", "prefix"],
)
def test_weights_that_are_missing_are_not_drawn_at_random(change, words, folder):
    resolved = rewritten(folder, change)
    with pytest.raises(ModelError, match=f"the weights of model .*{words}"):
        load_model(resolved, "cpu", "float32")
    config = TrainConfig(str(folder)).resolved(has_chat_template=True)
    with pytest.raises(ModelError, match=f"the weights of model .*{words}"):
        load_trained_model(resolved, config, torch.device("cpu"))


def test_an_untied_head_that_the_files_lack_is_missing(folder, capfd):
    edit(folder / "config.json", tie_word_embeddings=False)
    resolved = rewritten(folder, lambda w: {k: v for k, v in w.items() if k != "lm_head.weight"})
    with pytest.raises(ModelError, match=r"lack lm_head\.weight; random ones"):
        load_model(resolved, "cpu", "float32")
    assert "LOAD REPORT" not in capfd.readouterr().err  # the error says it


def test_weights_that_are_not_numbers_are_called_that(folder):
    def spoiled(weights):
        weights["model.layers.0.mlp.down_proj.weight"][0, 0] = torch.nan
        return weights

    resolved = rewritten(folder, spoiled)
    with pytest.raises(ModelError, match="are not finite in float32: its weights hold NaN"):
        load_model(resolved, "cpu", "float32")


def test_an_adapter_is_not_a_model_and_says_of_which_it_is(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    with pytest.raises(
        ModelError, match=r"is an adapter of 'org/base', .* --model org/base --adapter"
    ):
        resolve_model(str(tmp_path))
