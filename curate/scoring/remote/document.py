"""The plan that the machine with the store publishes: all that a worker elsewhere has to know, as JSON."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, final

import curate
from curate.errors import StoreError
from curate.models.text.chat_options import ChatOptions
from curate.scoring.remote.places import PLAN, budgets_of
from curate.scoring.requests import ALONE
from curate.store.objects import Objects
from curate.store.records import ScoreKey, canonical_json, digest

FORMAT: Final = 3
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")  # becomes part of paths here
_HEX: Final = re.compile(r"[0-9a-f]{8,64}")


@final
@dataclass(frozen=True, slots=True)
class PlannedModel:
    """A model by the name that was typed, and what its files hash to; ``role`` is whose it is.

    ``revision`` is the commit of a model of the hub, None for a folder.
    """

    name: str
    role: str
    revision: str | None
    fingerprint: str
    adapter: str | None
    chat: ChatOptions


@final
@dataclass(frozen=True, slots=True)
class PlannedSet:
    """One score set: its key, how it is run, and the shards that lack a part.

    ``settings`` are the scorer's fields, also those that are not in the key. ``reads`` has, by alias,
    the id of each set it reads and the budgets of its batches, as `budgets_of` writes them. ``alone_tokens``,
    ``share_prefixes`` and ``row_block`` are as in `ScoreRequest`, fixed with the set.
    """

    alias: str
    key: ScoreKey
    settings: Mapping[str, Any]
    model: PlannedModel | None
    dtype: str
    batch_tokens: int
    alone_tokens: int | None
    paper_template: bool
    served_chat: ChatOptions
    reads: Mapping[str, Sequence[Any]]
    scope: str | None
    missing: Sequence[str]
    share_prefixes: bool
    row_block: int

    @property
    def budgets(self) -> str:
        """The token budgets of its batches, after which the folder of its parts is named."""
        return budgets_of({"batch_tokens": self.batch_tokens, ALONE: self.alone_tokens})


@final
@dataclass(frozen=True, slots=True)
class PlannedScope:
    """The only examples of some sets: the selection they are of, and how many each shard has."""

    selection: str
    checksum: str
    counts: Mapping[str, int]


@final
@dataclass(frozen=True, slots=True)
class PlannedShard:
    """One shard of the pool. ``ids`` is the digest of its examples, ``checksum`` names its object.

    A shard that no set lacks has none.
    """

    shard_id: str
    dataset: str
    n_examples: int
    text_bytes: int = 0
    ids: str = ""
    checksum: str = ""


@final
@dataclass(frozen=True, slots=True)
class PlanDocument:
    """What is scored: sets, and every shard of the pool in order, so that slices deal them out alike.

    ``asked`` is what the user typed that decides the numbers, and ``models`` the names of the models by
    role.
    """

    asked: Mapping[str, Any]
    models: Mapping[str, str]
    sets: Sequence[PlannedSet]
    scopes: Mapping[str, PlannedScope]
    shards: Sequence[PlannedShard]
    curate: str = curate.__version__
    format: int = FORMAT

    @property
    def plan_id(self) -> str:
        """Hash of everything in it: the same pool and command give the same plan."""
        return digest(canonical_json(asdict(self)), 8)

    def write(self, objects: Objects) -> None:
        """Publish it, in place of an earlier one."""
        text = json.dumps({"plan_id": self.plan_id, **asdict(self)}, indent=1, sort_keys=True)
        objects.write(PLAN, text.encode("utf-8", "surrogatepass"))

    @classmethod
    def find(cls, objects: Objects) -> "PlanDocument | None":
        """Read the published plan, None where there is none.

        Raises `StoreError` for what is no whole plan, or of another version.
        """
        data = objects.read(PLAN)
        if data is None:
            return None
        try:
            found = json.loads(data.decode("utf-8", "surrogatepass"))
            version, number = str(found["curate"])[:40], found["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(objects, "it is no plan") from error
        if number != FORMAT:
            raise StoreError(
                f"{objects.place(PLAN)} was written by curate {version} in another form than this version "
                f"({curate.__version__}) reads; install the same version on every machine"
            )
        try:
            plan = _parsed(found)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(objects, str(error)[:200]) from error
        if plan.plan_id != found.get("plan_id"):
            raise _damaged(objects, "its content does not have the hash it names")
        return plan

    def set_of(self, set_id: str) -> PlannedSet:
        """Return a planned set by its id."""
        return next(planned for planned in self.sets if planned.key.set_id == set_id)


def _damaged(objects: Objects, flaw: str) -> StoreError:
    return StoreError(
        f"{objects.place(PLAN)} cannot be used: {flaw}; publish it again, on the machine with the store: "
        "the same curate score command with --plan-only"
    )


def _parsed(found: Mapping[str, Any]) -> PlanDocument:
    return PlanDocument(
        asked=dict(found["asked"]),
        models=dict(found["models"]),
        sets=[_set(each) for each in found["sets"]],
        scopes={
            _checked(_HEX, name): replace(
                PlannedScope(**each), checksum=_checked(_HEX, each["checksum"])
            )
            for name, each in found["scopes"].items()
        },
        shards=[_shard(each) for each in found["shards"]],
        curate=str(found["curate"]),
        format=FORMAT,
    )


def _set(found: Mapping[str, Any]) -> PlannedSet:
    model = found["model"]
    if model is not None:
        model = PlannedModel(**{**model, "chat": ChatOptions(**model["chat"])})
    key = ScoreKey(**found["key"])
    for set_id, _ in found["reads"].values():
        _checked(_HEX, set_id)
    served = ChatOptions(**found["served_chat"])
    return PlannedSet(**{**found, "key": key, "model": model, "served_chat": served})


def _shard(found: Mapping[str, Any]) -> PlannedShard:
    shard = PlannedShard(**found)
    _checked(_NAME, shard.shard_id)
    _checked(_NAME, shard.dataset)
    for value in (shard.ids, shard.checksum):
        if value:
            _checked(_HEX, value)
    return shard


def _checked(pattern: re.Pattern[str], value: Any) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{str(value)[:60]!r} is no name that a plan has")
    return value
