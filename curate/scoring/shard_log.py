"""What a scoring run leaves for those who watch it: a line for each shard, and a record of itself.

Both lie in the folder of parts, so that several machines that share it can be watched from one.
"""

import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, final

from curate.contracts.display import counted
from curate.scoring.executors.cut_off import was_cut_off
from curate.scoring.executors.worker import ShardTask, TaskReport
from curate.scoring.plan import Pass
from curate.store import locks
from curate.store.parts import TMP_MARK, full_disk_as_error, owner

LOGS: Final = "logs"
RUNNING: Final = "running"
_logger = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class RunRecord:
    """A scoring run that goes on, or that ended without finishing.

    Parameters
    ----------
    began_at
        Seconds since the epoch.
    n_examples
        What it had to score, of each score set by id.
    n_workers
        Processes at once; 0 until it is known.
    worker
        ``host-pid`` of the process that leads it.
    is_alive
        Whether that process holds the record's lock.
    """

    began_at: float
    n_examples: Mapping[str, int]
    n_workers: int
    worker: str
    is_alive: bool = field(default=False, compare=False)

    @classmethod
    def all_in(cls, parts: Path) -> list["RunRecord"]:
        """Return the records among the parts, oldest first; one that is being written is left out."""
        found = []
        for path in sorted((parts / RUNNING).glob("*.json")):
            try:
                record = cls(**json.loads(path.read_text(encoding="utf-8")))
            except (ValueError, TypeError, FileNotFoundError):
                continue
            found.append(replace(record, is_alive=locks.is_held(path)))
        return sorted(found, key=lambda record: record.began_at)


@contextmanager
def recorded(
    parts: Path, n_examples: Mapping[str, int], n_workers: int
) -> Iterator[Callable[[int], None]]:
    """Leave a record of a run while it goes on; it stays where the run ends without finishing.

    ``n_examples`` are those it has to score, of each score set by id. Records of earlier runs of the same
    sets are removed. Yields what takes another number of workers.
    """
    path = parts / RUNNING / f"{owner()}-{time.time_ns()}.json"
    record = RunRecord(time.time(), n_examples, n_workers, owner())

    def tell(n_workers: int) -> None:
        text = _as_json(replace(record, n_workers=n_workers))
        # written over, never shorter: who reads meanwhile finds all of it
        with suppress(FileNotFoundError), path.open("r+b") as file:
            file.write(text.ljust(path.stat().st_size))

    with ExitStack() as stack:
        with full_disk_as_error(path):
            path.parent.mkdir(exist_ok=True)
            remove_ended(parts, n_examples)
            temporary = path.with_name(f".{path.name}{TMP_MARK}{owner()}")
            stack.enter_context(locks.held(temporary))
            temporary.write_bytes(_as_json(record))
            os.replace(temporary, path)  # nobody sees one that is cut off, or not locked yet
        yield tell
    path.unlink(missing_ok=True)


def n_by_set(tasks: Iterable[ShardTask]) -> dict[str, int]:
    """Return how many examples tasks have to score, of each score set by id."""
    n_examples: dict[str, int] = {}
    for task in tasks:
        for set_id in task.parts:
            n_examples[set_id] = n_examples.get(set_id, 0) + task.n_examples
    return n_examples


def _as_json(record: RunRecord) -> bytes:
    facts = {name: value for name, value in asdict(record).items() if name != "is_alive"}
    return json.dumps(facts).encode()


def remove_ended(parts: Path, set_ids: Iterable[str]) -> None:
    """Remove the records of runs that ended without finishing and scored none but these sets."""
    known = set(set_ids)
    for path in (parts / RUNNING).glob("*.json"):
        if locks.is_held(path):
            continue
        try:
            of_it = set(json.loads(path.read_text(encoding="utf-8"))["n_examples"])
        except (ValueError, KeyError, FileNotFoundError):  # cut off while it was written
            of_it = set()
        if of_it <= known:
            path.unlink(missing_ok=True)


def with_retries(
    tasks: Sequence[ShardTask], passes: Sequence[Pass], traces: str | None
) -> list[ShardTask]:
    """Return tasks that know what became of them before, and whether they are traced.

    One that an earlier run died on is a retry. ``traces`` is the folder for a trace of the first
    task of each pass that runs a model.
    """
    prepared, traced = [], set()
    for task in tasks:
        pass_ = passes[task.pass_index]
        trace = None
        if traces is not None and pass_.runs_weights and task.pass_index not in traced:
            traced.add(task.pass_index)
            names = "+".join(ride.alias for ride in pass_.rides)
            trace = Path(traces).expanduser() / f"pass-{task.pass_index + 1}-{names}.json"
        cut_off = int(was_cut_off(task))
        prepared.append(replace(task, n_retries=task.n_retries + cut_off, trace=trace))
    return prepared


@final
class ShardLog:
    """One line of JSON for each shard that is finished, in ``logs/shards-HOST.jsonl``.

    A shard that an earlier run has finished is not run again, so it has its line already.
    """

    def __init__(self, parts: Path, passes: Sequence[Pass]) -> None:
        host = owner().rpartition("-")[0]
        self.path = parts / LOGS / f"shards-{host}.jsonl"
        self._passes = passes

    def write(self, report: TaskReport) -> None:
        """Add the line of a finished shard; with ``--verbose`` a person reads it, too."""
        run, task = report.run, report.task
        if run is None:
            return
        rides = self._passes[task.pass_index].rides
        entry: dict[str, Any] = {
            "time": run.finished_at, "shard": task.shard_id, "host": platform.node(),
            "scorers": [ride.alias for ride in rides if ride.set_id in task.parts],
            "score_sets": list(task.parts), "worker": run.worker, "device": run.device,
            "examples": task.n_examples, "failed": report.n_failed, "late": report.n_late,
            "tokens": run.tokens, "seconds": run.seconds, "tokens_per_s": run.tokens_per_s,
            "padding": run.padding, "retries": run.n_retries, "peak_mib": run.peak_mib,
            "device_peak_mib": run.device_peak_mib,
        }  # fmt: skip
        line = json.dumps(entry, ensure_ascii=False) + "\n"
        with full_disk_as_error(self.path):
            self.path.parent.mkdir(exist_ok=True)
            # one write: lines of several processes of a machine do not mix
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            descriptor = os.open(self.path, flags, 0o666)
            try:
                os.write(descriptor, line.encode("utf-8", "surrogatepass"))
            finally:
                os.close(descriptor)
        _logger.info("%s", _said(entry))


def _said(entry: Mapping[str, Any]) -> str:
    """Say what the line of a shard says."""
    facts = [f"{entry['examples']:,} examples in {entry['seconds']:,.1f} s"]
    if entry["tokens"]:
        facts.append(f"{entry['tokens']:,} tokens, {entry['tokens_per_s']:,.0f} a second")
    if entry["padding"] is not None:
        facts.append(f"{entry['padding']:.1%} padding")
    if entry["failed"]:
        facts.append(f"{entry['failed']:,} failed")
    if entry["retries"]:
        facts.append(counted(entry["retries"], "retry", "retries"))
    facts.append(f"peak {entry['peak_mib']:,.0f} MiB")
    where = f"by {entry['worker']} on {entry['device']}"
    return f"{'+'.join(entry['scorers'])}, shard {entry['shard']} {where}: {', '.join(facts)}"
