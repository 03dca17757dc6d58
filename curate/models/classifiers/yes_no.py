"""Yes or no from a sequence-to-sequence model: one decoder step, and two rows of its head."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from curate.contracts import LoadContext
from curate.errors import ModelError
from curate.models.classifiers.text_model import IDS, TextModel
from curate.models.files import check_causal_folder, find_folder
from curate.models.load import PROBE_TOLERANCE, load_tokenizer
from curate.models.pretrained import read_pretrained
from curate.models.room import use_device

if TYPE_CHECKING:
    from torch import Tensor

ANSWERS: Final = ("Yes", "No")
MODEL_TYPES: Final = ("t5", "mt5", "umt5")  # their logits are nothing but the head's rows
PROBE_LENGTH: Final = 8
PROBE_PADDING: Final = 3


def load_yes_no(context: LoadContext, limit: int) -> TextModel:
    """Load a T5 model whose answer to a text is ``p(Yes) / (p(Yes) + p(No))`` at its first step.

    Both share the denominator of their softmax, so this is the sigmoid of the difference of their
    logits. The head is cut down to their two rows; a probe verifies that nothing else changed.
    Texts of more than ``limit`` tokens are cut on the right, the end token kept.

    Raises `ModelError` for a model that cannot be used: not found, without safetensors weights, of
    another architecture, incomplete, or whose tokenizer has no distinct tokens for Yes and No.
    """
    from transformers import AutoModelForSeq2SeqLM

    assert context.model is not None
    name = context.model
    folder, _ = find_folder(name, context.revision)
    check_causal_folder(name, folder)
    hint = "; UniEval's for dialogue is MingZhong/unieval-dialog"
    use_device(context.device)
    model, report = read_pretrained(
        AutoModelForSeq2SeqLM, name, str(folder), context.dtype, "a T5 model", hint,
        device=context.device,
    )  # fmt: skip
    if model.config.model_type not in MODEL_TYPES or report["missing_keys"]:
        what = f"a {model.config.model_type} model"
        if report["missing_keys"]:
            what = f"without {min(report['missing_keys'])}"
        raise ModelError(
            f"model {name!r} is {what}, but a whole T5 model is needed, such as "
            "MingZhong/unieval-dialog"
        )
    tokenizer: Any = load_tokenizer(str(folder))
    model = model.to(context.device).eval().requires_grad_(False)
    _keep_bias_contiguous(model)
    _cut_head(name, model, answer_tokens(name, tokenizer), context.dtype)
    pad = int(model.config.pad_token_id or 0)
    return TextModel(
        tokenizer=tokenizer,
        device=context.device,
        run=partial(_answer, model),
        pad=lambda rows: pad,
        limit=limit,
        batch_tokens=context.batch_tokens,
    )


def _answer(model: Any, inputs: Mapping[str, "Tensor"]) -> "Tensor":
    logits = first_step(model, inputs[IDS], inputs["attention_mask"])
    return (logits[:, 0].double() - logits[:, 1].double()).sigmoid()


def answer_tokens(name: str, tokenizer: Any) -> tuple[int, int]:
    """Return the ids of the first tokens of Yes and of No.

    Raises `ModelError` where they are the same or unknown.
    """
    yes, no = (int(tokenizer(answer)[IDS][0]) for answer in ANSWERS)
    if yes == no or tokenizer.unk_token_id in (yes, no):
        raise ModelError(
            f"the tokenizer of model {name!r} begins 'Yes' with token {yes} and 'No' with token "
            f"{no}; distinct known tokens are needed: use the tokenizer the model was trained with"
        )
    return yes, no


def first_step(model: Any, ids: "Tensor", mask: "Tensor") -> "Tensor":
    """Return the logits of the first decoder step, (rows, size of the head).

    The mask, 1 where there is a token and 0 for padding, is handed over as what T5 adds to its
    position bias, (rows, 1, 1, width): every layer adds it in one pass, and none without padding.
    """
    import torch

    start = torch.full((len(ids), 1), int(model.config.decoder_start_token_id), device=ids.device)
    added = None
    if mask.is_cuda or not bool(mask.all()):  # whose answer a GPU would be waited for
        added = torch.zeros(mask.shape, dtype=model.dtype, device=mask.device)
        added = added.masked_fill(mask == 0, torch.finfo(model.dtype).min)[:, None, None, :]
    output = model(input_ids=ids, attention_mask=added, decoder_input_ids=start, use_cache=False)
    logits: Tensor = output.logits[:, 0]
    return logits


def _keep_bias_contiguous(model: Any) -> None:
    """Pass on the position bias as one block, so that no layer copies its sum with a mask."""
    for module in model.modules():
        if getattr(module, "has_relative_attention_bias", False):
            compute = module.compute_bias
            module.compute_bias = lambda *given, compute=compute, **named: compute(
                *given, **named
            ).contiguous()


def _cut_head(name: str, model: Any, answers: tuple[int, int], dtype: str) -> None:
    """Cut the head to two rows; raise `ModelError` if their logits change.

    The probe is padded the second time, so it also shows that padding changes nothing.
    """
    import torch

    head = model.lm_head
    small = torch.nn.Linear(head.in_features, len(answers), bias=False, device="meta")
    small.weight = torch.nn.Parameter(head.weight[list(answers)].clone(), requires_grad=False)
    ids = torch.arange(PROBE_LENGTH, device=model.device)[None] * 37 % model.config.vocab_size
    padded = torch.nn.functional.pad(ids, (0, PROBE_PADDING))
    mask = (torch.arange(padded.shape[1], device=ids.device) < PROBE_LENGTH)[None].long()
    with torch.inference_mode():
        wanted = first_step(model, ids, torch.ones_like(ids))[:, list(answers)].double()
        model.lm_head = small
        actual = first_step(model, padded, mask).double()
    error = (actual - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12)
    if error > PROBE_TOLERANCE[dtype]:
        raise ModelError(
            f"model {name!r} ({type(model).__name__}) computes its logits in a way this version does "
            "not know; scores would be wrong, so it is refused"
        )
