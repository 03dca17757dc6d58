"""A vector per example from any sentence-transformers model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np

from curate.contracts import Column, Columns, Example, LoadContext, Role, RowScorer
from curate.errors import MissingPackageError, ModelError, UndefinedScore
from curate.models.files import find_folder
from curate.models.pretrained import no_progress_bar
from curate.models.room import use_device
from curate.models.text.templates import text_template, turn_text
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class SentenceEmbedding(RowScorer):
    """The vector a sentence-transformers model gives to an example's text.

    What ``embedding`` means when an encoder model is given. Pooling and normalisation are the
    model's own; the model cuts text beyond its maximum length. float32.

    Parameters
    ----------
    template
        Text template the text is written with; ``plain`` is the turns, one per line.
    part
        Embed the ``full`` conversation, only the ``prompt`` (all before the last turn; CodeACT), or
        only the final ``response``.
    normalize
        Whether to scale vectors to length one, on top of what the model does.
    batch_size
        Texts the model encodes together; may change the last bits.

    References
    ----------
    .. [1] Reimers and Gurevych, Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks,
       EMNLP 2019. https://arxiv.org/abs/1908.10084

    Examples
    --------
    >>> SentenceEmbedding().outputs["vector"].dtype
    'vector'
    """

    name: ClassVar[str] = "sentence-embedding"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "encoder"
    outputs: ClassVar[Mapping[str, Column]] = {
        "vector": Column("vector", "the encoder's vector; compare by cosine or Euclidean distance"),
    }
    template: str = "plain"
    part: Literal["full", "prompt", "response"] = "full"
    normalize: bool = False
    batch_size: int = 64

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        model = load_encoder(context, self.name)

        def encode(examples: Sequence[Example]) -> Columns:
            vectors = model.encode(
                [self.text(example) for example in examples],
                batch_size=self.batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=self.normalize,
            )
            return {"vector": np.asarray(vectors, dtype=np.float32)}

        return encode

    def text(self, example: Example) -> str:
        """Return the text of an example that is embedded; raise `UndefinedScore` if there is none."""
        if self.part == "response":
            text = turn_text(example.messages[-1])
        elif self.part == "prompt":
            history = Example(example.id, example.messages[:-1], example.tools)
            text = text_template(self.template).render(history)[0]
        else:
            text = text_template(self.template).render(example)[0]
        if not text:
            raise UndefinedScore("nothing_to_embed")
        return text


def load_encoder(context: LoadContext, scorer: str) -> Any:
    """Load the sentence-transformers model of a context; errors name the scorer that needs it."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingPackageError(
            f"scorer {scorer!r} needs the package sentence-transformers; "
            "type: pip install 'curate-sft[encoder]'"
        ) from error
    assert context.model is not None
    folder, _ = find_folder(context.model, context.revision)
    use_device(context.device)
    try:
        with no_progress_bar():
            return SentenceTransformer(
                str(folder), device=context.device, local_files_only=True, trust_remote_code=False
            )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model {context.model!r} cannot be loaded as an encoder: {error}"
        ) from error
