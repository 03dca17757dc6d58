"""Random reward models of two layers over bytes."""

from pathlib import Path

from curate.models.pretrained import no_progress_bar

CHAT = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
OASST = ("<|prompter|>", "<|assistant|>", "<|endoftext|>")


def save_tokenizer(folder, *special, chat_template=None, **settings):
    """Save a tokenizer with one token per byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: code for code, token in enumerate(["<pad>", "</s>", "[CLS]", *alphabet])}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if settings.pop("pairs", False):
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A </s>",
            pair="[CLS] $A </s> $B:1 </s>:1",
            special_tokens=[("[CLS]", 2), ("</s>", 1)],
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", cls_token="[CLS]",
        extra_special_tokens=list(special), **settings,
    )  # fmt: skip
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_model(folder, tokenizer, config_class, model_class, **settings):
    """Save a model, one label unless told otherwise; return it."""
    config = config_class(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, **{"max_position_embeddings": 256, "num_labels": 1} | settings,
    )  # fmt: skip
    import torch

    with torch.random.fork_rng(), no_progress_bar():
        torch.manual_seed(0)
        model = model_class(config).eval()
        model.save_pretrained(folder)
    return model


def save_tiny_reward(folder: Path) -> Path:
    """Save a reward model that reads every format."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    tokenizer = save_tokenizer(folder, *OASST, chat_template=CHAT)
    save_model(
        folder, tokenizer, LlamaConfig, LlamaForSequenceClassification, pad_token_id=0,
        max_position_embeddings=512,
    )  # fmt: skip
    return folder
