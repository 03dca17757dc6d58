"""Natural language inference models: which label is contradiction, and its probability for pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from jaxtyping import Float, Int

from curate.errors import ModelError
from curate.models.classifiers.text_model import IDS, TextModel
from curate.models.files import (
    check_causal_folder,
    count_parameters,
    find_folder,
    tokenizer_hash,
    weights_hash,
)
from curate.models.load import (
    ResolvedModel,
    load_config,
    load_tokenizer,
    position_limit,
)
from curate.models.pretrained import read_pretrained
from curate.models.room import use_device

if TYPE_CHECKING:
    from torch import Tensor

Pair = tuple[str, str]  # premise, hypothesis


def resolve_nli(name: str, *, revision: str | None = None) -> ResolvedModel:
    """Find a sequence classifier with a contradiction label and hash it, without loading weights.

    Raises `ModelError` for a folder or hub id that cannot be used, and for unknown labels.
    """
    folder, commit = find_folder(name, revision)
    check_causal_folder(name, folder)
    config = load_config(name, folder)
    contradiction_label(name, config.id2label)
    return ResolvedModel(
        name=name,
        path=str(folder),
        revision=commit,
        fingerprint=commit or weights_hash(folder),
        tokenizer_hash=tokenizer_hash(folder),
        chat_template_hash=None,
        max_length=None,
        vocab_size=None,
        n_parameters=count_parameters(folder),
        is_causal=False,
    )


def contradiction_label(name: str, labels: Mapping[int, str]) -> int:
    """Return the index of the contradiction label; it differs between checkpoints.

    Raises `ModelError`, which calls the model ``name``, unless exactly one label is named so.
    """
    matching = [i for i, label in labels.items() if label.strip().lower().startswith("contradict")]
    if len(matching) == 1:
        return int(matching[0])
    listed = ", ".join(f"{i}: {label}" for i, label in list(labels.items())[:5])
    raise ModelError(
        f"model {name!r} has the labels {listed}; exactly one must be named contradiction, or its "
        "index cannot be known; name them under id2label in its config.json, or pass a model "
        "trained on MNLI"
    )


@final
@dataclass(frozen=True, eq=False)
class NliModel:
    """A loaded NLI model that returns probabilities of contradiction."""

    texts: TextModel

    @property
    def limit(self) -> int | None:
        """Tokens a pair may have, special ones included; None for any number."""
        return self.texts.limit

    def lengths(self, pairs: Sequence[Pair]) -> Int[np.ndarray, " n"]:
        """Return the tokens of each pair, without truncation."""
        if not pairs:
            return np.zeros(0, dtype=np.int64)
        ids = self.texts.tokenizer(*_sides(pairs), verbose=False)[IDS]
        return np.array([len(row) for row in ids], dtype=np.int64)

    def contradictions(
        self, pairs: Sequence[Pair]
    ) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Return the probability of contradiction of each pair, and the tokens it ran.

        True pairs for the tokenizer, sorted by length into batches. The longer text of a pair
        beyond ``limit`` is cut.
        """
        answers = self.texts.answers(*_sides(pairs))
        return answers.values, answers.tokens


def load_nli(folder: str, device: str, dtype: str, batch_tokens: int | None = None) -> NliModel:
    """Load an NLI model from its folder; raise `ModelError` if it is not one."""
    from transformers import AutoModelForSequenceClassification

    use_device(device)
    model, report = read_pretrained(
        AutoModelForSequenceClassification, folder, folder, dtype, "an NLI model", device=device
    )
    if report["missing_keys"]:
        raise ModelError(
            f"model {folder!r} is not an NLI model: its weights lack "
            f"{', '.join(sorted(report['missing_keys'])[:3])}; pass a trained sequence classifier"
        )
    tokenizer: Any = load_tokenizer(folder)
    contradiction = contradiction_label(folder, model.config.id2label)
    limit = position_limit(model.config, tokenizer)
    model = model.to(device).eval().requires_grad_(False)
    pad = tokenizer.pad_token_id or 0

    def run(inputs: Mapping[str, "Tensor"]) -> "Tensor":
        logits: Tensor = model(**inputs).logits
        return logits.double().softmax(-1)[:, contradiction]

    return NliModel(
        TextModel(tokenizer, device, run, lambda _: pad, limit=limit, batch_tokens=batch_tokens)
    )


def _sides(pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    return [premise for premise, _ in pairs], [hypothesis for _, hypothesis in pairs]
