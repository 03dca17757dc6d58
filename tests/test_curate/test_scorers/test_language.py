import sys

import numpy as np
import pytest

from curate.contracts import FAILURE, Example, LoadContext
from curate.errors import MissingPackageError
from curate.scorers.language import Language

TEXTS = {
    "en": "The cat sat on the mat and looked out of the window at the rain.",
    "de": "Die Katze saß auf der Matte und schaute aus dem Fenster in den Regen.",
    "fr": "Le chat était assis sur le tapis et regardait la pluie par la fenêtre.",
    "es": "El gato estaba sentado en la alfombra y miraba la lluvia por la ventana.",
    "ru": "Это был долгий вечер, и мы все ещё сидели у окна, пока она читала вслух.",
    "zh": "猫坐在垫子上，望着窗外的雨。",
    "ja": "猫はマットの上に座って、窓の外の雨を見ていました。",
}


def detect(*pairs, **settings):
    messages = [
        ({"role": "user", "content": p}, {"role": "assistant", "content": r}) for p, r in pairs
    ]
    examples = [Example(f"{n:032x}", one) for n, one in enumerate(messages)]
    return Language(**settings).load(LoadContext("cpu", "float32"))(examples)


def test_languages_are_told_apart():
    found = detect(*(("Say.", text) for text in TEXTS.values()))
    assert found["code"].tolist() == list(TEXTS)
    assert ((found["confidence"] > 0.8) & (found["confidence"] <= 1)).all()


@pytest.mark.parametrize(("part", "code"), [("prompt", "de"), ("response", "fr")])
def test_part_says_which_text(part, code):
    assert detect((TEXTS["de"], TEXTS["fr"]), part=part)["code"].tolist() == [code]


def test_a_text_without_letters_fails_alone():
    found = detect(("Say.", "42 + 1 = 43"), ("Say.", TEXTS["en"]))
    assert found[FAILURE].tolist() == ["no_letters", None]
    assert np.isnan(found["confidence"]).tolist() == [True, False]


def test_the_extra_is_named_where_the_detector_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(
        MissingPackageError, match=r"needs the package py3langid; type: pip install 'curate-sft"
    ):
        Language().load(LoadContext("cpu", "float32"))
