import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate as cu
from curate.contracts import Example, LoadContext
from curate.errors import ConfigError, DataError
from curate.scorers.contamination import Contamination
from curate.scoring.options import ScoringOptions
from curate.scoring.plan import plan_passes
from curate.scoring.requests import make_request, request_for

QUESTION = "Natalia sold clips to 48 of her friends in April and then half as many clips in May, how many in all"


@pytest.fixture
def files(tmp_path):
    lines = [
        {"question": "Why?", "choices": ["red", "blue"]},
        {"question": QUESTION, "choices": ["72"]},
    ]
    gsm = tmp_path / "gsm.jsonl"
    gsm.write_text("".join(json.dumps(line) + "\n" for line in lines))
    other = tmp_path / "other.parquet"
    turns = [[{"role": "user", "content": "The quick brown fox jumps over the lazy dog"}]]
    pq.write_table(pa.table({"conversation": turns}), other)
    return str(gsm), str(other)


def compare(scorer, prompt, response="42"):
    messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": response})
    columns = scorer.load(LoadContext("cpu", "float32"))([Example("0" * 32, messages)])
    return {name: values[0] for name, values in columns.items()}


def test_says_which_words_of_which_row_of_which_file(files):
    found = compare(Contamination(files), f"Please: {QUESTION.upper()}?!")
    n_words = len(QUESTION.split())
    assert (found["n"], found["longest"]) == (n_words - 12, n_words)
    assert found["passage"] == " ".join(QUESTION.lower().replace(",", "").split()[:13])
    assert (found["file"], found["file_row"]) == (files[0], 2)
    assert found["share"] == pytest.approx((n_words - 12) / (n_words + 2 - 12))


def test_reads_every_column_and_what_is_nested_in_it(files):
    found = compare(
        Contamination(files, ngram=9),
        "A quick brown fox",
        "the quick brown fox jumps over the lazy dog",
    )
    assert (found["n"], found["longest"], found["file"], found["file_row"]) == (1, 9, files[1], 1)


def test_a_clean_example_has_zeros_and_no_file(files):
    found = compare(Contamination(files), "Say red.", "")
    assert [found[name] for name in ("n", "share", "longest", "passage", "file", "file_row")] == [
        0, 0, 0, "", "", 0,
    ]  # fmt: skip


def test_twelve_words_in_a_row_are_not_thirteen(files):
    words = QUESTION.split()
    assert compare(Contamination(files), " ".join([*words[:12], "x", *words[12:24]]))["n"] == 0
    assert compare(Contamination(files), " ".join(words[:13]))["n"] == 1


def test_the_files_belong_to_the_key_by_their_contents(files, tmp_path):
    def key():
        return request_for(Contamination(files), "c", None, ScoringOptions()).key.set_id

    before = key()
    assert key() == before
    (tmp_path / "gsm.jsonl").write_text('{"question": "Another one?"}\n')
    assert key() != before


def test_filters_a_pool_together_with_near_duplicates(files, tmp_path):
    rows = [("Say.", "A tree is green."), ("Say!", "A tree is green"), ("Go.", QUESTION)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in rows))
    pool = cu.open(tmp_path / "pool.duckdb", create=True)
    pool.ingest(str(path))
    pool.score("near_duplicate", "contamination", settings={"contamination.files": files[0]})
    where = "not near_duplicate.is_copy and contamination.n == 0"
    chosen = pool.select("random", budget=1, where=where)
    assert chosen.to_polars()["response"][0].startswith("A tree is green")
    with pytest.raises(ConfigError, match="only 1 are eligible"):
        pool.select("random", budget=2, where=where)


def test_files_without_a_text_of_so_many_words_are_refused_and_short_rows_counted(files):
    with pytest.raises(
        ConfigError,
        match=r"no text of .*other.parquet has 13 words, so nothing could be found; .*: --set contamination.ngram=N",
    ):
        compare(Contamination(files[1:]), "Say red.")
    assert compare(Contamination(files), "Say red.")["short_rows"] == 2  # one of each file
    assert compare(Contamination(files, ngram=9), "Say red.")["short_rows"] == 1
    assert compare(Contamination(files, ngram=1), "Say red.")["short_rows"] == 0


def test_files_that_change_after_the_key_was_made_are_refused(files):
    scorer = Contamination(files[:1])
    request = request_for(scorer, "c", None, ScoringOptions())
    context = plan_passes([request])[0].context("cpu")
    assert context.files == scorer.read_files()
    scorer.load(context)
    with open(files[0], "a") as stream:
        stream.write('{"question": "Another one?"}\n')
    with pytest.raises(
        DataError, match=r"gsm.jsonl changed after scoring began.*run the same command again"
    ):
        scorer.load(context)


def test_half_of_a_surrogate_pair_does_not_stop_the_comparison(tmp_path):
    file = tmp_path / "odd.jsonl"
    file.write_text(json.dumps({"question": f"\ud800 {QUESTION}"}) + "\n")
    found = compare(Contamination((str(file),)), f"{QUESTION} \udfff")
    assert found["longest"] == len(QUESTION.split())
    assert found["passage"].startswith("natalia sold clips")


def test_a_run_that_is_everywhere_may_part_a_longer_one(tmp_path):
    file = tmp_path / "many.jsonl"
    texts = [*(f"{k} once upon a time" for k in range(16)), "so once upon a time there was a king"]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    found = compare(
        Contamination((str(file),), ngram=4), "so once upon a time there was a king", ""
    )
    assert (found["n"], found["longest"], found["file_row"]) == (
        6,
        7,
        17,
    )  # 9 words, parted after "so"


def test_what_cannot_be_compared_with_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"contamination.files is empty, .*--set contamination.files=FILE"
    ):
        Contamination(())
    with pytest.raises(ConfigError, match="counts words, at least 1, got 0; try 13"):
        Contamination(("a.jsonl",), ngram=0)
    with pytest.raises(DataError, match="nowhere.jsonl"):
        Contamination((str(tmp_path / "nowhere.jsonl"),)).read_files()


@pytest.mark.parametrize("line", ['{"a": 1}', '{"a": null}', "{}"])  # the last has no column
def test_a_benchmark_without_a_text_is_refused(tmp_path, line):
    numbers = tmp_path / "numbers.jsonl"
    numbers.write_text(f"{line}\n")
    scorer = replace(Contamination(("x",)), files=(str(numbers),))
    with pytest.raises(
        DataError, match=r"numbers.jsonl holds no text; check that it is the right file"
    ):
        scorer.load(LoadContext("cpu", "float32"))


@pytest.fixture
def pool_with_target(tmp_path):
    rows = [{"prompt": "Say.", "response": "A tree."}, {"prompt": "Go.", "response": QUESTION}]
    held = [{"q": "Why?", "a": "red"}] * 2 + [{"q": f"Please: {QUESTION.upper()}", "a": "72"}]
    for name, lines in (("rows", rows), ("held", held)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    pool = cu.open(tmp_path / "pool.duckdb", create=True)
    pool.ingest(str(tmp_path / "rows.jsonl"))
    pool.target.add("dev", str(tmp_path / "held.jsonl"), columns={"prompt": "q", "response": "a"})
    return pool


TARGET = {"contamination.files": "target:dev"}


def test_a_target_set_is_a_benchmark_by_its_name(pool_with_target):
    pool_with_target.score("contamination", settings=TARGET, workers=2)
    rows = pool_with_target.scores("contamination").to_arrow().to_pylist()
    columns = [f"contamination.{name}" for name in ("n", "file", "file_row", "short_rows")]
    found = sorted(tuple(row[name] for name in columns) for row in rows)
    n_shared = len(QUESTION.split()) - 12
    # the second row of the target repeats the first, so it has two distinct examples
    assert found == [(0, "", 0, 1), (n_shared, "target:dev", 3, 1)]


def test_a_target_set_belongs_to_the_key_by_its_contents(pool_with_target, tmp_path):
    pool = pool_with_target
    pool.score("contamination", settings=TARGET)
    again = pool.score("contamination", settings=TARGET)
    assert (again.sets[0].n_scored, again.sets[0].n_reused) == (0, 2)
    pool.target.remove("dev")
    with pytest.raises(ConfigError, match="no target set 'dev'; this store has none"):
        pool.score("contamination", settings=TARGET)
    pool.target.add("dev", str(tmp_path / "rows.jsonl"))
    assert pool.score("contamination", settings=TARGET).sets[0].n_scored == 2


def test_a_target_set_that_is_replaced_while_it_is_compared_with_is_refused(
    pool_with_target, tmp_path
):
    pool = pool_with_target
    request = make_request(
        pool.store, "contamination", "c", {"files": ("target:dev",)}, None, ScoringOptions()
    )
    context = plan_passes([request])[0].context("cpu")
    request.scorer.load(context)
    pool.target.remove("dev")
    for _ in range(2):
        with pytest.raises(
            DataError, match="target set 'dev' was removed or replaced after scoring"
        ):
            request.scorer.load(context)
        pool.target.add("dev", str(tmp_path / "rows.jsonl"))
