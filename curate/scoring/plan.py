"""Which scorers share a pass, what each pass runs, and what that costs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, final

from curate.contracts import ForwardScorer, LoadContext, PoolScorer, Rendering, Scorer
from curate.errors import ConfigError
from curate.models.batch import CPU_BATCH_TOKENS, default_batch_tokens
from curate.models.load import (
    ResolvedModel,
    resolve_device,
    resolve_dtype,
    resolve_encoder,
    resolve_model,
)
from curate.models.nli import resolve_nli
from curate.models.templates import CHAT, METHOD, text_template

if TYPE_CHECKING:
    from curate.scoring.passes import ForwardPass, RowPass
    from curate.scoring.scope import Scope
    from curate.store.records import ScoreKey

ENCODER_SCORERS: Final[Mapping[str, str]] = {"embedding": "sentence-embedding"}


class Options(Protocol):
    """The options a request reads."""

    @property
    def adapter(self) -> str | None: ...  # noqa: D102
    @property
    def revision(self) -> str | None: ...  # noqa: D102
    @property
    def template(self) -> str: ...  # noqa: D102
    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def dtype(self) -> str: ...  # noqa: D102
    @property
    def batch_tokens(self) -> int | None: ...  # noqa: D102


@final
@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """One requested score set: a scorer, on a model, under an alias.

    ``paper_template`` says whether the scorer keeps the template it was configured with; False means
    that ``--template`` replaced it, so the scores are not the published ones. A derived scorer has
    ``inputs``, what it reads and may still have to be computed, and ``input_specs``, by alias. With
    a ``scope`` only its examples are scored.
    """

    alias: str
    scorer: Scorer
    key: "ScoreKey"
    model: ResolvedModel | None = None
    dtype: str = "float32"
    batch_tokens: int = CPU_BATCH_TOKENS
    paper_template: bool = True
    inputs: "tuple[ScoreRequest, ...]" = ()
    input_specs: Mapping[str, Any] = field(default_factory=dict)
    scope: "Scope | None" = None

    def spec(self) -> dict[str, Any]:
        """Return everything needed to recompute these scores elsewhere."""
        return {"key": json.loads(self.key.to_json()), "run": self.run_parameters()}

    def run_parameters(self) -> dict[str, Any]:
        """Return what is stored when the score set is created, and reused by every later run."""
        model = self.model
        where = None if model is None else (model.name if model.revision else model.path)
        inputs = {"inputs": dict(self.input_specs)} if self.input_specs else {}
        scope = {"within": self.scope.selection} if self.scope else {}
        return {
            **inputs,
            **scope,
            "batch_tokens": self.batch_tokens,
            "paper_template": self.paper_template,
            "model": where,
            "revision": model.revision if model else None,
            "adapter": model.adapter if model else None,
        }


@final
@dataclass(frozen=True, slots=True)
class PassMember:
    """One scorer in a pass, and the score set it fills."""

    set_id: str
    alias: str
    scorer: Scorer
    paper_template: bool = True


@final
@dataclass(frozen=True, slots=True)
class Pass:
    """Scorers that run together over a shard; small and picklable, it travels to the workers.

    Parameters
    ----------
    rides
        Forward scorers of one model, dtype and template family, or one row scorer.
    model
        Resolved and hashed, or None for a row scorer without a model.
    dtype, batch_tokens
        Of the forward pass.
    within
        Parquet file with the ids of the only examples it scores, or None for all.
    """

    rides: tuple[PassMember, ...]
    model: ResolvedModel | None
    dtype: str
    batch_tokens: int
    within: Path | None = None

    @property
    def set_ids(self) -> tuple[str, ...]:
        """Score sets this pass fills."""
        return tuple(ride.set_id for ride in self.rides)

    @property
    def is_forward(self) -> bool:
        """Whether this is a pass of a causal language model."""
        return isinstance(self.rides[0].scorer, ForwardScorer)

    @property
    def renderings(self) -> tuple[Rendering, ...]:
        """Each distinct rendering once, in the order in which they run."""
        distinct: dict[Rendering, None] = {}
        for ride in self.rides:
            if isinstance(ride.scorer, ForwardScorer):
                distinct.update((segment.rendering, None) for segment in ride.scorer.segments())
        return tuple(distinct)

    @property
    def template(self) -> str:
        """Template the pass writes its texts with."""
        if self.is_forward:
            return self.renderings[0].template
        return str(getattr(self.rides[0].scorer, "template", "-"))

    def describe(self) -> str:
        """Describe briefly what runs: scorers, template, segments."""
        scorers = "+".join(ride.alias for ride in self.rides)
        if not self.is_forward:
            return scorers
        count = len(self.renderings)
        note = "" if all(ride.paper_template for ride in self.rides) else ", non-paper template"
        segments = "1 segment" if count == 1 else f"{count} segments"
        return f"{scorers} ({self.template}, {segments}{note})"

    def spec(self) -> "Pass":
        """Return what a worker needs: the pass itself."""
        return self

    def load(self, device: str) -> "ForwardPass | RowPass":
        """Load models and tokenizers in a worker, ready to run shards."""
        from curate.scoring.passes import ForwardPass, RowPass

        return ForwardPass(self, device) if self.is_forward else RowPass(self, device)

    def context(self, device: str) -> LoadContext:
        """Return what a row scorer loads from."""
        if self.model is None:
            return LoadContext(device, self.dtype, batch_tokens=self.batch_tokens)
        path, adapter = self.model.path, self.model.adapter
        return LoadContext(device, self.dtype, path, None, adapter, self.batch_tokens)


def resolve_scorer(name: str, models: Mapping[str, str] | Sequence[str]) -> type[Scorer]:
    """Return the scorer that a name means, given the roles with models.

    ``embedding`` is the target model's hidden states, or ``sentence-embedding`` when there is an
    encoder. Raises `ConfigError` for an unknown name, with the nearest spelling.
    """
    from curate.registry import get_scorer

    return get_scorer(ENCODER_SCORERS.get(name, name) if "encoder" in models else name)


def with_template(scorer: Scorer, template: str) -> tuple[Scorer, bool]:
    """Replace a scorer's template; return it and whether it still has its original one.

    ``method`` keeps every scorer's own.
    """
    if template == METHOD or not any(f.name == "template" for f in fields(scorer)):  # type: ignore[arg-type]
        return scorer, True
    own = getattr(scorer, "template")  # noqa: B009 - the field is optional in the contract
    replaced: Scorer = replace(scorer, template=template)  # type: ignore[type-var]
    return replaced, own == template


def request_for(
    scorer: Scorer,
    alias: str,
    model: str | None,
    options: Options,
    *,
    inputs: Mapping[str, str] | None = None,
) -> ScoreRequest:
    """Resolve a scorer's model, device and dtype, and make the key of the score set it fills.

    Raises `ModelError` for a model that cannot be used and `ConfigError` for a template, device or dtype
    that does not exist.
    """
    scorer, paper_template = with_template(scorer, options.template)
    for rendering in _renderings(scorer):
        if rendering.template != CHAT:
            text_template(rendering.template)
    resolved = None
    dtype = "float32"
    if model is not None:
        device = resolve_device(options.device)
        dtype = resolve_dtype(options.dtype, device)
        if scorer.role == "encoder":
            resolved, dtype = resolve_encoder(model, revision=options.revision), "float32"
        elif scorer.role == "nli":
            resolved = resolve_nli(model, revision=options.revision)
        else:
            resolved = resolve_model(model, revision=options.revision, adapter=options.adapter)
    key = score_key(scorer, resolved, dtype, inputs or {})
    tokens = options.batch_tokens or default_batch_tokens(resolve_device(options.device))
    return ScoreRequest(alias, scorer, key, resolved, dtype, tokens, paper_template)


def score_key(
    scorer: Scorer, model: ResolvedModel | None, dtype: str, inputs: Mapping[str, str]
) -> "ScoreKey":
    """Return everything that determines the values of a score set.

    A hub model counts by its name and commit, a folder by the hash of its contents alone, so that
    moving it changes nothing. A row scorer of a tokenizer alone does not depend on weights or dtype.
    """
    from curate.store.records import ScoreKey

    config = asdict(scorer)  # type: ignore[call-overload]
    templates = sorted({r.template for r in _renderings(scorer)})
    template = ",".join(templates) or getattr(scorer, "template", None)
    if model is None:
        return ScoreKey(scorer.name, scorer.version, config, template=template, inputs=dict(inputs))
    if template and CHAT in template.split(","):
        template = f"{template}@{model.chat_template_hash}"
    weights = scorer.reads_weights
    return ScoreKey(
        scorer=scorer.name,
        version=scorer.version,
        config=config,
        model=_model_key(model) if weights else None,
        tokenizer=model.tokenizer_hash,
        template=template,
        max_length=model.max_length if isinstance(scorer, ForwardScorer) else None,
        dtype=dtype if weights else None,
        inputs=dict(inputs),
    )


def plan_passes(
    requests: Sequence[ScoreRequest], runs: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Pass]:
    """Group requests into passes, in order of their first request.

    Forward scorers of one model, adapter, dtype, template family and token budget of a batch share
    a pass; each row scorer is a pass of its own. Pool scorers read no shards and are refused with
    `ConfigError`.

    Parameters
    ----------
    requests
        The requested score sets; one requested twice runs once.
    runs
        Run parameters stored with score sets that exist already, by set id; they win over the
        request's, so that a resumed job computes the same bits.
    """
    groups: dict[tuple[Any, ...], list[ScoreRequest]] = {}
    for request in {r.key.set_id: r for r in requests}.values():
        if isinstance(request.scorer, PoolScorer):
            raise ConfigError(f"scorer {request.scorer.name!r} reads the whole pool, not shards")
        if isinstance(request.scorer, ForwardScorer):
            template = request.scorer.segments()[0].rendering.template
            group: tuple[Any, ...] = (
                request.model, request.dtype, _batch_tokens(request, runs), template, _within(request)
            )  # fmt: skip
        else:
            group = (request.key.set_id,)
        groups.setdefault(group, []).append(request)
    return [
        Pass(
            rides=tuple(
                PassMember(r.key.set_id, r.alias, r.scorer, r.paper_template) for r in group
            ),
            model=group[0].model,
            dtype=group[0].dtype,
            batch_tokens=_batch_tokens(group[0], runs),
            within=_within(group[0]),
        )
        for group in groups.values()
    ]


def unify(requests: Sequence[ScoreRequest], template: str) -> list[ScoreRequest]:
    """Return the requests as ``--template`` would make them, to compare what both cost."""
    return [
        replace(request, scorer=scorer, paper_template=own)
        for request in requests
        for scorer, own in [with_template(request.scorer, template)]
    ]


def _batch_tokens(request: ScoreRequest, runs: Mapping[str, Mapping[str, Any]] | None) -> int:
    stored = (runs or {}).get(request.key.set_id, {})
    return int(stored.get("batch_tokens", request.batch_tokens))


def _within(request: ScoreRequest) -> Path | None:
    return None if request.scope is None else request.scope.path


def _renderings(scorer: Scorer) -> tuple[Rendering, ...]:
    if not isinstance(scorer, ForwardScorer):
        return ()
    return tuple(segment.rendering for segment in scorer.segments())


def _model_key(model: ResolvedModel) -> dict[str, Any]:
    return {
        "name": model.name if model.revision else None,
        "fingerprint": model.fingerprint,
        "adapter": model.adapter_fingerprint,
    }
