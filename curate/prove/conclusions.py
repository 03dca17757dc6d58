"""A proof in plain sentences: which methods beat random, which did worse, and where none was shown."""

from collections.abc import Mapping
from typing import Any, Final

from curate.contracts.display import listed
from curate.prove.config import RANDOM
from curate.prove.results import NLL
from curate.prove.statistics import BETTER, NOT_APPLICABLE, TOO_FEW_SEEDS, WORSE

_MEASURED: Final[Mapping[str, str]] = {NLL: "loss", "exact_match": "exact match"}


def conclusions(document: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each target, budget and metric of a proof, in its order.

    Examples
    --------
    >>> arms = {"ifd": {"verdict": "better"}, "longest": {"verdict": "worse"}}
    >>> result = {"target": "test", "budget": "10%", "metric": "nll", "methods": arms}
    >>> conclusions({"results": [result], "seeds": 5})
    ['On test, by loss, at a budget of 10%: ifd beats random, longest does worse.']
    """
    return [_sentence(result) for result in document["results"]]


def _sentence(result: Mapping[str, Any]) -> str:
    arms = {name: arm["verdict"] for name, arm in result["methods"].items() if name != RANDOM}
    better = [name for name, verdict in arms.items() if verdict == BETTER]
    worse = [name for name, verdict in arms.items() if verdict == WORSE]
    idle = [name for name, verdict in arms.items() if verdict.startswith(NOT_APPLICABLE)]
    open_ = [name for name, verdict in arms.items() if verdict == TOO_FEW_SEEDS]
    rest = [name for name in arms if name not in (*better, *worse, *idle, *open_)]
    parts = [
        *([f"{listed(better)} {'beats' if len(better) == 1 else 'beat'} random"] if better else []),
        *([f"{listed(worse)} {'does' if len(worse) == 1 else 'do'} worse"] if worse else []),
        *([f"no difference is shown for {listed(rest)}"] if rest else []),
        *([f"the seeds are too few to judge {listed(open_)}"] if open_ else []),
        *([f"{listed(idle)} {'does' if len(idle) == 1 else 'do'} not apply"] if idle else []),
    ]  # fmt: skip
    if worse and not better:
        parts[0] += " than random"
    measured = _MEASURED.get(result["metric"], result["metric"])
    return f"On {result['target']}, by {measured}, at a budget of {result['budget']}: {', '.join(parts)}."
