"""Greedy answers in batches: left padding, key-value cache, stop at the end of the turn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from jaxtyping import Bool

from curate.models.load import resolve_model
from curate.models.text.render import Renderer
from curate.models.text.templates import turn_text
from curate.train.data import prepare
from curate.train.evaluation.answers import extractor, is_match
from curate.train.evaluation.evaluate import Evaluation, evaluate, evaluating

if TYPE_CHECKING:
    from pathlib import Path

    from curate.train.config import TrainConfig
    from curate.train.data import Prepared, TrainRow
    from curate.train.model import TrainedModel
    from curate.train.processes import Processes


def exact_matches(
    model: "TrainedModel",
    prepared: "Prepared",
    processes: "Processes",
    *,
    name: str,
    max_new_tokens: int,
    batch_tokens: int,
) -> Bool[np.ndarray, " n"]:
    """Generate an answer to each example's last prompt; return whether it is the reference's.

    Parameters
    ----------
    name
        Of the extractor.
    batch_tokens
        Prompt and new tokens of a batch together, padding included.
    """
    extract = extractor(name)
    prompts = [_prompt(prepared, row) for row in range(len(prepared))]
    order = np.argsort([-len(prompt) for prompt in prompts], kind="stable")
    correct = np.zeros(len(prompts))
    batches = _batches(prompts, order, max_new_tokens, batch_tokens, model.resolved.max_length)
    for number, batch in enumerate(batches):
        if number % processes.count != processes.index:
            continue
        texts = generate(model, [prompts[row] for row in batch], max_new_tokens)
        for row, text in zip(batch, texts, strict=True):
            reference = turn_text(prepared.rows[row].example.messages[-1])
            correct[row] = is_match(extract, text, reference)
    return processes.add(correct) > 0


def evaluate_fully(
    model: "TrainedModel",
    prepared: "Prepared",
    processes: "Processes",
    config: "TrainConfig",
    name: str,
    step: int,
) -> Evaluation:
    """Evaluate a set according to a run's settings: NLL, and exact match if they name an extractor."""
    micro, watch = config.data.micro_tokens, config.watch
    assert micro is not None
    evaluation = evaluate(model, prepared, processes, name=name, step=step, batch_tokens=micro)
    if watch.extractor is None:
        return evaluation
    correct = exact_matches(
        model,
        prepared,
        processes,
        name=watch.extractor,
        max_new_tokens=watch.max_new_tokens,
        batch_tokens=micro,
    )
    return replace(evaluation, correct=correct)


@final
@dataclass(frozen=True, slots=True)
class Answered:
    """Rows with a model's answers, and what that took.

    Parameters
    ----------
    rows
        Those whose answer is not empty.
    n_tokens
        Tokens of all prompts and answers.
    n_parameters
        Of the model.
    """

    rows: "list[TrainRow]"
    n_tokens: int
    n_parameters: int


def answered(
    config: "TrainConfig", weights: "Path", rows: "Sequence[TrainRow]", max_new_tokens: int
) -> Answered:
    """Return rows with a trained model's greedy answer instead of the last response.

    Rows whose answer is empty are left out.

    Parameters
    ----------
    config
        Resolved settings of the run that trained the weights.
    weights
        Its output folder.
    """
    from curate.train.model import load_trained_model

    data = config.data
    assert data.micro_tokens is not None
    resolved = resolve_model(str(weights))
    model = load_trained_model(resolved, config, torch.device(config.compute.device))
    rendering = data.rendering
    renderer = Renderer(model.tokenizer, resolved.max_length, data.chat)
    prepared = prepare(rows, renderer, rendering, "evaluation")
    prompts = [_prompt(prepared, row) for row in range(len(prepared))]
    order = np.argsort([-len(prompt) for prompt in prompts], kind="stable")
    made: dict[int, str] = {}
    limit = resolved.max_length
    for batch in _batches(prompts, order, max_new_tokens, data.micro_tokens, limit):
        texts = generate(model, [prompts[row] for row in batch], max_new_tokens)
        made |= dict(zip(batch, texts, strict=True))
    written = model.tokenizer([*made.values()], add_special_tokens=False).input_ids
    told = [
        _with_answer(prepared.rows[row], text.strip()) for row, text in made.items() if text.strip()
    ]
    return Answered(told, sum(map(len, [*prompts, *written])), model.n_parameters)


def _with_answer(row: "TrainRow", text: str) -> "TrainRow":
    *before, last = row.example.messages
    messages = (*before, {"role": last["role"], "content": text})
    return replace(row, example=replace(row.example, messages=messages))


def evaluation_key(prepared: "Prepared", config: "TrainConfig") -> str:
    """Return what determines an evaluation of given weights: the rows and the answer extractor."""
    watch = config.watch
    if watch.extractor is None:
        return prepared.fingerprint
    return f"{prepared.fingerprint} {watch.extractor} {watch.max_new_tokens}"


def generate(
    model: "TrainedModel", prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> list[str]:
    """Return the greedy continuation of each prompt as text, special tokens left out.

    Of fewer tokens where the model's context ends before.
    """
    from transformers import GenerationConfig

    ends = _ends(model)
    width = max(len(prompt) for prompt in prompts)
    limit = model.resolved.max_length
    room = max_new_tokens if limit is None else max(1, min(max_new_tokens, limit - width))
    ids = torch.full((len(prompts), width), ends[0])
    mask = torch.zeros_like(ids)
    for number, prompt in enumerate(prompts):
        ids[number, width - len(prompt) :] = torch.tensor(prompt)
        mask[number, width - len(prompt) :] = 1
    greedy = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        num_beams=1,
        max_new_tokens=room,
        pad_token_id=ends[0],
        eos_token_id=ends,
        use_cache=True,
    )
    with evaluating(model), torch.no_grad():
        made: Any = model.whole.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=greedy,
        )
    texts: list[str] = model.tokenizer.batch_decode(made[:, width:], skip_special_tokens=True)
    return texts


def _prompt(prepared: "Prepared", row: int) -> list[int]:
    """Return the tokens in front of the last scored turn of a row."""
    rendered = prepared.rendered[row]
    first = rendered.starts[-1]
    positions = rendered.positions[rendered.positions >= first]
    gaps = np.flatnonzero(np.diff(positions) > 1)
    start = int(positions[gaps[-1] + 1]) if len(gaps) else int(positions[0])
    ids: list[int] = rendered.ids[first : start + 1].tolist()
    return ids


def _batches(
    prompts: Sequence[Sequence[int]],
    order: np.ndarray,
    max_new_tokens: int,
    batch_tokens: int,
    limit: int | None,
) -> list[list[int]]:
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        width = len(prompts[order[start]]) + max_new_tokens
        is_cut = limit is not None and width > limit  # alone, or others would end as early
        count = 1 if is_cut else max(1, batch_tokens // width)
        batches.append(order[start : start + count].tolist())
        start += count
    return batches


def _ends(model: "TrainedModel") -> list[int]:
    """Return the ids that end a turn: the tokenizer's and those the model's own settings name."""
    own: Any = model.whole.generation_config.eos_token_id
    listed = own if isinstance(own, list) else [own]
    ids = [i for i in (model.tokenizer.eos_token_id, *listed) if i is not None]
    return list(dict.fromkeys(ids)) or [0]
