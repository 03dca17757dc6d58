"""The gradient of one batch of a random model, with rows end to end or padded."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch
from random_models import loaded, random_causal, random_rows

from curate.contracts import Example
from curate.models.load import take_apart
from curate.train.data import Prepared, TrainRow
from curate.train.model import TrainedModel
from curate.train.objectives.next_token import NextToken
from curate.train.processes import Processes
from curate.train.steps.step import GradientMaker


def trained(name, device="cpu", dtype="float32", *, packed=False):
    """Return a random model in training, float32 weights."""
    model = random_causal(name).to(device)
    backbone, head = take_apart(name, model, "float32")
    model.requires_grad_(True)
    output = model.get_output_embeddings()
    head = replace(head, weight=output.weight, bias=getattr(output, "bias", None))
    resolved = loaded(name).resolved
    return TrainedModel(resolved, model, backbone, head, None, dtype, torch.device(device), packed)


def gradient(model, micro_tokens, n=12, watched=nullcontext, **options):
    """Return what computing the gradient measured, ``watched``, and the gradient as one vector."""
    rows = random_rows(n)
    ids = [f"{number:032x}" for number in range(n)]
    examples = [TrainRow(one, Example(one, ()), 1 + k % 3) for k, one in enumerate(ids)]
    processes = Processes.join(model.device.type)
    prepared = Prepared(examples, rows)
    maker = GradientMaker(model, prepared, NextToken(), processes, micro_tokens, 0, **options)
    with watched():
        found = maker.gradient(np.arange(n), 0)
    flat = [p.grad.double().reshape(-1).cpu() for _, p in model.named_parameters()]
    return found, torch.cat(flat)
