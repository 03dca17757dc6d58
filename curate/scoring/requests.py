"""What is asked of a scoring job: a scorer on a model under an alias, with what it reads."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts import (
    DerivedScorer,
    ForwardScorer,
    Need,
    PoolScorer,
    Role,
    RowScorer,
    RunScorer,
    Scorer,
)
from curate.errors import ConfigError, MissingColumnError
from curate.models.batch import CPU_BATCH_TOKENS, default_alone_tokens, default_batch_tokens
from curate.models.classifiers.nli import resolve_nli
from curate.models.load import ResolvedModel, resolve_encoder, resolve_model
from curate.models.text.chat_options import ChatOptions
from curate.models.text.masks import TRL
from curate.models.text.templates import CHAT, METHOD, text_template
from curate.registry import build, get_scorer, names
from curate.scoring.auto_dtype import Chosen, choose_dtype
from curate.scoring.backends import backend_for, tokens_at_once, with_room
from curate.scoring.blocks import BLOCK, ROW_BLOCK, row_block
from curate.scoring.keys import NOTHING_CHOSEN, files_of, renderings_of, score_key
from curate.scoring.options import ScoringOptions
from curate.store.records import POOL_INPUT, TARGET_INPUT, ScoreKey

if TYPE_CHECKING:
    from curate.scoring.scope import Scope
    from curate.store import ScoreSetStatus, Store

ALONE: Final = "alone_tokens"  # run parameter, where it is not that of all batches
PREFIXES: Final = "prefixes"  # run parameter: whether what rows begin with runs once
SHARED: Final = "shared"
ENCODER_SCORERS: Final[Mapping[str, str]] = {"embedding": "sentence-embedding"}


@final
@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """One requested score set: a scorer, on a model, under an alias.

    ``paper_template`` says whether the scorer keeps the template it was configured with; False means
    that ``--template`` replaced it, so the scores are not the published ones. A derived or pool scorer
    has ``inputs``, what it reads and may still have to be computed, and a derived one ``input_specs``,
    by alias. ``dtype_why`` says in words why ``auto`` chose its dtype. With a ``scope`` only its examples
    are scored. ``served_chat`` is what was chosen for a model on a server. With ``share_prefixes`` rows
    that begin alike compute that once, in a pass of a language model; rows that share nothing have
    batches of ``alone_tokens`` on a CPU, unless that is None. ``targets`` has the folder of parts of each
    target set the scorer reads, by name. A row scorer is given ``row_block`` examples at once.
    """

    alias: str
    scorer: Scorer
    key: ScoreKey
    model: ResolvedModel | None = None
    dtype: str = "float32"
    batch_tokens: int = CPU_BATCH_TOKENS
    paper_template: bool = True
    inputs: "tuple[ScoreRequest, ...]" = ()
    input_specs: Mapping[str, Any] = field(default_factory=dict)
    scope: "Scope | None" = None
    served_chat: ChatOptions = NOTHING_CHOSEN
    targets: Mapping[str, Path] = field(default_factory=dict)
    alone_tokens: int | None = None
    share_prefixes: bool = True
    dtype_why: str = ""
    row_block: int = ROW_BLOCK

    @property
    def chat(self) -> ChatOptions:
        """How conversations are shown to its model, here or on a server."""
        return self.served_chat if self.model is None else self.model.chat

    def spec(self) -> dict[str, Any]:
        """Return everything needed to recompute these scores elsewhere."""
        return {"key": json.loads(self.key.to_json()), "run": self.run_parameters()}

    def run_parameters(self) -> dict[str, Any]:
        """Return what is stored when the score set is created, and reused by every later run."""
        model = self.model
        where = None if model is None else (model.name if model.revision else model.path)
        shares = self.share_prefixes and isinstance(self.scorer, ForwardScorer)
        optional = {
            "inputs": dict(self.input_specs) or None,
            "within": self.scope.selection if self.scope else None,
            "chat": None if self.chat == NOTHING_CHOSEN else self.chat.identity,
            PREFIXES: SHARED if shares else None,
            ALONE: self.alone_tokens,
            BLOCK: None if self.row_block == ROW_BLOCK else self.row_block,
        }
        return {
            **{name: value for name, value in optional.items() if value is not None},
            "batch_tokens": self.batch_tokens,
            "paper_template": self.paper_template,
            "model": where,
            "revision": model.revision if model else None,
            "adapter": model.adapter if model else None,
        }


def make_request(
    store: "Store",
    scorer: str,
    alias: str,
    config: Mapping[str, Any],
    role: Role | None,
    options: ScoringOptions,
) -> ScoreRequest | None:
    """Make the request for one scorer, its model resolved; None if its role has no model here.

    Raises `ConfigError` for an unknown scorer or field, `ModelError` for a model that cannot be
    used. What a derived scorer reads is requested with it, and so is what a pool scorer reads if no
    model is needed for it; the other sets a pool scorer reads must be complete.
    """
    own = role == "target"  # the model's own states, even where there is an encoder
    cls = get_scorer(scorer) if own else resolve_scorer(scorer, options.models)
    made = build(cls, config)
    if isinstance(made, RunScorer):
        raise ConfigError(
            f"scorer {scorer!r} is measured while its model is trained, not in a pass; to record it: "
            f"curate score --scorer {scorer} --model-for {made.role}=MODEL"
        )
    if isinstance(made, PoolScorer):
        return pool_request(store, made, alias, options)
    if isinstance(made, DerivedScorer):
        return derived_request(store, made, alias, options)
    wanted = (role if made.model_role == "target" else None) or made.model_role
    hashes, folders = _targets(store, made)
    if wanted is None:
        request = request_for(made, alias, None, options, inputs=hashes)
        return replace(request, targets=folders)
    if wanted not in options.models:
        return None
    own_options = options_for(wanted, options)
    model = options.models[wanted]
    request = request_for(made, alias, model, own_options, inputs=hashes, store=store)
    return replace(request, targets=folders)


def _targets(store: "Store", scorer: Scorer) -> tuple[dict[str, str], dict[str, Path]]:
    """Return what the target sets that a scorer reads add to its key, and the folders they are in."""
    hashes: dict[str, str] = {}
    folders: dict[str, Path] = {}
    for name in scorer.read_targets():
        folders[name] = store.target(name).parts
        hashes[f"{TARGET_INPUT}{name}"] = store.target_set(name).content_hash
    return hashes, folders


def run_scorer(name: str, config: Mapping[str, Any]) -> RunScorer | None:
    """Return a scorer that is measured while a model is trained, or None for any other scorer."""
    if name not in names("scorer") or not issubclass(get_scorer(name), RunScorer):
        return None
    made = build(get_scorer(name), config)
    assert isinstance(made, RunScorer)
    return made


def derived_request(
    store: "Store", scorer: DerivedScorer, alias: str, options: ScoringOptions
) -> ScoreRequest | None:
    """Make the request for a derived scorer, with those for what it reads.

    A score set it reads whose role has no model here is bound to the only complete one of that
    scorer and configuration in the store. None if there is not exactly one, or if the scorer itself
    runs a model that is not given.
    """
    if scorer.role is not None and scorer.role not in options.models:
        return None
    model = None if scorer.role is None else options.models[scorer.role]
    bound: dict[str, str] = {}
    specs: dict[str, Any] = {}
    wanted: list[ScoreRequest] = []
    for name, need in scorer.requires().items():
        assert need.scorer is not None
        request = make_request(store, need.scorer, need.scorer, need.config, need.role, options)
        if request is None:
            stored = _stored(store, need)
            if stored is None:
                return None
            bound[name], specs[name] = stored.set_id, stored.spec
            continue
        if isinstance(request.scorer, PoolScorer):
            raise ConfigError(
                f"scorer {scorer.name!r} reads {need.scorer!r}, which sees the whole pool; a derived "
                "scorer reads scores of one example at a time"
            )
        bound[name], specs[name] = request.key.set_id, request.spec()
        wanted.append(request)
    own = options_for(scorer.role, options)
    made = request_for(scorer, alias, model, own, inputs=bound, store=store)
    return replace(made, inputs=tuple(wanted), input_specs=specs)


def pool_request(
    store: "Store", scorer: PoolScorer, alias: str, options: ScoringOptions
) -> ScoreRequest:
    """Make the request for a pool scorer: the exact sets it reads, and the hash of the pool it sees.

    Raises `MissingColumnError` for a set that needs a model and is not in the store.
    """
    statuses = {status.set_id: status for status in store.score_sets()}
    inputs = {POOL_INPUT: store.pool_hash()}
    wanted: list[ScoreRequest] = []
    for read, need in scorer.requires().items():
        assert need.scorer is not None
        request = make_request(store, need.scorer, read, need.config, need.role, options)
        named = [s for s in statuses.values() if read in (s.alias, *s.aliases) and s.complete]
        if request is not None and isinstance(request.scorer, RowScorer) and not request.model:
            inputs[read] = request.key.set_id
            wanted.append(request)
        elif request is not None and request.key.set_id in statuses:
            inputs[read] = request.key.set_id
        elif request is None and len(named) == 1:
            inputs[read] = named[0].set_id
        else:
            raise MissingColumnError(
                f"scorer {scorer.name!r} reads {read!r}, which is "
                + ("not" if len(named) == 0 or request is not None else "more than once")
                + f" in the store; compute it first: curate score --scorer {need.scorer}"
            )
    made = request_for(scorer, alias, None, options, inputs=inputs)
    return replace(made, inputs=tuple(wanted))


def resolve_scorer(name: str, models: Mapping[str, str] | Sequence[str]) -> type[Scorer]:
    """Return the scorer that a name means, given the roles with models.

    ``embedding`` is the target model's hidden states, or ``sentence-embedding`` when there is an
    encoder. Raises `ConfigError` for an unknown name, with the nearest spelling.
    """
    return get_scorer(ENCODER_SCORERS.get(name, name) if "encoder" in models else name)


def with_template(scorer: Scorer, template: str) -> tuple[Scorer, bool]:
    """Replace a scorer's template; return it and whether it still has its original one.

    ``method`` keeps every scorer's own; ``trl`` is ``chat`` with another source.
    """
    if template == METHOD or not any(f.name == "template" for f in fields(scorer)):  # type: ignore[arg-type]
        return scorer, True
    template = CHAT if template == TRL else template
    own = getattr(scorer, "template")  # noqa: B009 - the field is optional in the contract
    replaced: Scorer = replace(scorer, template=template)  # type: ignore[type-var]
    return replaced, own == template


def request_for(
    scorer: Scorer,
    alias: str,
    model: str | None,
    options: ScoringOptions,
    *,
    inputs: Mapping[str, str] | None = None,
    store: "Store | None" = None,
) -> ScoreRequest:
    """Resolve a scorer's model, device and dtype, and make the key of the score set it fills.

    What ``store`` has may decide the dtype. Raises `ModelError` for a model that cannot be used and `ConfigError` for a template, device or
    dtype that does not exist.
    """
    scorer, paper_template = with_template(scorer, options.template)
    for rendering in renderings_of(scorer):
        if rendering.template != CHAT:
            text_template(rendering.template)
    drops = is_served(scorer) and options.chat.reasoning == "drop"
    chat = ChatOptions(reasoning="drop") if drops else NOTHING_CHOSEN
    read = {**(inputs or {}), **files_of(scorer)}
    runs_weights = model is not None and scorer.reads_weights
    backend = backend_for(scorer, runs_weights=runs_weights, asked=options.backend)
    resolved, chosen = None, Chosen("float32")
    if model is not None:
        options.worker_dtype()  # refuses a device that is not there before the model is read
        found = resolve_for(
            scorer, model, options.chat, revision=options.revision, adapter=options.adapter
        )
        resolved = with_room(found, backend)
        keyed = partial(score_key, scorer, resolved, inputs=read, chat=chat, backend=backend)
        if scorer.role != "encoder":
            chosen = choose_dtype(store, scorer, resolved, options, keyed)
    key = score_key(scorer, resolved, chosen.dtype, read, chat, backend)
    device = options.worker_device(runs_weights=runs_weights)
    tokens = options.batch_tokens or tokens_at_once(backend, default_batch_tokens(device))
    is_forward = isinstance(scorer, ForwardScorer)
    block = row_block(resolved if runs_weights else None, device, served=is_served(scorer))
    return ScoreRequest(
        alias, scorer, key, resolved, chosen.dtype, tokens, paper_template, served_chat=chat,
        alone_tokens=default_alone_tokens(device) if is_forward and not (backend or options.batch_tokens) else None,
        row_block=ROW_BLOCK if is_forward else block, dtype_why=chosen.why, share_prefixes=backend is None,
    )  # fmt: skip


def resolve_for(
    scorer: Scorer, model: str, chat: ChatOptions, *, revision: str | None, adapter: str | None
) -> ResolvedModel:
    """Find the model of a scorer and hash it, as the kind of model that its role is."""
    if scorer.role == "encoder":
        return resolve_encoder(model, revision=revision)
    if scorer.role == "nli":
        return resolve_nli(model, revision=revision)
    if getattr(scorer, "template", None) != CHAT:  # TRL need not know this model's template
        chat = replace(chat, from_trl=False)
    return resolve_model(model, revision=revision, adapter=adapter, chat=chat)


def is_served(scorer: Scorer) -> bool:
    """Whether a scorer runs the model of its role elsewhere, on a server."""
    return scorer.role is not None and scorer.model_role is None


def with_inputs(requests: Sequence[ScoreRequest]) -> list[ScoreRequest]:
    """Return the requests followed by what they read, each score set once."""
    by_set: dict[tuple[str, str], ScoreRequest] = {(r.key.set_id, r.alias): r for r in requests}
    asked = {r.key.set_id for r in requests}
    waiting = [read for request in requests for read in request.inputs]
    while waiting:
        request = waiting.pop(0)
        waiting += request.inputs
        if request.key.set_id not in asked:
            asked.add(request.key.set_id)
            by_set[request.key.set_id, request.alias] = request
    return list(by_set.values())


def in_waves(requests: Sequence[ScoreRequest]) -> list[list[ScoreRequest]]:
    """Group requests so that everything a request reads is in an earlier group."""
    waves: dict[int, list[ScoreRequest]] = {}
    for request in requests:
        waves.setdefault(_depth(request), []).append(request)
    return [waves[depth] for depth in sorted(waves)]


def missing_model(
    scorer: str, options: ScoringOptions, config: Mapping[str, Any] | None = None
) -> str:
    """Say which models are missing for a scorer and what it reads, and how to pass them."""
    made = build(resolve_scorer(scorer, options.models), config or {})
    roles = missing_roles(made, options) or ["target"]
    flags = " ".join(model_flag(role) for role in roles)
    what = f"a {roles[0]} model" if len(roles) == 1 else f"{' and '.join(roles)} models"
    needs = made.requires().values() if isinstance(made, DerivedScorer) else ()
    hints = dict.fromkeys(need.hint for need in needs if need.hint and need.role in roles)
    pass_ = f"scorer {scorer!r} needs {what}; pass {flags} (a folder or a Hugging Face id)"
    return "; ".join([pass_, *hints])


def model_flag(role: str) -> str:
    """Return the flag that gives the model of a role."""
    return "--model MODEL" if role == "target" else f"--model-for {role}=MODEL"


def options_for(role: str | None, options: ScoringOptions) -> ScoringOptions:
    """Return the options for a role's model: adapter and revision belong to the target, if there is one."""
    if role == "target" or "target" not in options.models:
        return options
    return replace(options, adapter=None, revision=None)


def missing_roles(scorer: Scorer, options: ScoringOptions) -> list[str]:
    """Return the roles, in order, that a scorer and what it reads need but that have no model here."""
    return [role for role in roles_of(scorer, options.models) if role not in options.models]


def roles_of(scorer: Scorer, models: Mapping[str, str]) -> list[str]:
    """Return the roles whose models a scorer and everything it reads run, each once, in order."""
    return list(dict.fromkeys(_roles(scorer, None, models)))


def _roles(scorer: Scorer, role: str | None, models: Mapping[str, str]) -> Iterator[str]:
    own = (role if scorer.model_role == "target" else None) or scorer.model_role
    if own is not None:
        yield own
    if isinstance(scorer, DerivedScorer):
        for need in scorer.requires().values():
            assert need.scorer is not None
            read = build(resolve_scorer(need.scorer, models), need.config)
            yield from _roles(read, need.role, models)


def _stored(store: "Store", need: Need) -> "ScoreSetStatus | None":
    fitting = [
        status
        for status in store.score_sets()
        if status.scorer == need.scorer
        and status.complete
        and all(status.config.get(key) == value for key, value in need.config.items())
    ]
    return fitting[0] if len(fitting) == 1 else None


def _depth(request: ScoreRequest) -> int:
    return 1 + max((_depth(read) for read in request.inputs), default=-1)
