"""How the GPUs of this machine are dealt to workers: as many to each as the largest model needs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, final

from curate.contracts.display import counted
from curate.errors import ConfigError, DeviceError
from curate.models.load import ResolvedModel
from curate.models.room import DTYPE_BYTES, GIB, card_bytes, lack_of_room, name_of
from curate.models.spread import cards_needed, lack_over, refusal, weight_bytes
from curate.scoring.executors import RAY
from curate.scoring.executors.local import devices_for, n_devices
from curate.scoring.options import ScoringOptions
from curate.scoring.plan import Pass

OPTION: Final = "--num-gpus-per-worker"


@final
@dataclass(frozen=True, slots=True)
class Weights:
    """What a pass holds on its cards.

    Parameters
    ----------
    model, dtype
        Of the weights.
    alone
        The scorer that can use one card alone; empty for a forward pass, which can use several.
    """

    model: ResolvedModel
    dtype: str
    alone: str = ""

    @property
    def n_bytes(self) -> int:
        """What they take."""
        return weight_bytes(self.model.path, self.dtype)


@final
@dataclass(frozen=True, slots=True)
class Dealt:
    """What each worker gets.

    Parameters
    ----------
    device
        The device of the job, such as ``cuda`` for all GPUs of the machine.
    n
        Cards of each worker.
    there
        Cards that are dealt; none of a CPU.
    n_bytes
        Of the largest model's weights.
    lack
        How much weights take and cards have, where they do not fit; empty if they do.
    refusal
        The same as a sentence that says what would fit.
    """

    device: str
    n: int = 1
    there: int = 0
    n_bytes: int = 0
    lack: str = ""
    refusal: str = ""

    @property
    def n_workers(self) -> int:
        """Workers there are cards for."""
        return self.there // self.n

    def devices(self, workers: int) -> list[str]:
        """Return the device of each worker; raise `DeviceError` where weights do not fit on theirs."""
        if self.refusal:
            raise DeviceError(self.refusal)
        if self.n == 1:
            return devices_for(self.device, workers)
        numbered = devices_for(self.device, self.n * workers)
        return [name_of(numbered[at : at + self.n]) for at in range(0, len(numbered), self.n)]

    def check(self, workers: int | None) -> None:
        """Raise `ConfigError` where so many workers of several cards each would have to share them."""
        if self.n > 1 and workers is not None and workers > self.n_workers:
            raise ConfigError(
                f"--workers {workers} with {self.n} GPUs a worker: --device {self.device} has {self.there}, "
                f"enough for {self.n_workers}; type --workers {self.n_workers}, or leave it out"
            )

    def describe(self, workers: int) -> str:
        """Say how weights lie over cards; empty with one a worker."""
        if self.n == 1 or self.refusal:
            return ""
        return (
            f"{self.n_bytes / GIB:.1f} GiB of weights over {self.n} GPUs a worker, "
            f"{counted(workers, 'worker')} on {self.there} GPUs"
        )


def weights_of(passes: Iterable[Pass]) -> list[Weights]:
    """Return what passes hold that load a language model from files, by our own means."""
    return [
        Weights(each.model, each.dtype, "" if each.is_forward else each.rides[0].alias)
        for each in passes
        if each.runs_weights and each.backend is None and each.model and each.model.n_parameters
    ]


def deal(weights: Sequence[Weights], device: str, asked: int | None = None) -> Dealt:
    """Return how many cards each worker gets: as asked, or as few as hold the largest model.

    With all GPUs of a machine, of several, to deal: a worker on a CPU or a named GPU has that alone.
    A model that one card holds with room for a batch takes one.

    Raises `ConfigError` for more cards than there are, and without any.
    """
    there = n_devices(device) if device.startswith("cuda") else 0
    if not weights:
        return Dealt(device, there=there)
    if asked is not None and asked > there:
        raise ConfigError(
            f"{OPTION} {asked}: --device {device} has {counted(there, 'GPU')}; leave it out"
        )
    if device != "cuda" or there == 1:
        return Dealt(device, there=there)
    cards = devices_for(device, there)
    needs = [_needs(one, cards, asked) for one in weights]
    worst = next((one for one in needs if one.refusal), _Needs(1))
    forward = [one.n_bytes for one in weights if not one.alone]
    n = max(asked or 1, *(one.n for one in needs)) if forward else 1
    return Dealt(device, n, there, max(forward, default=0), worst.lack, worst.refusal)


def weights_mib(passes: Iterable[Pass]) -> float | None:
    """Return what the largest model of the passes takes, MiB; None where none is of known size."""
    sizes = [
        each.model.n_parameters * DTYPE_BYTES[each.dtype]
        for each in passes
        if each.model is not None and each.model.n_parameters is not None
    ]
    return round(max(sizes) / 2**20, 1) if sizes else None


def lack_of(passes: Sequence[Pass], dealt: Dealt, options: ScoringOptions) -> str | None:
    """Say how much weights take and the cards of this machine have, where they do not fit; else None."""
    if dealt.lack or dealt.n > 1 or options.executor == RAY:  # whose cards are elsewhere
        return dealt.lack or None
    n_bytes = round((weights_mib(passes) or 0) * 2**20)
    return lack_of_room(n_bytes, devices_for(dealt.device, 1)[0])


@final
@dataclass(frozen=True, slots=True)
class _Needs:
    """How many cards weights take; ``lack`` and ``refusal`` as in `Dealt`."""

    n: int
    lack: str = ""
    refusal: str = ""


def _needs(one: Weights, cards: Sequence[str], asked: int | None) -> _Needs:
    name, folder, dtype = one.model.name, one.model.path, one.dtype
    on_one = lack_of_room(one.n_bytes, min(cards, key=lambda card: card_bytes(card)[1]))
    if one.alone and on_one is not None:
        words = (
            f"scorer {one.alone!r} runs its model on one card, as all do but those of a forward pass: the "
            f"weights of {name!r} in {dtype} take {on_one}; give a smaller model, or a card with more memory"
        )
        return _Needs(1, on_one, words)
    n = 1 if one.alone else cards_needed(folder, dtype, cards)
    if n is None and on_one is None:
        n = 1  # batches may be too large for what is left, and are halved until they fit
    if n is None:
        return _Needs(1, lack_over(one.n_bytes, cards), refusal(name, folder, dtype, cards))
    if asked is not None and n > asked:
        lack = on_one if asked == 1 and on_one else lack_over(one.n_bytes, cards[:asked])
        words = f"the weights of model {name!r} in {dtype} take {lack}; type {OPTION} {n}, or leave it out"
        return _Needs(asked, lack, words)
    return _Needs(n)
