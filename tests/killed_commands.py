"""The commands that are killed in tests and by ``make soak``, each with the folder it starts in."""

import json
from pathlib import Path

from killing import Command, of_files, of_store

N_DATASETS, N_ROWS = 6, 40


def ingested(folder: Path) -> None:
    """Make a folder with a store of several shards, and the file of one more dataset."""
    from curate.api.pool import Pool

    folder.mkdir()
    pool = Pool(folder / "curate.duckdb", create=True)
    for number in range(N_DATASETS + 1):
        rows = (
            {"prompt": f"what is {number} times {n}", "response": f"it is {number * n} of {n}"}
            for n in range(N_ROWS)
        )
        path = folder / f"{number}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        if number < N_DATASETS:
            pool.ingest(str(path))


def scored(folder: Path) -> None:
    """Make a folder whose store has a score and a selection."""
    from curate.api.pool import Pool

    ingested(folder)
    pool = Pool(folder / "curate.duckdb")
    pool.score("mtld")
    pool.select("random", budget="40", seed=1)


def sliced(folder: Path) -> None:
    """Make a folder whose store has not taken in the parts of two slices."""
    from curate.api.pool import Pool

    ingested(folder)
    for number in (1, 2):
        Pool(folder / "curate.duckdb").score("mtld", slice=f"{number}/2")


def empty(folder: Path) -> None:
    """Make a folder that has a dataset, and no store."""
    folder.mkdir()
    (folder / "0.jsonl").write_text('{"prompt": "what is 2 times 3", "response": "it is 6"}\n')


def commands(folder: Path, model: Path) -> dict[str, Command]:
    """Return the commands by name; their folders are made below ``folder``."""
    none, one, store, parts = (folder / n for n in ("empty", "ingested", "scored", "sliced"))
    empty(none)
    ingested(one)
    scored(store)
    sliced(parts)
    made = [
        Command("score", one, ("score", "--scorer", "mtld,text_stats", "--workers", "1", "-q"), of_store),
        Command("score x2", one, ("score", "--scorer", "mtld,text_stats", "--workers", "2", "-q"), of_store),
        Command("forward x2", one, ("score", "--scorer", "likelihood", "-m", str(model), "--template", "plain", "--workers", "2", "-q"), of_store),
        Command("ingest", one, ("ingest", f"{N_DATASETS}.jsonl", "-q"), of_store),
        Command("first ingest", none, ("ingest", "0.jsonl", "-q"), of_store),
        Command("commit", parts, ("commit", "-q"), of_store),
        Command("forget", store, ("forget", "--where", "n_chars < 40", "--yes", "-q"), of_store),
        Command("select", store, ("select", "--rank", "mtld.mtld", "--budget", "30", "-o", "best.jsonl", "-q"), of_files("best.jsonl")),
        Command("export", store, ("export", "--selection", "latest", "-o", "out", "--trainer", "trl", "-q"), of_files("out/*.jsonl")),
        Command("train", store, ("train", "--data", "0.jsonl", "-m", str(model), "-o", "run", "--epochs", "1", "--save-every", "2", "--device", "cpu", "-q"), of_files("run/model.safetensors", "run/*/model.safetensors")),
    ]  # fmt: skip
    return {command.name: command for command in made}


def tiny_model(folder: Path) -> Path:
    """Make the folder of a random model of two layers, whose tokens are bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    names = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>", "</s>"]
    backend = Tokenizer(models.BPE({name: n for n, name in enumerate(names)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(names), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=128,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
