"""TRL: a script that fine-tunes on the folder with `SFTTrainer`."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, final

from curate.data.messages import Message, RowError
from curate.data.write.dialects import Row
from curate.data.write.row_formats import Reduced, RowFormat, Tools
from curate.data.write.trainers.base import Exported, Trainer
from curate.data.write.trainers.rows import chat_message, chat_row, json_text, reduce_chat

_FILE: Final = "train_trl.py"
_ALONE: Final = "no message before the response"
_EARLIER: Final = "earlier assistant turns, which TRL does not train on in this format"

_SCRIPT: Final = '''\
"""Fine-tune a model on this folder with TRL.

    python {file} --model MODEL --output_dir OUT

Every field of trl.SFTConfig is an option too, as in --max_steps 20 --learning_rate 1e-4.
{loss}
Weights: {weights}.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from datasets import Dataset, Features, Json, List, load_dataset
from transformers import HfArgumentParser
from trl import SFTConfig, SFTTrainer

MESSAGES = {columns!r}


@dataclass
class Options:
    model: str = field(metadata={{"help": "Model to start from: a folder or a Hugging Face id."}})
    data: str = field(
        default=str(Path(__file__).resolve().parent),
        metadata={{"help": "Dataset: this folder, or where it is on the hub."}},
    )


def main() -> None:
    parser = HfArgumentParser((Options, SFTConfig))
    bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    parser.set_defaults(bf16=bf16, report_to="none"{defaults})
    options, config = parser.parse_args_into_dataclasses()
    data = {{split: with_own_keys(rows) for split, rows in load_dataset(options.data).items()}}
    trainer = SFTTrainer(
        options.model,
        args=config,
        train_dataset=data["train"],
        eval_dataset=data.get("validation"),
    )
    trainer.train()
    trainer.save_model()
    trainer.save_state()


def with_own_keys(rows: Dataset) -> Dataset:
    """Leave each message the keys it has; its table gives all messages the keys of any."""
    if all(set(rows.features[name].feature) == {{"role", "content"}} for name in MESSAGES):
        return rows
    types = Features({{**rows.features, **{{name: List(Json()) for name in MESSAGES}}}})
    return rows.map(
        lambda row: {{name: [own_keys(turn) for turn in row[name]] for name in MESSAGES}},
        features=types,
    )


def own_keys(message: dict) -> dict:
    kept = {{key: value for key, value in message.items() if value is not None}}
    for call in kept.get("tool_calls", ()):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return kept


if __name__ == "__main__":
    main()
'''
_LOSS: Final = {
    "prompt-completion": "The loss is that of the last response of each conversation.",
    "messages": (
        "The loss is that of all responses, which needs a chat template with {% generation %}\n"
        "marks, the model's own or one that TRL knows for it."
    ),
}


def prompt_completion_row(messages: Sequence[Message], tools: Tools) -> Row:
    """Return ``prompt``, the messages before the last, ``completion``, the last, and ``tools``.

    Raises `RowError` as `chat_message` does, and for a response alone: TRL takes no empty prompt.
    """
    if len(messages) < 2:
        raise RowError(_ALONE)
    turns = [chat_message(message) for message in messages]
    row: Row = {"prompt": turns[:-1], "completion": turns[-1:]}
    return row if not tools else {**row, "tools": json_text(list(tools))}


def reduce_prompt_completion(messages: Sequence[Message], tools: Tools) -> Reduced:
    """Remove what `reduce_chat` removes; a response alone gets an empty message before it."""
    kept, left, lost = reduce_chat(messages, tools)
    if len(kept) < 2:
        return [{"role": "user", "content": ""}, *kept], left, [*lost, _ALONE]
    return kept, left, lost


def _earlier_turns(messages: Sequence[Message]) -> str | None:
    return _EARLIER if any(m["role"] == "assistant" for m in messages[:-1]) else None


@final
class TRL(Trainer):
    """TRL: conversational prompt-completion or language-modelling data, and a script.

    Schema: ``dataset_formats`` of its documentation, version 1.16.
    """

    name: ClassVar[str] = "trl"
    title: ClassVar[str] = "TRL"
    formats: ClassVar[Mapping[str, RowFormat]] = {
        "prompt-completion": RowFormat(
            "prompt-completion for TRL",
            prompt_completion_row,
            reduce_prompt_completion,
            _earlier_turns,
        ),
        "messages": RowFormat("messages for TRL", chat_row, reduce_chat),
    }
    weights: ClassVar[str] = "TRL's SFTTrainer takes no weight per example"

    def files(self, exported: Exported) -> Mapping[str, str]:
        """Return the script."""
        defaults = ', eval_strategy="epoch"' if exported.has_validation else ""
        chat = exported.to == "messages"
        if chat:
            defaults += ", assistant_only_loss=True"
        script = _SCRIPT.format(
            file=_FILE, loss=_LOSS[exported.to], weights=self.weights, defaults=defaults,
            columns=("messages",) if chat else ("prompt", "completion"),
        )  # fmt: skip
        return {_FILE: script}

    def usage(self, exported: Exported) -> str:
        """Return the command that runs the script."""
        command = f"python {exported.folder}/{_FILE} --model MODEL --output_dir OUT"
        loss = " ".join(_LOSS[exported.to].split())
        return f"```bash\npip install trl\n{command}\n```\n\n{loss}"
