"""A random NLI model of two layers over bytes, with the labels in any order."""

from collections.abc import Sequence
from pathlib import Path

MNLI = ("contradiction", "neutral", "entailment")


def save_tiny_nli(folder: Path, labels: Sequence[str] = MNLI, limit: int = 256) -> Path:
    """Save the model; the same weights, whatever the order of the labels."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = byte_pairs(limit)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=limit,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification(config)
        with torch.no_grad():
            model.classifier.weight.mul_(60)  # predictions that are neither flat nor certain
            order = [MNLI.index(label.lower()) for label in labels if label.lower() in MNLI]
            if len(order) == len(MNLI):
                model.classifier.weight.copy_(model.classifier.weight[order])
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def byte_pairs(limit: int):
    """A tokenizer with one token per byte that writes pairs as [CLS] a [SEP] b [SEP]."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[CLS]", "[SEP]"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=limit,
    )
