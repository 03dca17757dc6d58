from curate.contracts import Example, LoadContext
from curate.scorers.length import Length


def test_counts_by_hand(tiny_tokenizer, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for path in tiny_tokenizer.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    score = Length().load(LoadContext("cpu", "float32", str(tmp_path)))
    example = Example(
        "0" * 32, ({"role": "user", "content": "qq"}, {"role": "assistant", "content": "zzz"})
    )
    columns = score([example, example])
    # One token a letter, none of them merged: BOS, q, q, line break; then z, z, z.
    assert columns["prompt_tokens"].tolist() == [4, 4]
    assert columns["response_tokens"].tolist() == [3, 3]
