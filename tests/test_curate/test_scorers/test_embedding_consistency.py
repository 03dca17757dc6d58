import json

import numpy as np
import pytest

from curate.contracts import Example, LoadContext
from curate.models.classifiers.text_model import object_column
from curate.scorers.embedding_consistency import EmbeddingConsistency, cosines
from curate.scorers.nli_consistency import Agreement


def example_of(question, answer, number=0):
    return Example(
        f"{number:032x}",
        ({"role": "user", "content": question}, {"role": "assistant", "content": answer}),
    )


VECTORS = {
    "a": np.array([1.0, 0.0]),
    "b": np.array([3.0, 4.0]),
    "c": np.array([-1.0, 0.0]),
    "zero": np.zeros(2),
}


def test_cosines_are_cut_to_the_unit_interval():
    read = Agreement.of(example_of("q", "a"), json.dumps(["b", "c", "A.", "", "zero"]), "plain")
    assert cosines(read, VECTORS).tolist() == pytest.approx([0.6, 0, 1, 0, 0])


def test_an_empty_response_agrees_with_an_empty_answer_only():
    read = Agreement.of(example_of("q", ""), json.dumps(["a", ""]), "plain")
    assert cosines(read, VECTORS).tolist() == [0, 1]


def test_similarity_is_the_cosine_of_the_library(minilm):
    from sentence_transformers import SentenceTransformer

    listed = (["answer: a blue sky", "answer: tax law"], ["", "answer: yes"])
    texts = object_column([json.dumps(one) for one in listed])
    examples = [example_of("what is above?", "the sky is blue"), example_of("is it?", "Yes", 1)]
    score = EmbeddingConsistency(k=2).load(LoadContext("cpu", "float32", str(minilm)))
    found = score(examples, {"samples.texts": texts})
    library = SentenceTransformer(str(minilm), device="cpu", local_files_only=True)
    y, near, far = library.encode(
        ["the sky is blue", "a blue sky", "tax law"], show_progress_bar=False
    )
    wanted = [float(y @ v / np.linalg.norm(y) / np.linalg.norm(v)) for v in (near, far)]
    assert found["similarity"][0] == pytest.approx(np.clip(wanted, 0, 1), abs=1e-5)
    assert wanted[0] > wanted[1]
    assert found["similarity"][1].tolist() == [0, 1] and found["match"][1].tolist() == [0, 1]
    assert found["parsed"][1].tolist() == [0, 1]
