"""What files of strangers can do: nothing but what their rows and weights are for."""

import ast
import copy
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

import curate as cu
from curate.api.reproduce import reproduce
from curate.contracts.progress import SilentProgress
from curate.data.write.manifest import read_manifest
from curate.errors import DataError, ExampleFailure, ModelError
from curate.models.load import load_causal, load_config, load_tokenizer, resolve_model
from curate.models.text import template_code

ROOT = Path(__file__).resolve().parent.parent

# Manifests ---------------------------------------------------------------------------------------


def reproduced(manifest: Path) -> dict[str, Any]:
    return reproduce(
        manifest, store=None, output=None, rescore=False, workers=None, progress=SilentProgress()
    )


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small pool and an export of it."""
    folder = tmp_path_factory.mktemp("theirs")
    rows = [{"prompt": f"Say {i}.", "response": "so" * i + "."} for i in range(6)]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = cu.open(folder / "curate.duckdb", create=True)
    pool.ingest(str(folder / "pool.jsonl"))
    pool.select(rank="n_chars", budget=3).export(folder / "subset.jsonl")
    return folder


@pytest.fixture
def manifest(theirs: Path) -> dict[str, Any]:
    """The manifest of the export, to change."""
    found: dict[str, Any] = json.loads((theirs / "subset.jsonl.manifest.json").read_text())
    return found


def test_a_manifest_writes_nowhere_but_under_the_bare_name(
    manifest: dict[str, Any], theirs: Path, tmp_path: Path
) -> None:
    target = tmp_path / "victim.jsonl"
    place = theirs / "their.manifest.json"
    for name in (str(target), "../victim.jsonl", "../../victim.jsonl", "a/b.jsonl", "..", ".", ""):
        manifest["output"]["name"] = name
        place.write_text(json.dumps(manifest))
        with pytest.raises(DataError) as caught:
            reproduced(place)
        assert str(caught.value) == (
            f"manifest {str(place)!r} is damaged or was edited: output.name {name!r} is not the bare "
            "name of a file or folder; give the *.manifest.json as the export wrote it, or export again"
        )
    assert not target.exists() and not (theirs.parent / target.name).exists()
    manifest["output"]["name"] = "subset.jsonl"
    place.write_text(json.dumps(manifest))
    assert reproduced(place)["identical"]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value of a JSON document, the whole document excepted."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in inside:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def test_a_value_of_another_kind_is_named_or_harmless(
    manifest: dict[str, Any], tmp_path: Path
) -> None:
    place, known = tmp_path / "m.json", set[str]()
    wrong: Any
    for path in places(manifest):
        for wrong in (None, 7, "x", [], {}, [None], True):
            document = copy.deepcopy(manifest)
            at = document
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = wrong
            place.write_text(json.dumps(document))
            try:
                read_manifest(place)
            except DataError as error:
                assert f"manifest {str(place)!r}" in str(error) or "not a manifest" in str(error)
                known.add(".".join(map(str, path)))
    assert {"store", "seed", "output", "output.name", "output.sha256", "inputs", "specs"} <= known


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"store": 5}, "store is not text"),
        ({"datasets": [None]}, "datasets[0] is not text"),
        ({"score_sets": {"a": {"set_id": "s"}}}, "score_sets.a.content_hash is missing"),
        ({"specs": {"a": {"key": []}}}, "specs.a.key is not a mapping"),
        ({"inputs": {}}, "inputs is not a list"),
        ({"seed": "1"}, "seed is not a whole number"),
        ({"seed": 2**63}, "seed has 64 bits, and the store keeps 63"),
        ({"seed": -1}, "seed is -1, but no seed is negative"),
        ({"output": None}, "output is not a mapping"),
    ],
)
def test_a_malformed_manifest_is_one_clear_error(
    manifest: dict[str, Any], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    place = tmp_path / "m.json"
    place.write_text(json.dumps({**manifest, **change}))
    with pytest.raises(DataError) as caught:
        reproduced(place)
    assert str(caught.value).startswith(
        f"manifest {str(place)!r} is damaged or was edited: {said}; give the *.manifest.json"
    )


def test_a_manifest_nested_without_end_is_one_clear_error(tmp_path: Path) -> None:
    place = tmp_path / "m.json"
    place.write_text("[" * 100_000)
    with pytest.raises(DataError, match="is nested too deeply to be one of curate"):
        reproduced(place)


# Code that comes with a model --------------------------------------------------------------------


@pytest.fixture
def hostile_model(tiny_model: Path, tmp_path: Path) -> Path:
    """Folder of a model whose configuration and tokenizer ask to run a file of theirs."""
    folder = tmp_path / "hostile"
    shutil.copytree(tiny_model, folder)
    (folder / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Theirs: pass\n")
    for name, keys in (
        ("tokenizer_config.json", {"AutoTokenizer": ["theirs.Theirs", "theirs.Theirs"]}),
        ("config.json", {"AutoConfig": "theirs.Theirs", "AutoModelForCausalLM": "theirs.Theirs"}),
    ):
        document = json.loads((folder / name).read_text())
        document.update(auto_map=keys, tokenizer_class="Theirs", model_type="theirs")
        (folder / name).write_text(json.dumps(document))
    return folder


def test_code_that_comes_with_a_model_never_runs(
    hostile_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def yes(question: str) -> str:
        asked.append(question)
        return "y"

    monkeypatch.setattr("builtins.input", yes)
    folder = str(hostile_model)
    words = "it needs code of its own (auto_map), and code that comes with a model is never run"
    with pytest.raises(ModelError) as caught:
        load_tokenizer(folder)
    assert str(caught.value) == (
        f"the tokenizer in {folder} cannot be loaded: {words}; copy it again, or save it as a class of "
        "transformers with tokenizer.save_pretrained(folder)"
    )
    with pytest.raises(ModelError) as caught:
        load_config("theirs", hostile_model)
    assert str(caught.value) == f"the config.json of model 'theirs' cannot be used: {words}"
    with pytest.raises(ModelError) as caught:
        load_causal("theirs", folder, None, "cpu", "float32")
    assert str(caught.value).endswith(words)
    assert asked == [] and not (tmp_path / "ran").exists()


def loadings() -> list[tuple[str, int, ast.Call]]:
    """Return every call that loads a tokenizer, processor, configuration, model or encoder."""
    found = []
    for folder in ("curate", "selectors", "jobs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if "from_pretrained(" not in text and "SentenceTransformer(" not in text:
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(
                    ("Auto", "auto.", "transformers.Auto", "SentenceTransformer", "CrossEncoder")
                ):
                    found.append((path.relative_to(ROOT).as_posix(), node.lineno, node))
    return [
        one for one in found if not ast.unparse(one[2].func).endswith(("register", "from_config"))
    ]


def test_every_loading_refuses_code_whatever_is_typed() -> None:
    assert len(loadings()) >= 10
    for path, line, call in loadings():
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert given.get("trust_remote_code") == "False", f"{path}:{line}"


# Pickles in a model's folder -------------------------------------------------------------------------


class Bomb:
    """What makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


SAVE = (
    ", which can run code when they are read; save it with save_pretrained(..., "
    "safe_serialization=True) and pass that folder"
)


@pytest.mark.parametrize(
    ("gone", "pickled", "said"),
    [
        ("model.safetensors", "pytorch_model.bin", "model 'theirs' has only pickled weights (pytorch_model.bin)" + SAVE),
        ("model.safetensors", "model.pt", "model 'theirs' has only pickled weights (model.pt)" + SAVE),
        ("tokenizer.json", "tokenizer.pkl", "model 'theirs' has no tokenizer in {folder}; save it there"),
        ("tokenizer.json", "tokenizer.json", "the tokenizer in {folder} cannot be loaded: "),
        ("model.safetensors", "model.safetensors", "weights file {folder}/model.safetensors is damaged"),
        ("config.json", "config.json", "the config.json of model 'theirs' cannot be used: "),
        ("chat_template.jinja", "chat_template.jinja", "the tokenizer in {folder} cannot be loaded: "),
    ],
)  # fmt: skip
def test_no_pickle_of_a_model_is_read(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    gone: str, pickled: str, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_model, "theirs")
    bomb = pickle.dumps(Bomb(tmp_path / "ran"))
    for beside in ("training_args.bin", "vocab.pkl"):  # never looked at
        Path("theirs", beside).write_bytes(bomb)
    assert resolve_model("theirs").n_parameters
    Path("theirs", gone).unlink(missing_ok=True)
    Path("theirs", pickled).write_bytes(bomb)
    with pytest.raises(ModelError) as caught:
        resolve_model("theirs")
    assert str(caught.value).startswith(said.format(folder=tmp_path / "theirs"))
    for load in (load_tokenizer, lambda name: load_causal(name, name, None, "cpu", "float32")):
        with suppress(ModelError, SafetensorError):
            load("theirs")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("beside", [None, "other.safetensors"])
def test_no_pickle_of_an_adapter_is_read(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: str | None
) -> None:
    pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    folder = Path("adapter")
    folder.mkdir()
    facts = {"base_model_name_or_path": str(tiny_model), "peft_type": "LORA", "r": 2}
    (folder / "adapter_config.json").write_text(json.dumps(facts))
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    if beside:
        shutil.copy(tiny_model / "model.safetensors", folder / beside)
    with pytest.raises(ModelError) as caught:
        load_causal("base", str(tiny_model), "adapter", "cpu", "float32")
    assert str(caught.value) == (
        "adapter 'adapter' has only pickled weights (adapter_model.bin), which can run code when they are "
        "read; save it with save_pretrained(folder, safe_serialization=True) and pass that folder"
    )
    assert not (tmp_path / "ran").exists()


# Arrow files that lead outside themselves --------------------------------------------------------

MUTANTS = """
import io, random, sys
from pathlib import Path
import pyarrow as pa
import pyarrow.parquet as pq
from curate.data.read.containers.arrow_readers import arrow_schema, read_arrow
from curate.errors import DataError

path, rng = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
table = pa.table({
    "prompt": [f"Say {i}." for i in range(50)],
    "response": pa.array([f"{i}" for i in range(50)], pa.large_string()),
    "messages": [[{"role": "user", "content": f"{i}"}] for i in range(50)],
    "kind": pa.array(["a", "b"] * 25).dictionary_encode(),
    "view": pa.array([f"{i}" * 9 for i in range(50)], pa.string_view()),
})
whole = []
for codec in (None, "zstd"):
    for new in (pa.ipc.new_file, pa.ipc.new_stream):
        sink = io.BytesIO()
        with new(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
            writer.write_table(table, max_chunksize=20)
        whole.append(sink.getvalue())
read = refused = 0
for number in range(300):
    data = bytearray(whole[number % 4])
    for _ in range(rng.choice((1, 2, 8))):
        data[rng.randrange(len(data))] = rng.choice((0, 255, 127, 128, rng.randrange(256)))
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)) :]
    path.write_bytes(data)
    try:
        schema = arrow_schema(path, "")
        for chunk in read_arrow(path, "", 0, schema):
            chunk.raw.to_pylist()
            pq.write_table(pa.Table.from_batches([chunk.raw]), io.BytesIO())
        read += 1
    except DataError as error:
        assert str(path) in str(error)
        refused += 1
print(read, refused)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_no_damaged_arrow_file_crashes_the_process(tmp_path: Path, seed: int) -> None:
    """It runs in a process of its own: what it is about ends the process."""
    ran = subprocess.run(
        [sys.executable, "-c", MUTANTS, str(tmp_path / "m.arrow"), str(seed)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    n_read, n_refused = map(int, ran.stdout.split())
    assert n_read > 20 and n_refused > 100


# Chat templates without an end --------------------------------------------------------------------


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{% for a in range(99999) %}{{ m(a) }}{% endfor %}",
        "{{ 10 ** (10 ** 10) }}",
        "{{ 'a' * 10 ** 10 }}",
        "{{ [1] * 10 ** 10 }}",
        "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
        "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = (n.s ~ '').replace('', n.s) %}{% endfor %}",
        "{% set n = namespace(s=1) %}{% for i in range(60) %}{% set n.s = dict(a=n.s, b=n.s) %}{% endfor %}{{ n.s | tojson }}",
        "{{ lipsum(n=10 ** 7) }}",
        "{{ 'a' | center(10 ** 9) }}",
        "{{ 'a'.ljust(10 ** 9) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (10 ** 9, 1) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ 1.5 | round(10 ** 9) }}",
        "{{ messages | tojson(indent=10 ** 9) }}",
        "{{ 'a' | indent(10 ** 9) }}",
        "{{ '\t'.expandtabs(10 ** 9) }}",
        "{{ ('a' * 10 ** 6) | join('b' * 10 ** 6) }}",
        "{{ 'a' | batch(10 ** 9, 'b') | list }}",
        "{{ 'a'.zfill(10 ** 9) }}",
    ],
)
def test_a_template_that_does_not_end_fails_its_example(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a thread of its own, as no signal reaches one there."""
    monkeypatch.setattr(template_code, "LIMIT_S", 0.1)
    code = template_code.compile_template(template)
    with ThreadPoolExecutor(1) as threads:
        reason = threads.submit(_reason, code).result(timeout=60)
    assert reason.startswith(("template_timeout", "template_error"))


def _reason(code: template_code.TemplateCode) -> str:
    with pytest.raises(ExampleFailure) as caught:
        code.render([{"role": "user", "content": "a"}], None, {}, prompt=False)
    return caught.value.reason
