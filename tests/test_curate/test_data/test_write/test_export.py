"""A folder holds data, card, registration and manifest, loads, and can be made again."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from exported import SELECTION, bring, load
from huggingface_hub import DatasetCard

import curate as cu
from curate.api.pool import Pool
from curate.api.reproduce import reproduce
from curate.contracts.progress import SilentProgress
from curate.data.write import hub
from curate.data.write.export import export
from curate.data.write.trainers.known import TRAINERS
from curate.errors import ConfigError, DataError
from curate.store import Store


def rows(n_prompts: int, n_responses: int = 1) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"Say {i}.", "response": f"{i}" + " and so on" * j, "source": f"s{i % 2}",
            "license": "mit" if i % 2 else None,
        }
        for i in range(n_prompts)
        for j in range(n_responses)
    ]  # fmt: skip


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Twelve instructions with two responses each, of two sources."""
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(12, 2)), encoding="utf-8")
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(path))
    return pool


@pytest.fixture
def chosen(pool: Pool) -> str:
    return pool.select(rank="n_chars", budget=20).id


def files_of(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# The folder --------------------------------------------------------------------------------------


def test_a_plain_folder_has_card_and_manifest_and_loads(
    pool: Pool, chosen: str, tmp_path: Path
) -> None:
    folder = tmp_path / "subset"
    report = pool.export(chosen, folder)
    assert files_of(folder) == ["README.md", "manifest.json", "part-00000.parquet"]
    assert (report["n_rows"], report["splits"]) == (20, {"train": 20})
    data = load(folder)
    assert {name: len(split) for name, split in data.items()} == {"train": 20}
    assert data["train"].column_names == ["prompt", "response", "source", "license"]
    pool.export(chosen, folder, shard_rows=7)
    assert files_of(folder)[2:] == [f"part-{i:05d}.parquet" for i in range(3)]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_trainer_has_its_file_and_both_splits_load(
    pool: Pool, chosen: str, tmp_path: Path, trainer: str
) -> None:
    folder = tmp_path / "subset"
    report = pool.export(chosen, folder, trainer=trainer, validation="20%", shard_rows=5)
    shards = [f"train/part-{i:05d}.parquet" for i in range(4)]
    own = {
        "llama-factory": "dataset_info.json", "axolotl": "axolotl.yaml", "trl": "train_trl.py",
    }[trainer]  # fmt: skip
    wanted = ["README.md", "manifest.json", "validation/part-00000.parquet", *shards, own]
    assert files_of(folder) == sorted(wanted)
    assert report["splits"] == {"train": 16, "validation": 4}
    data = load(folder)
    assert {name: len(split) for name, split in data.items()} == report["splits"]
    asked = [[repr(row)[:60] for row in split.to_list()] for split in data.values()]
    assert not set(asked[0]) & set(asked[1]), "no instruction is in both"
    pool.export(chosen, folder)
    assert files_of(folder) == ["README.md", "manifest.json", "part-00000.parquet"]


def test_a_folder_written_again_is_read_anew(pool: Pool, chosen: str, tmp_path: Path) -> None:
    folder = tmp_path / "subset"
    sizes = []
    for validation in ("2", "6"):
        pool.export(chosen, folder, validation=validation)
        sizes.append({name: len(split) for name, split in load(folder).items()})
    assert sizes == [{"train": 18, "validation": 2}, {"train": 14, "validation": 6}]


def test_rank_order_holds_inside_each_split(pool: Pool, chosen: str, tmp_path: Path) -> None:
    folder = tmp_path / "subset"
    pool.export(chosen, folder, validation="4", annotate=True, seed=3)
    for split in ("train", "validation"):
        ranks = pq.read_table(folder / split)["curate_rank"].to_pylist()
        assert ranks == sorted(ranks)
    pool.export(chosen, folder, validation="4", annotate=True, seed=3, order="input")
    prompts = pq.read_table(folder / "train")["prompt"].to_pylist()
    assert prompts == sorted(prompts, key=lambda text: int(text[4:-1]))


def test_a_folder_of_someone_else_is_left_alone(pool: Pool, chosen: str, tmp_path: Path) -> None:
    folder = tmp_path / "subset"
    pool.export(chosen, folder, validation="4")
    (folder / "train" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"holds 'train/notes\.txt', which is not an export"):
        pool.export(chosen, folder)
    assert (folder / "train" / "notes.txt").exists()


def test_an_exported_folder_is_read_as_a_dataset(pool: Pool, chosen: str, tmp_path: Path) -> None:
    pool.export(chosen, tmp_path / "subset", trainer="axolotl", validation="4")
    again = cu.open(tmp_path / "again.duckdb", create=True)
    (report,) = again.ingest(str(tmp_path / "subset"))
    assert (report.format, report.n_read) == ("messages", 16)


A_FILE = ", but the output is a jsonl file; give -o a name without an extension"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"trainer": "trl"}, f"--trainer trl writes a folder{A_FILE}"),
        ({"push_to_hub": "me/mine"}, f"--push-to-hub writes a folder{A_FILE}"),
        ({"validation": "2"}, f"only a folder has splits{A_FILE}"),
        ({"shard_rows": 2}, f"only a folder has shards{A_FILE}"),
        ({"shard_rows": 0}, "--shard-rows must be at least 1, got 0"),
        (
            {"trainer": "torchtune"},
            "unknown --trainer 'torchtune'; choose llama-factory, axolotl, trl",
        ),
        (
            {"trainer": "lama-factory"},
            "unknown --trainer 'lama-factory'; did you mean 'llama-factory'; choose llama-factory, axolotl, trl",
        ),
    ],
)
def test_flags_that_do_not_fit(
    pool: Pool, chosen: str, tmp_path: Path, options: dict[str, Any], error: str
) -> None:
    out = tmp_path / ("subset" if options.get("trainer") == "torchtune" else "subset.jsonl")
    with pytest.raises(ConfigError) as caught:
        pool.export(chosen, out, **options)
    assert str(caught.value) == error
    assert not out.exists()


def test_examples_that_left_the_pool_are_counted(pool: Pool, chosen: str, tmp_path: Path) -> None:
    pool.store.forget("source = 's0'")
    with pytest.raises(DataError) as caught:
        pool.export(chosen, tmp_path / "subset")
    n = (
        20
        - pool.sql(
            f"select * from selection_rows join examples using (id) where selection_id = '{chosen}'"
        ).height
    )
    assert n > 0
    assert str(caught.value) == (
        f"{n} examples of selection {chosen} have left the pool since it was made; select again"
    )


# The manifest ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"trainer": "trl", "validation": "20%", "seed": 5}])
def test_a_folder_is_made_again_byte_by_byte(
    pool: Pool, chosen: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    folder = tmp_path / "subset"
    report = pool.export(chosen, folder, **options)
    document = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert document["store"] == "../curate.duckdb"
    assert document["output"]["sha256"] == report["sha256"]
    again = reproduce(
        folder / "manifest.json", store=None, output=tmp_path / "again", rescore=False,
        workers=None, progress=SilentProgress(),
    )  # fmt: skip
    assert (again["identical"], again["differences"]) == (True, [])
    for name in files_of(folder):
        if name.endswith(".parquet"):
            assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


# The card ----------------------------------------------------------------------------------------


def card_of(folder: Path) -> tuple[dict[str, Any], str]:
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), text


def test_the_card_says_where_the_rows_are_from_and_how_they_were_chosen(
    pool: Pool, chosen: str, tmp_path: Path
) -> None:
    pool.export(chosen, tmp_path / "subset", trainer="trl", validation="20%")
    front, text = card_of(tmp_path / "subset")
    assert front["license"] == "mit"
    assert front["size_categories"] == ["n<1K"]
    assert front["configs"][0]["data_files"] == [
        {"split": "train", "path": "train/*.parquet"},
        {"split": "validation", "path": "validation/*.parquet"},
    ]
    assert DatasetCard.load(tmp_path / "subset" / "README.md").data.to_dict() == front
    about = front["curate"]
    assert (about["n_rows"], about["n_pool"], about["method"]) == (20, 24, "top-k")
    assert sum(about["sources"].values()) == 20
    assert about["licences"]["mit"] + about["licences"]["not stated"] == 20
    assert f"curate export --selection {chosen} -o subset --trainer trl" in text
    assert "curate select --method top-k --set top-k.rank=n_chars --budget 20 --seed 0" in text
    assert "curate reproduce manifest.json" in text
    assert "| pool.jsonl | prompt-response | 24 |" in text
    assert str(tmp_path / "pool.jsonl") not in text
    assert "TRL's SFTTrainer takes no weight per example." in text
    assert "no instruction is in both splits" in text


def test_the_card_quotes_what_the_data_says(tmp_path: Path) -> None:
    store = Store(tmp_path / "curate.duckdb")
    evil = "<script>x</script>|`a`\n---\n# big"
    lines = [
        json.dumps({"prompt": f"p{i}", "response": "r", "source": evil, "license": evil})
        for i in range(2)
    ]
    bring(store, tmp_path / "a.jsonl", "\n".join(lines) + "\n")
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    chosen = pool.select(rank="n_chars", budget=2).id
    pool.export(chosen, tmp_path / "subset")
    front, text = card_of(tmp_path / "subset")
    assert front["curate"]["sources"] == {" ".join(evil.split()): 2}
    assert front["license"] == "other"
    assert "<script>" not in text
    assert "\n# big" not in text
    assert "&lt;script&gt;x&lt;/script&gt;\\|\\`a\\` --- \\# big" in text


def test_without_a_licence_column_the_card_says_so(tmp_path: Path) -> None:
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    (tmp_path / "a.jsonl").write_text('{"prompt": "p", "response": "r"}\n')
    pool.ingest(str(tmp_path / "a.jsonl"))
    pool.export(pool.select(rank="n_chars", budget=1).id, tmp_path / "subset")
    front, text = card_of(tmp_path / "subset")
    assert "license" not in front
    assert "The input rows name no licence." in text


def test_real_rows_bring_their_licences_and_share_no_instruction(
    realdata: Path, tmp_path: Path
) -> None:
    pool = Pool(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(realdata / "ni_pool.parquet"), limit=3000)
    chosen = pool.select("random", budget="20%").id
    folder = tmp_path / "subset"
    report = pool.export(chosen, folder, trainer="llama-factory", validation="10%", annotate=True)
    assert report["splits"]["validation"] <= 60
    front, text = card_of(folder)
    assert sum(front["curate"]["licences"].values()) == report["n_rows"] == 600
    assert len(front["curate"]["licences"]) > 1
    group = dict(pool.sql("select id, group_id from examples").iter_rows())
    groups = [{group[i] for i in rows["curate_id"]} for rows in load(folder).values()]
    assert not groups[0] & groups[1]
    assert all(f"| {n:,} |" in text for n in front["curate"]["sources"].values())


# Weights -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("trainer", TRAINERS)
def test_weights_are_written_and_their_neglect_is_said(
    pool: Pool, chosen: str, tmp_path: Path, trainer: str
) -> None:
    record = pool.store.selection(chosen)
    kept = pool.store.selection_rows(chosen)
    weights = pa.array([0.5 + i for i in range(len(kept))])
    weighted = kept.set_column(kept.column_names.index("weight"), "weight", weights)
    pool.store.save_selection({**record, "selection_id": SELECTION}, weighted)
    report = pool.export(SELECTION, tmp_path / "subset", trainer=trainer)
    (warning,) = report["warnings"]
    assert warning.startswith(TRAINERS[trainer].weights)
    assert warning.endswith(f"curate train --selection {SELECTION} applies the weights")
    table = pq.read_table(tmp_path / "subset" / "train")
    assert table["curate_weight"].to_pylist() == weights.to_pylist()
    assert warning.split(":")[0] in " ".join(card_of(tmp_path / "subset")[1].split())
    equal = pool.export(chosen, tmp_path / "equal", trainer=trainer)
    assert equal["warnings"] == []
    assert "curate_weight" not in pq.read_table(tmp_path / "equal" / "train").column_names


# The hub -----------------------------------------------------------------------------------------


class Recorder:
    """Stands in for the hub's client."""

    calls: ClassVar[list[tuple[str, tuple[Any, ...], dict[str, Any]]]] = []

    def create_repo(self, *arguments: Any, **options: Any) -> None:
        self.calls.append(("create_repo", arguments, options))

    def upload_folder(self, *arguments: Any, **options: Any) -> str:
        self.calls.append(("upload_folder", arguments, options))
        return "https://hub/commit/1"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    import huggingface_hub

    monkeypatch.setattr(Recorder, "calls", [])
    monkeypatch.setattr(huggingface_hub, "HfApi", Recorder)
    return Recorder


def test_nothing_is_uploaded_without_yes(
    pool: Pool, chosen: str, tmp_path: Path, api: type[Recorder]
) -> None:
    folder = tmp_path / "subset"
    plan = pool.export(chosen, folder, trainer="trl", push_to_hub="me/mine")["upload"]
    assert api.calls == []
    assert plan["uploaded"] is False
    assert plan["files"] == {name: (folder / name).stat().st_size for name in files_of(folder)}
    assert plan["n_bytes"] == sum(plan["files"].values())


def test_yes_uploads_the_folder_to_a_private_dataset_and_old_shards_go(
    pool: Pool, chosen: str, tmp_path: Path, api: type[Recorder]
) -> None:
    folder = tmp_path / "subset"
    plan = pool.export(chosen, folder, push_to_hub="me/mine", yes=True)["upload"]
    assert (plan["uploaded"], plan["commit"]) == (True, "https://hub/commit/1")
    (made, uploaded) = api.calls
    assert made == (
        "create_repo", ("me/mine",), {"repo_type": "dataset", "private": True, "exist_ok": True},
    )  # fmt: skip
    assert uploaded[2]["repo_id"] == "me/mine"
    assert uploaded[2]["folder_path"] == folder
    assert uploaded[2]["delete_patterns"] == list(hub.REPLACED)


@pytest.mark.parametrize(
    ("repo", "error"),
    [
        ("mine", "--push-to-hub 'mine' names no owner; write OWNER/NAME"),
        ("a/b/c", "--push-to-hub 'a/b/c': Repo id must be in the form"),
    ],
)
def test_a_repository_that_cannot_be_is_refused_first(
    pool: Pool, chosen: str, tmp_path: Path, repo: str, error: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        export(pool.store, chosen, tmp_path / "subset", push_to_hub=repo, yes=True)
    assert str(caught.value).startswith(error)
    assert not (tmp_path / "subset").exists()


def test_a_hub_out_of_reach_leaves_the_folder(
    pool: Pool, chosen: str, tmp_path: Path, api: type[Recorder], monkeypatch: Any
) -> None:
    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise ConnectionError("offline\nmore")

    monkeypatch.setattr(api, "create_repo", refuse)
    folder = tmp_path / "subset"
    with pytest.raises(ConfigError) as caught:
        pool.export(chosen, folder, push_to_hub="me/mine", yes=True)
    assert str(caught.value) == (
        f"cannot upload to me/mine: offline; {folder} is complete, try again with the same "
        "command, or log in with: hf auth login"
    )
    assert (folder / "manifest.json").is_file()
