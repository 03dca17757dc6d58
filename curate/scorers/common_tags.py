"""Tags that many examples have, spellings merged."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from curate.contracts import Column, Columns, Need, PoolScorer, Role, View
from curate.errors import ConfigError
from curate.models.classifiers.text_model import object_column
from curate.registry import register
from curate.scorers.judging.tag_names import merge


@register
@final
@dataclass(frozen=True)
class CommonTags(PoolScorer):
    """The tags of an example that enough examples of the pool have, spellings merged.

    What InsTag [1]_ does to the raw tags of a model: those of fewer than ``min_count`` examples are left out,
    and different spellings of one tag become the most frequent of them. Spellings are one here when
    they differ in plurals of English or in blanks. Deviations: InsTag also merges tags whose
    embeddings are near, and tags that imply each other; those stay apart here (``mig`` brings near
    ones together by itself). Score ``tags`` first. No model; O(tags).

    Parameters
    ----------
    min_count
        Examples that must have a tag; 20 in InsTag, for 100,000 of them. 1 keeps every tag.

    References
    ----------
    .. [1] Lu et al., #InsTag: Instruction Tagging for Analyzing Supervised Fine-tuning of Large Language
       Models, ICLR 2024, section 2. https://arxiv.org/abs/2308.07074

    Examples
    --------
    >>> tags = np.array(["poem, rare", "poems", "poem"], dtype=object)
    >>> view = View(np.array([b"a", b"b", b"c"]), {"tags.tags": tags})
    >>> CommonTags(2).run(view, "cpu")["tags"].tolist()
    ['poem', 'poem', 'poem']
    """

    name: ClassVar[str] = "common_tags"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "tags": Column("text", "tags that are frequent in the pool, separated by commas; or empty"),
        "n": Column("int", "how many those are; more is more complex, for InsTag"),
    }
    min_count: int = 20

    def __post_init__(self) -> None:
        if self.min_count < 1:
            raise ConfigError(
                f"common_tags.min_count counts examples from 1, got {self.min_count}; try 20"
            )

    def requires(self) -> Mapping[str, Need]:
        return {"tags": Need("tags", "judge")}

    def run(self, view: View, device: str) -> Columns:
        raw = [str(text).split(", ") if text else [] for text in view.column("tags.tags")]
        merged = merge(raw, self.min_count)
        return {
            "tags": object_column([", ".join(tags) for tags in merged]),
            "n": np.array([len(tags) for tags in merged], dtype=np.int64),
        }
