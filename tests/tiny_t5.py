"""A random T5 of two layers over bytes."""

from pathlib import Path

from curate.models.pretrained import no_progress_bar


def save_tokenizer(folder, answers=True):
    """Save a byte tokenizer that ends a text with </s>, as T5's does; Yes and No are tokens of it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: code for code, token in enumerate(["<pad>", "</s>", "<unk>", *alphabet])}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=not answers)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_t5(folder, vocab_size, tied=True):
    """Save a small T5 whose answers depend on its input; the first version ties and scales its head."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=vocab_size, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, tie_word_embeddings=tied,
        feed_forward_proj="relu" if tied else "gated-gelu", scale_decoder_outputs=tied,
    )  # fmt: skip
    with torch.random.fork_rng(), no_progress_bar():
        torch.manual_seed(0)
        model = T5ForConditionalGeneration(config).eval()
        with torch.no_grad():
            for block in model.decoder.block:
                block.layer[1].EncDecAttention.o.weight.mul_(40 if tied else 10)
        model.save_pretrained(folder)
    return model


def save_tiny_t5(folder: Path) -> Path:
    """Save a T5 with its tokenizer."""
    save_t5(folder, len(save_tokenizer(folder)))
    return folder
