import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from mocked_card import MockedCard

from curate.contracts import Example, LoadContext
from curate.errors import ExampleFailure, MissingPackageError
from curate.scorers.sentence_embedding import SentenceEmbedding

QUESTIONS = ["name a colour", "what is two plus two?", "write a poem about the sea " * 20]


def example_of(question, answer="blue"):
    return Example(
        "0" * 32,
        ({"role": "user", "content": question}, {"role": "assistant", "content": answer}),
    )


@pytest.mark.slow
def test_vectors_are_those_of_the_library(minilm):
    from sentence_transformers import SentenceTransformer

    score = SentenceEmbedding().load(LoadContext("cpu", "float32", str(minilm)))
    found = score([example_of(question) for question in QUESTIONS])["vector"]
    library = SentenceTransformer(str(minilm), device="cpu", local_files_only=True)
    wanted = library.encode([f"{q}\nblue" for q in QUESTIONS], show_progress_bar=False)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert found.dtype == np.float32 and found.shape == (3, 384)
    again = score([example_of(question) for question in QUESTIONS])["vector"]
    assert found.tobytes() == again.tobytes()


@pytest.mark.parametrize(("part", "text"), [("full", "q\na"), ("prompt", "q"), ("response", "a")])
def test_the_part_asked_for_is_embedded(part, text):
    assert SentenceEmbedding(part=part).text(example_of("q", "a")) == text


def test_nothing_to_embed_fails_the_example():
    with pytest.raises(ExampleFailure, match="nothing_to_embed"):
        SentenceEmbedding(part="prompt").text(
            Example("0", ({"role": "assistant", "content": "a"},))
        )


def test_without_the_library_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingPackageError, match=r"type: pip install 'curate-sft\[encoder\]'"):
        SentenceEmbedding().load(LoadContext("cpu", "float32", "nowhere"))


def test_an_encoder_of_a_numbered_gpu_makes_it_the_current_one(monkeypatch, tmp_path):
    card, asked = MockedCard(monkeypatch, 100, n=2), []

    class SentenceTransformer:
        def __init__(self, folder, *, device, **options):
            asked.append((Path(folder), device, list(card.current)))

    library = ModuleType("sentence_transformers")
    library.SentenceTransformer = SentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    (tmp_path / "config.json").write_text("{}")
    SentenceEmbedding().load(LoadContext("cuda:1", "float32", str(tmp_path)))
    assert asked == [(tmp_path, "cuda:1", ["cuda:1"])]
