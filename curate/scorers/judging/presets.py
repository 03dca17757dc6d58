"""The questions a judge can be asked by name, with their scales.

The texts are ours, except for the two prompts of DEITA, which its scorers were trained with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, final

PresetName = Literal[
    "quality", "complexity", "difficulty", "helpfulness", "accuracy",
    "deita-quality", "deita-complexity",
]  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class Preset:
    """A question with the fields of `curate.scorers.judging.question.FIELDS`, and its scale.

    ``is_chat``: the question is a user's turn; otherwise it is text that the judge continues.
    """

    text: str
    scale: str
    is_chat: bool = True


_PAIR: Final = "\n\nInstruction:\n{instruction}\n\nResponse:\n{response}"
_INSTRUCTION: Final = "\n\nInstruction:\n{instruction}"

PRESETS: Final[Mapping[PresetName, Preset]] = {
    "quality": Preset(
        "Rate the quality of the response below as an answer to its instruction, on a scale from "
        "{lowest} to {highest}. {lowest}: wrong, off the point or unusable. {highest}: correct, "
        "complete, clear and well written, as an expert would answer. Length alone earns nothing."
        + _PAIR,
        "1-5",
    ),
    "complexity": Preset(
        "Rate how complex the instruction below is, on a scale from {lowest} to {highest}. {lowest}: "
        "one simple step without conditions. {highest}: many steps, conditions or fields of "
        "knowledge that have to be brought together. Its length alone does not make it complex."
        + _INSTRUCTION,
        "1-5",
    ),
    "difficulty": Preset(
        "Rate how difficult it is to answer the instruction below correctly, on a scale from {lowest} "
        "to {highest}. {lowest}: nearly everybody answers it correctly at once. {highest}: even "
        "experts need time and often fail." + _INSTRUCTION,
        "1-5",
    ),
    "helpfulness": Preset(
        "Rate how helpful the response below is to the person who gave the instruction, on a scale "
        "from {lowest} to {highest}. {lowest}: no use to them. {highest}: it does everything "
        "that was asked for, and they need nothing more." + _PAIR,
        "0-5",
    ),
    "accuracy": Preset(
        "Rate the accuracy of the response below, on a scale from {lowest} to {highest}. {lowest}: "
        "false throughout. {highest}: every statement, step and result in it is correct." + _PAIR,
        "0-5",
    ),
    "deita-quality": Preset(
        "You are a helpful assistant. Please identify the quality score of the Response "
        "corresponding to the Question. \n #Question#:\n{instruction}\n#Response#:\n{response} "
        "\n##Quality: ",
        "1-6",
        is_chat=False,
    ),
    "deita-complexity": Preset(
        "You are a helpful assistant. Please identify the complexity score of the following user "
        "query. \n##Query: {instruction}  \n##Complexity: ",
        "1-6",
        is_chat=False,
    ),
}
