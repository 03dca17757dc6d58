"""The key of a score set: everything that determines its values."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from curate.contracts import ForwardScorer, Rendering, Scorer
from curate.models.load import ResolvedModel
from curate.models.text.chat_options import ChatOptions
from curate.models.text.templates import CHAT
from curate.store.records import FILE_INPUT, ScoreKey

NOTHING_CHOSEN: Final = ChatOptions()
EXACT_HEAD: Final = "; head float32"  # since when rewards in bfloat16 have more than a few digits


def score_key(
    scorer: Scorer,
    model: ResolvedModel | None,
    dtype: str,
    inputs: Mapping[str, str],
    chat: ChatOptions = NOTHING_CHOSEN,
    backend: str | None = None,
) -> ScoreKey:
    """Return everything that determines the values of a score set.

    A hub model counts by its name and commit, a folder by the hash of its contents alone, so that
    moving it changes nothing. A row scorer of a tokenizer alone does not depend on weights or dtype.
    ``chat`` is what was chosen for a model that is elsewhere, on a server, ``backend`` what runs it in
    place of our own pass.
    """
    given: dict[str, Any] = asdict(scorer)  # type: ignore[call-overload]
    config = {name: value for name, value in given.items() if name not in scorer.unkeyed}
    templates = sorted({r.template for r in renderings_of(scorer)})
    template = ",".join(templates) or getattr(scorer, "template", None)
    if model is None:
        template = template + chat.key if template else template
        return ScoreKey(scorer.name, scorer.version, config, template=template, inputs=dict(inputs))
    if template and CHAT in template.split(","):
        template = f"{template}@{model.chat_template_hash}"
    template = _with_choices(template, model)
    weights = scorer.reads_weights
    return ScoreKey(
        scorer=scorer.name,
        version=scorer.version,
        config=config,
        model=_model_key(model) if weights else None,
        tokenizer=model.tokenizer_hash,
        template=template,
        max_length=model.max_length if isinstance(scorer, ForwardScorer) else None,
        dtype=_dtype_key(scorer, dtype) if weights else None,
        inputs=dict(inputs),
        backend=backend,
    )


def _dtype_key(scorer: Scorer, dtype: str) -> str:
    """Return the dtype of the weights, and that of a reward model's head where it is another."""
    return f"{dtype}{EXACT_HEAD}" if scorer.role == "reward" and dtype == "bfloat16" else dtype


def dtype_of(key: Mapping[str, Any]) -> str:
    """Return the dtype to ask for, to compute the scores of a stored key again."""
    return str(key.get("dtype") or "auto").removesuffix(EXACT_HEAD)


def _with_choices(template: str | None, model: ResolvedModel) -> str | None:
    """Add to a template's part of a key what the user chose besides it, where that is not the default."""
    if not template:
        return template
    if "@" in template:
        return template + model.chat.key
    dropped = model.chat.reasoning == "drop" and model.is_causal
    return f"{template};reasoning=drop" if dropped else template


def files_of(scorer: Scorer) -> dict[str, str]:
    """Return what the files that a scorer reads add to its key: the hash of each, by name."""
    return {f"{FILE_INPUT}{name}": digest for name, digest in scorer.read_files().items()}


def renderings_of(scorer: Scorer) -> tuple[Rendering, ...]:
    """Return the renderings of a forward scorer's segments; none of another's."""
    if not isinstance(scorer, ForwardScorer):
        return ()
    return tuple(segment.rendering for segment in scorer.segments())


def _model_key(model: ResolvedModel) -> dict[str, Any]:
    return {
        "name": model.name if model.revision else None,
        "fingerprint": model.fingerprint,
        "adapter": model.adapter_fingerprint,
    }
