"""Which language a text is written in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

import numpy as np

from curate.contracts import FAILURE, Column, Columns, Example, LoadContext, Role, RowScorer
from curate.errors import MissingPackageError, UndefinedScore
from curate.models.classifiers.text_model import make_each, object_column
from curate.models.text.templates import Part, part_of
from curate.registry import register

_READ: Final = 4_000  # characters: more change nothing


@register
@final
@dataclass(frozen=True)
class Language(RowScorer):
    """The language of a text, and how sure the detector is: ``--where "language.code == 'en'"``.

    Detected by py3langid [1]_, which knows about 140 languages by the bytes of a text, reads no network and
    is installed with ``pip install "curate-sft[language]"``. The first 4,000 characters are read.
    A text of few words is a guess, as ``confidence`` says; code and formulas have no language
    and get one all the same. A text without a letter fails with ``no_letters``.

    Parameters
    ----------
    part
        ``response``: the last turn. ``prompt``: what comes before it. ``full``: the whole conversation.

    References
    ----------
    .. [1] Lui and Baldwin, langid.py: An Off-the-shelf Language Identification Tool, ACL 2012;
       Barbaresi, py3langid, https://github.com/adbar/py3langid
    """

    name: ClassVar[str] = "language"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "code": Column("text", "ISO 639 code of the language, such as en"),
        "confidence": Column("float", "probability of it among the languages known, 0 to 1"),
    }
    part: Part = "response"

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        detector = load_detector()

        def detect(example: Example) -> tuple[str, float]:
            text = part_of(example, self.part)[:_READ]
            if not any(map(str.isalpha, text)):
                raise UndefinedScore("no_letters")
            code, probability = detector.classify(text)
            return str(code), float(probability)

        def score(examples: Sequence[Example]) -> Columns:
            made, places, reasons = make_each(examples, detect)
            codes, confidence = [""] * len(examples), np.full(len(examples), np.nan)
            for place, (code, probability) in zip(places, made, strict=True):
                codes[place], confidence[place] = code, probability
            return {
                "code": object_column(codes),
                "confidence": confidence,
                FAILURE: np.array(reasons, dtype=object),
            }

        return score


def load_detector() -> Any:
    """Load the detector with its own model, or raise `MissingPackageError` that names the extra to install."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise MissingPackageError(
            "scorer 'language' needs the package py3langid; "
            "type: pip install 'curate-sft[language]'"
        ) from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
