"""Which scorers share a pass, and what each pass runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from curate.contracts import ForwardScorer, LoadContext, PoolScorer, Rendering, Scorer
from curate.errors import ConfigError
from curate.models.load import ResolvedModel
from curate.models.text.chat_options import ChatOptions
from curate.scoring.backends import refuse_several
from curate.scoring.blocks import BLOCK, ROW_BLOCK
from curate.scoring.keys import NOTHING_CHOSEN
from curate.scoring.requests import ALONE, PREFIXES, SHARED, ScoreRequest, with_template


@final
@dataclass(frozen=True, slots=True)
class PassMember:
    """One scorer in a pass, and the score set it fills.

    ``files`` has the hash of each file that the scorer reads, by name, as it is in the set's key, and
    ``targets`` the folder of each target set.
    """

    set_id: str
    alias: str
    scorer: Scorer
    paper_template: bool = True
    files: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, Path] = field(default_factory=dict)


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
    served_chat
        How conversations are shown to a model on a server.
    alone_tokens
        Budget on a CPU of a batch whose rows share nothing; None if it is ``batch_tokens``.
    share_prefixes
        Whether rows that begin alike compute that once: part of how rows are cut into batches.
    row_block
        Examples that a row scorer is given at once: part of what decides its bits.
    backend
        What runs the model in place of our own pass, or None.
    """

    rides: tuple[PassMember, ...]
    model: ResolvedModel | None
    dtype: str
    batch_tokens: int
    within: Path | None = None
    served_chat: ChatOptions = NOTHING_CHOSEN
    alone_tokens: int | None = None
    share_prefixes: bool = False
    row_block: int = ROW_BLOCK
    backend: str | None = None

    @property
    def set_ids(self) -> tuple[str, ...]:
        """Score sets this pass fills."""
        return tuple(ride.set_id for ride in self.rides)

    @property
    def is_forward(self) -> bool:
        """Whether this is a pass of a causal language model."""
        return isinstance(self.rides[0].scorer, ForwardScorer)

    @property
    def runs_weights(self) -> bool:
        """Whether a model runs in it: not where it reads text alone, or a tokenizer."""
        return self.model is not None and self.rides[0].scorer.reads_weights

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
        by = "" if self.backend is None else f", by {self.backend}"
        return f"{scorers} ({self.template}, {segments}{note}{by})"

    def context(self, device: str) -> LoadContext:
        """Return what a row scorer loads from."""
        model = self.model
        return LoadContext(
            device,
            self.dtype,
            None if model is None else model.path,
            None,
            None if model is None else model.adapter,
            self.batch_tokens,
            self.served_chat if model is None else model.chat,
            self.rides[0].files,
            self.rides[0].targets,
        )


def plan_passes(
    requests: Sequence[ScoreRequest], runs: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Pass]:
    """Group requests into passes, in order of their first request.

    Forward scorers of one model, adapter, dtype, template family and way of cutting batches share
    a pass; each row scorer is a pass of its own. Pool scorers read no shards and are refused with
    `ConfigError`, as are several passes of vLLM.

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
                request.model, request.dtype, _batch_tokens(request, runs), template, _within(request),
                _alone_tokens(request, runs), _share_prefixes(request, runs), request.key.backend,
            )  # fmt: skip
        else:
            group = (request.key.set_id,)
        groups.setdefault(group, []).append(request)
    passes = [
        Pass(
            rides=tuple(
                PassMember(
                    r.key.set_id, r.alias, r.scorer, r.paper_template, r.key.files(), r.targets
                )
                for r in group
            ),
            model=group[0].model,
            dtype=group[0].dtype,
            batch_tokens=_batch_tokens(group[0], runs),
            within=_within(group[0]),
            served_chat=group[0].served_chat,
            alone_tokens=_alone_tokens(group[0], runs),
            share_prefixes=_share_prefixes(group[0], runs),
            row_block=_row_block(group[0], runs),
            backend=group[0].key.backend,
        )
        for group in groups.values()
    ]
    refuse_several([each.describe() for each in passes if each.backend is not None])
    return passes


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


def _alone_tokens(
    request: ScoreRequest, runs: Mapping[str, Mapping[str, Any]] | None
) -> int | None:
    stored = (runs or {}).get(request.key.set_id, request.run_parameters())
    return stored.get(ALONE)  # a set that was begun without it has one budget


def _row_block(request: ScoreRequest, runs: Mapping[str, Mapping[str, Any]] | None) -> int:
    stored = (runs or {}).get(request.key.set_id, request.run_parameters())
    return int(stored.get(BLOCK, ROW_BLOCK))  # a set that was begun without it has the most


def _share_prefixes(request: ScoreRequest, runs: Mapping[str, Mapping[str, Any]] | None) -> bool:
    stored = (runs or {}).get(request.key.set_id, request.run_parameters())
    return stored.get(PREFIXES) == SHARED  # a set that was begun without it goes on without it


def _within(request: ScoreRequest) -> Path | None:
    return None if request.scope is None else request.scope.path
