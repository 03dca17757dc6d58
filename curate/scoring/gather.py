"""`curate gather`: sample responses to the pool's prompts, check them, and read them into the pool."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts import Example
from curate.contracts.display import counted
from curate.contracts.progress import Progress
from curate.data.gathered import FOLDER, Answers, Provenance, rows_of
from curate.errors import ConfigError
from curate.models.files import find_folder
from curate.models.load import load_tokenizer
from curate.models.text.templates import CHAT
from curate.scoring.gather_files import answered_groups, file_of, read_in, record
from curate.scoring.gather_options import Gathered, GatherOptions, GatherReport
from curate.scoring.job import score
from curate.scoring.options import ScoringOptions
from curate.scoring.outcome import ScoreReport
from curate.scoring.requests import ScoreRequest, make_request
from curate.scoring.scope import restricted, scope_of_ids
from curate.scoring.windows import read_examples
from curate.store.records import digest

if TYPE_CHECKING:
    from curate.store import Store

METHOD: Final = "method"
PLAIN: Final = "plain"
BLOCK: Final = 1_000  # examples whose answers are written together


def gather(
    store: "Store",
    models: Sequence[str],
    options: GatherOptions,
    scoring: ScoringOptions,
    progress: Progress,
) -> Gathered:
    """Ask each model for ``k`` responses to every distinct prompt; read them into the pool.

    Samples and verdicts are partial score sets, so a run that was stopped continues where it was, and
    prompts that the same model has answered with the same settings are not asked again, unless all
    that came of them was forgotten. A prompt that failed is asked once more by the next run. An answer enters the pool as
    a response to the prompt it was asked, beside the responses that are there.

    Raises
    ------
    ConfigError
        No model, an empty pool, or no prompt for which ``where`` holds.
    ModelError
        A model cannot be used.
    """
    asked = _askings(store, models, options, scoring, progress)
    prompts = prompts_of(store, options)
    done = [one.run(prompts, progress) for one in asked]
    scored = tuple(report for _, report in done if report is not None)
    return Gathered(tuple(report for report, _ in done), scored)


def plan(
    store: "Store",
    models: Sequence[str],
    options: GatherOptions,
    scoring: ScoringOptions,
    progress: Progress,
) -> Gathered:
    """Return how many prompts each model would be asked, and at most how many tokens that takes."""
    prompts = prompts_of(store, options)
    asked = _askings(store, models, options, scoring, progress)
    return Gathered(tuple(one.plan(prompts) for one in asked))


def _askings(
    store: "Store",
    models: Sequence[str],
    options: GatherOptions,
    scoring: ScoringOptions,
    progress: Progress,
) -> "list[_Asking]":
    """Return the models ready to be asked; all of them can be used."""
    if not models:
        raise ConfigError("name at least one model; type: curate gather MODEL")
    if options.server and len(models) > 1:
        raise ConfigError(
            f"a server serves one model, and {len(models)} are given ({', '.join(models)}); ask them "
            "one at a time"
        )
    return [_Asking.of(store, one, options, scoring, progress) for one in dict.fromkeys(models)]


def prompts_of(store: "Store", options: GatherOptions) -> dict[str, str]:
    """Return the first example of each distinct prompt, id to ``group_id``, in the order they were read."""
    import pyarrow as pa
    import pyarrow.compute as pc

    pool = store.read("select id, group_id, row from internal.examples order by row")
    if not pool.num_rows:
        raise ConfigError("the pool is empty; ingest some examples first: curate ingest DATA")
    if options.where is not None:
        kept = store.view(bind={}, where=options.where).ids.astype(str).tolist()
        pool = pool.filter(pc.is_in(pool["id"], pa.array(kept, pa.string())))
        if not pool.num_rows:
            raise ConfigError(f"no example of the pool satisfies --where {options.where!r}")
    first = pool.group_by("group_id", use_threads=False).aggregate([("row", "min")])["row_min"]
    chosen = pool.filter(pc.is_in(pool["row"], first.combine_chunks()))[: options.limit]
    return dict(zip(chosen["id"].to_pylist(), chosen["group_id"].to_pylist(), strict=True))


@final
@dataclass(frozen=True, slots=True)
class _Asking:
    """One model to be asked.

    Parameters
    ----------
    request
        What is scored: the samples, or the checks that read them.
    samples
        The samples.
    """

    store: "Store"
    model: str
    options: GatherOptions
    scoring: ScoringOptions
    request: ScoreRequest
    samples: ScoreRequest

    @classmethod
    def of(
        cls, store: "Store", model: str, options: GatherOptions, scoring: ScoringOptions,
        progress: Progress,
    ) -> "_Asking":  # fmt: skip
        template = scoring.template
        if template == METHOD:
            folder = find_folder(model, scoring.revision)[0]
            template = CHAT if load_tokenizer(str(folder)).chat_template else PLAIN
            if template == PLAIN:
                progress.note(
                    f"{model} has no chat template, so it is asked in plain text; give one with "
                    "--chat-template FILE --template chat"
                )
        chosen = replace(scoring, models={"target": model}, template=template)
        name, config = "samples", options.sampling
        if options.verifier is not None:
            own = {"verifier": options.verifier, "reference": options.reference}
            name, config = "pass_rate", {**config, **own, "pattern": options.pattern}
        request = make_request(store, name, f"{FOLDER}-{name}", config, None, chosen)
        assert request is not None  # its only role has a model
        [samples] = request.inputs or [request]
        return cls(store, model, options, chosen, request, samples)

    def plan(self, prompts: Mapping[str, str]) -> GatherReport:
        """Return what would be asked."""
        new = self._new(prompts)
        n_tokens = self.options.k * self.options.max_new_tokens * len(new)
        n_known = len(prompts) - len(new)
        return GatherReport(self.model, len(prompts), len(new), n_known, n_tokens=n_tokens)

    def run(
        self, prompts: Mapping[str, str], progress: Progress
    ) -> tuple[GatherReport, ScoreReport | None]:
        """Sample, check and read in what was not answered before."""
        new = self._new(prompts)
        report = GatherReport(self.model, len(prompts), len(new), len(prompts) - len(new))
        if not new:
            return report, None
        scope = scope_of_ids(self.store, new, FOLDER)
        complete = {
            s.set_id for s in self.store.score_sets() if s.complete and s.content_hash is not None
        }
        request = restricted(self.request, scope, complete)
        progress.note(f"{self.model}: {self.options.k} samples of {counted(len(new), 'prompt')}")
        scored = score(self.store, [request], self.scoring, progress)
        path = file_of(self.store, self._settings, scope.digest)
        tally, answered = self._write(path, new, request)
        report = self._read_in(report, path, tally, progress)
        record(path, report.dataset_id, [prompts[example] for example in answered])
        return report, scored

    def _new(self, prompts: Mapping[str, str]) -> list[str]:
        """Return the examples whose prompt this model has not answered with these settings."""
        known = answered_groups(self.store, self._settings)
        return [example for example, group in prompts.items() if group not in known]

    def _write(
        self, path: Path, prompts: Sequence[str], request: ScoreRequest
    ) -> tuple[Counter[str], list[str]]:
        """Write what is kept as rows; return the answers by what became of them, and who was answered."""
        import pyarrow as pa

        from curate.store.parts import atomic_path

        tally: Counter[str] = Counter()
        answered: list[str] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        only, columns = pa.array(prompts, pa.string()), request.scorer.row_columns()
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            for shard in self.store.shards():
                for examples in read_examples(shard.path, BLOCK, only, columns):
                    for row in self._rows(examples, request, tally, answered):
                        file.write(json.dumps(row, ensure_ascii=True) + "\n")
        return tally, answered

    def _rows(
        self,
        examples: Sequence[Example],
        request: ScoreRequest,
        tally: Counter[str],
        answered: list[str],
    ) -> Iterator[dict[str, Any]]:
        ids = [example.id for example in examples]
        [samples] = request.inputs or [request]
        drawn = self._scores(samples.key.set_id, ids, ("texts", "n_tokens"))
        checked = self._scores(request.key.set_id, ids, ("verdicts",)) if request.inputs else {}
        origin, source = self._origin(), f"gathered:{self._name}"
        for example in examples:
            found = drawn.get(example.id)
            if found is None:
                tally["failed"] += 1
                continue
            answered.append(example.id)
            verdicts = checked.get(example.id, {"verdicts": "[]"})["verdicts"]
            answers = Answers(json.loads(found["texts"]), found["n_tokens"], json.loads(verdicts))
            tally.update(f"verdict {verdict}" for verdict in answers.verdicts)
            tally["samples"] += len(answers.texts)
            if request.inputs and not answers.verdicts:
                tally["unchecked"] += len(answers.texts)
            tally["blank"] += sum(not text.strip() for text in answers.texts)
            tally["distinct"] += len({text for text in answers.texts if text.strip()})
            only_right = self.options.keep == "right"
            for row in rows_of(example, answers, origin, source, only_right=only_right):
                tally["kept"] += 1
                yield row

    def _scores(
        self, set_id: str, ids: Sequence[str], columns: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """Return columns of some examples that have this score, by id."""
        listed = ", ".join(f"'{i}'" for i in ids)
        table = self.store.read(
            f"select id, {', '.join(columns)} from score_set('{set_id}') "
            f"where {columns[0]} is not null and id in ({listed})"
        )
        return {row["id"]: row for row in table.to_pylist()}

    def _read_in(
        self, report: GatherReport, path: Path, tally: Counter[str], progress: Progress
    ) -> GatherReport:
        verdicts = {
            name.removeprefix("verdict "): n
            for name, n in sorted(tally.items())
            if name.startswith("verdict ")
        }
        report = replace(
            report, n_failed=tally["failed"], n_samples=tally["samples"], n_blank=tally["blank"],
            n_repeated=tally["samples"] - tally["blank"] - tally["distinct"],
            n_dropped=tally["distinct"] - tally["kept"], n_unchecked=tally["unchecked"],
            verdicts=verdicts if self.options.verifier is not None else None,
        )  # fmt: skip
        if not tally["kept"]:
            progress.note(f"{self.model}: nothing to add to the pool")
            return report
        read = read_in(self.store, path, f"gathered-{self._name}", tally["kept"])
        return replace(
            report, n_added=read.n_added, n_in_pool=read.n_duplicate, dataset_id=read.dataset_id
        )

    @property
    def _settings(self) -> str:
        """A name for the model, the way it samples, and what is checked and kept."""
        return digest(f"{self.request.key.set_id} {self.options.keep}", 8)

    @property
    def _name(self) -> str:
        return self.options.served_model or Path(self.model).name

    def _origin(self) -> Provenance:
        model = self.samples.model
        return Provenance(
            model=self.model, revision=model.revision if model else None,
            served_model=self.options.served_model, k=self.options.k,
            temperature=self.options.temperature, max_new_tokens=self.options.max_new_tokens,
            seed=self.options.seed, template=self.scoring.template,
            verifier=self.options.verifier or "",
        )  # fmt: skip
