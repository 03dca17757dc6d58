"""The record of a run and its cost: what it returns, its files, and its row in the store."""

import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from jaxtyping import Float

from curate.contracts.libraries import versions_of
from curate.train.evaluation.evaluate import Evaluation

if TYPE_CHECKING:
    import torch

    from curate.store import Store

HISTORY: Final = ("loss", "nll", "gradient_norm", "tokens")
_PACKAGES: Final = ("curate-sft", "torch", "transformers", "accelerate", "peft")


@final
@dataclass(frozen=True, slots=True)
class Cost:
    """What a run cost, all processes and resumed parts together.

    Parameters
    ----------
    tokens
        Trained tokens: prompt and response of the rows fed, no padding.
    padding
        Share of the tokens run through the model that were padding, in [0, 1).
    other_tokens
        Tokens run forward only: evaluation, trajectories, candidates of a batch policy.
    seconds
        Wall time from the first step to the last, evaluation and recording included.
    peak_bytes
        Most memory: allocated on the GPU, or resident in this process on a CPU.
    flops
        Estimate: 6 (adapters: 4) per parameter and trained token, 2 per parameter and other token.
    energy_j
        Joules the GPU's driver reports for this device, or None.
    """

    tokens: int
    padding: float
    other_tokens: int
    seconds: float
    peak_bytes: int
    flops: float
    energy_j: float | None = None


@final
@dataclass(frozen=True, slots=True, eq=False)
class TrainRecord:
    """The outcome of one training run.

    Parameters
    ----------
    run_id
        Hash of the identity: same id, same weights up to rounding.
    config
        Every setting, resolved; ``identity`` the part the id is made of; under ``rows`` what was
        trained on and what was left out.
    versions
        Of this library and its dependencies.
    history
        One row per step, columns as in `HISTORY`: objective, mean NLL per response token before
        the step, gradient norm before clipping, trained tokens.
    cost
        Tokens, time, memory, energy.
    evaluations
        In order of step; `final` finds the one of the weights that were kept.
    output
        Folder that holds the weights.
    outcome
        ``steps`` done, ``planned_steps``, on which learning rates depend, ``stopped_early``, ``final_step`` (of the weights that were kept: the best
        where the run watches for that), ``trajectory`` (score set id or None).
    """

    run_id: str
    config: Mapping[str, Any]
    versions: Mapping[str, str]
    history: Float[np.ndarray, "steps 4"]
    cost: Cost
    evaluations: Sequence[Evaluation]
    output: Path
    outcome: Mapping[str, Any] = field(default_factory=dict)

    @property
    def losses(self) -> Float[np.ndarray, " steps"]:
        """Objective by step."""
        return self.history[:, HISTORY.index("loss")]

    def final(self, name: str) -> Evaluation:
        """Return the evaluation of the final weights on a set; `KeyError` for an unknown name."""
        for evaluation in self.evaluations:
            if evaluation.name == name and evaluation.step == self.outcome["final_step"]:
                return evaluation
        raise KeyError(name)

    def as_dict(self) -> dict[str, Any]:
        """Return everything JSON can hold; the arrays are in ``evaluations.safetensors``."""
        return {
            "run_id": self.run_id, "config": dict(self.config), "versions": dict(self.versions),
            "history": {
                name: self.history[:, i].tolist() for i, name in enumerate(HISTORY)
            },
            "cost": asdict(self.cost),
            "evaluations": [evaluation.as_dict() for evaluation in self.evaluations],
            "output": str(self.output), "outcome": dict(self.outcome),
        }  # fmt: skip


def record_from(
    values: Mapping[str, Any], evaluations: Sequence[Evaluation], output: Path
) -> TrainRecord:
    """Return the record of a run that was complete before, from its files."""
    columns = [values["history"][name] for name in HISTORY]
    return TrainRecord(
        run_id=values["run_id"],
        config=values["config"],
        versions=values["versions"],
        history=np.array(columns, dtype=np.float64).T.reshape(-1, len(HISTORY)),
        cost=Cost(**values["cost"]),
        evaluations=evaluations,
        output=output,
        outcome=values["outcome"],
    )


def save_record(store: "Store", record: TrainRecord, **facts: Any) -> str:
    """Write a run to the relations ``trials`` and ``trial_evals``; return its trial id.

    ``facts``: what the caller knows about it, such as selection_id, method and budget. A trial with
    the same id is replaced.
    """
    config = record.config
    trial = {
        "trial_id": facts.pop("trial_id", record.run_id),
        "seed": config["settings"]["seed"],
        "model": config["settings"]["model"],
        "config": config["settings"],
        "status": "stopped early" if record.outcome.get("stopped_early") else "done",
        "tokens": record.cost.tokens,
        "wall_s": record.cost.seconds,
        **facts,
        "record": record.as_dict(),
    }
    reached = np.concatenate([[0], np.cumsum(record.history[:, HISTORY.index("tokens")])])
    evals = [
        {
            "step": evaluation.step,
            "tokens": int(reached[evaluation.step]),
            "target": evaluation.name,
            "metric": metric,
            "value": value,
        }
        for evaluation in record.evaluations
        for metric, value in evaluation.as_dict().items()
        if metric in ("nll", "perplexity", "exact_match") and value is not None
    ]
    store.save_trial(trial, evals)
    return str(trial["trial_id"])


def versions() -> dict[str, str]:
    """Return the versions a run depends on."""
    return {
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.machine()}",
        **versions_of(_PACKAGES),
    }


def peak_bytes(device: "torch.device") -> int:
    """Return the most memory used: allocated on a GPU, else resident in this process."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def energy_j(device: "torch.device") -> float | None:
    """Return the joules a GPU has used since its driver was loaded, or None if it is not reported."""
    import torch

    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    except pynvml.NVMLError:
        return None
