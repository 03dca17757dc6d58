"""Models of the shapes people score with, random weights made on the device, and rows to run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import torch

from curate.models.load import LoadedModel, ResolvedModel, take_apart
from curate.models.text.render import Rendered

if TYPE_CHECKING:
    from collections.abc import Sequence

SEED: Final = 0
VOCABULARY: Final = 151_936
MEDIAN_TOKENS: Final = 98.5
LOG_SPREAD: Final = 0.775
LONGEST: Final = 2_048
RESPONSE_SHARE: Final = 0.5
LENGTHS: Final = (
    f"lengths are log-normal, median {MEDIAN_TOKENS} tokens, standard deviation of the logarithm "
    f"{LOG_SPREAD}, at most {LONGEST}: quantiles 5/25/50/75/95/99% are 28/58/98/166/352/598. Fitted "
    "to prompt and response of 118,087 rows of eight instruction datasets at four characters a "
    "token, whose quantiles are 26/63/98/164/344/670; about half of each row is scored"
)


@final
@dataclass(frozen=True, slots=True)
class Shape:
    """What decides how much work a model is, and how many rows to run through it."""

    name: str
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    tied: bool
    n_rows: int
    vocabulary: int = VOCABULARY
    head_dim: int = 0

    @property
    def width(self) -> int:
        """Width of one attention head."""
        return self.head_dim or self.hidden // self.heads

    @property
    def weights(self) -> int:
        """Weights of the matrices every token is multiplied with, embeddings and head left out."""
        attention = self.hidden * self.width * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.inner)

    def flops(self, rows: "Sequence[Rendered]") -> float:
        """Return the operations some rows need: see `FORMULA`."""
        lengths = np.array([len(row.ids) for row in rows], dtype=np.float64)
        scored = sum(len(row.targets) for row in rows)
        attention = self.layers * 2 * self.heads * self.width * float((lengths**2).sum())
        return float(
            2 * self.weights * lengths.sum()
            + attention
            + 2 * self.vocabulary * self.hidden * scored
        )


FORMULA: Final = (
    "operations counted: 2 x (weights of the layers' matrices) x tokens + causal attention, "
    "2 x layers x heads x head width x sum of squared lengths + head, 2 x vocabulary x width x scored "
    "tokens; padding and logits nobody needs count as nothing, for every variant alike"
)

SHAPES: Final[Mapping[str, Shape]] = {
    "0.5B": Shape("0.5B", 896, 4864, 24, 14, 2, True, 4096),
    "1.5B": Shape("1.5B", 1536, 8960, 28, 12, 2, True, 2048),
    "7B": Shape("7B", 3584, 18944, 28, 28, 4, False, 768),
}
TINY: Final = Shape("tiny", 32, 64, 2, 4, 2, True, 24, vocabulary=512)


def shape_of(name: str, *, tiny: bool) -> Shape:
    """Return a shape by its name; with ``tiny`` a model for a try-out in its place."""
    return TINY if tiny else SHAPES[name]


def qwen2(shape: Shape) -> Any:
    """Return the configuration of a Qwen2 of some shape."""
    from transformers import Qwen2Config

    return Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=32_768,
        tie_word_embeddings=shape.tied,
    )


def random_causal(config: Any, device: str, dtype: str) -> Any:
    """Return a causal language model with random weights, made on the device itself."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(SEED)
    make: Any = AutoModelForCausalLM
    with torch.device(device):
        model: Any = make.from_config(config, dtype=getattr(torch, dtype))
    return model.to(device).eval().requires_grad_(False)


def loaded(model: Any, device: str, dtype: str) -> LoadedModel:
    """Return a model in memory as the pass takes it; it has no tokenizer."""
    name = type(model).__name__
    backbone, head = take_apart(name, model, dtype)
    resolved = ResolvedModel(name, "", None, "random", "none", None, None, len(head.weight), None)
    nothing: Any = None
    return LoadedModel(resolved, backbone, head, nothing, device, dtype)


def random_rows(
    shape: Shape, n: int, *, median: float = MEDIAN_TOKENS, spread: float = LOG_SPREAD
) -> list[Rendered]:
    """Return rows of random ids whose lengths are as `LENGTHS` says, in random order."""
    rng = np.random.default_rng(SEED)
    lengths = np.exp(rng.normal(np.log(median), spread, n))
    rows = []
    for length in np.clip(np.rint(lengths), 4, LONGEST).astype(int).tolist():
        ids = rng.integers(0, shape.vocabulary, length + 1).astype(np.int32)
        n_scored = max(1, int(length * RESPONSE_SHARE))
        positions = np.arange(length - n_scored, length, dtype=np.int32)
        is_end = np.zeros(n_scored, dtype=bool)
        is_end[-1] = n_scored > 1
        rows.append(Rendered(ids[:length], positions, ids[positions + 1], is_end, False, n_scored))
    return rows
