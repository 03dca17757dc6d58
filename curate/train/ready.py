"""A run that may begin: its rows rendered, its settings complete, and what determines its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from curate.errors import ConfigError
from curate.models.load import load_tokenizer, resolve_model
from curate.models.text.render import Renderer
from curate.train.checks import check_run
from curate.train.config import TrainConfig
from curate.train.data import Prepared, TrainRow, prepare
from curate.train.steps.stream import Stream, fitted, open_stream

if TYPE_CHECKING:
    from curate.models.load import ResolvedModel


@final
@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """What is known of a run before its model is loaded; a plan reads it, too.

    Parameters
    ----------
    config
        With every ``auto`` resolved, and a batch that the rows fill.
    prepared, held_out
        The rows to train on, and those of each evaluation set.
    identity
        What determines the trained weights.
    stream
        The batches.
    said
        What the user should know of the batch, or None.
    """

    config: TrainConfig
    resolved: "ResolvedModel"
    renderer: Renderer
    prepared: Prepared
    held_out: Mapping[str, Prepared]
    identity: dict[str, Any]
    stream: Stream
    said: str | None

    @classmethod
    def of(
        cls,
        config: TrainConfig,
        rows: Sequence[TrainRow],
        evaluation: Mapping[str, Sequence[TrainRow]],
    ) -> "Ready":
        """Render the rows and check all that can be checked without a model.

        Raises what `curate.train.api.train` raises for settings, rows and a model that cannot be used.
        """
        resolved = resolve_model(config.model, revision=config.revision, chat=config.data.chat)
        config = config.resolved(has_chat_template=resolved.chat_template_hash is not None)
        check_run(config, resolved)
        renderer = Renderer(load_tokenizer(resolved.path), resolved.max_length, resolved.chat)
        rendering = config.data.rendering
        prepared = prepare(rows, renderer, rendering)
        config, said = fitted(prepared, config)
        held_out = {
            name: prepare(listed, renderer, rendering, f"evaluation set {name!r}")
            for name, listed in evaluation.items()
        }
        if config.watch.patience is not None and not held_out:
            raise ConfigError("patience needs an evaluation set; give one, or leave patience out")
        identity = run_identity(config, resolved, prepared, held_out)
        stream = open_stream(prepared, config)
        return cls(config, resolved, renderer, prepared, held_out, identity, stream, said)


def run_identity(
    config: TrainConfig,
    resolved: "ResolvedModel",
    prepared: Prepared,
    evaluation: Mapping[str, Prepared],
) -> dict[str, Any]:
    """Return what determines the trained weights: settings, model, tokenizer, rows and weights.

    The evaluation sets count only if they control early stopping.
    """
    identity = {
        **config.identity(),
        "model": resolved.fingerprint,
        "tokenizer": resolved.tokenizer_hash,
        "rows": prepared.fingerprint,
    }
    if config.data.rendering.template == "chat":
        identity["chat_template"] = resolved.chat_template_hash
    if config.watch.patience is not None:
        identity["evaluation"] = {name: rows.fingerprint for name, rows in evaluation.items()}
    return identity
