"""Proofs that compare ways to train on one subset."""

import json

import pytest

import curate as cu
from curate.errors import ConfigError
from curate.prove.config import ProveConfig, parse_arms

OPTIONS = {"budget": "50%", "seeds": 1, "max_tokens": 600, "device": "cpu", "train": {
    "data.batch_tokens": 200, "optimiser.lr": 3e-3, "compute.threads": 1,
}}  # fmt: skip
ARMS = {
    "plain": {"method": "random", "objective": "next-token"},
    "dft": {"objective": "dft"},
    "trimmed": {"method": "longest", "policy": "drop-highest-loss", "policy.k": 2},
}


def config(arms, methods=(), **options) -> ProveConfig:
    return ProveConfig(tuple(methods), ("10%",), arms=arms, **options)


# How arms are written ----------------------------------------------------------------------------


def test_arms_are_read_from_text():
    texts = ["dft: method=random, objective=dft", "b:method=perplexity:which=high,policy.k=2"]
    assert parse_arms(texts) == {
        "dft": {"method": "random", "objective": "dft"},
        "b": {"method": "perplexity:which=high", "policy.k": "2"},
    }
    assert parse_arms(["c:method=top-k:rank=a,b,mixture=uniform"]) == {
        "c": {"method": "top-k:rank=a,b", "mixture": "uniform"}
    }


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["dft"], "cannot read arm 'dft'; write NAME:KEY=VALUE,KEY=VALUE, as in dft:method=random"),
        ([":objective=dft"], "cannot read arm ':objective=dft'"),
        (["a:objective"], "cannot read arm 'a:objective'"),
        (["a:objective=dft", "a:policy=keep-all"], "two arms are called 'a'; rename one of them"),
    ],
)
def test_what_is_no_arm_is_refused(texts, message):
    with pytest.raises(ConfigError, match=message):
        parse_arms(texts)


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"a": {"objective": "dtf"}}, "no objective 'dtf'; did you mean 'dft'"),
        ({"a": {"method": "randon"}}, "no method 'randon'; did you mean 'random'"),
        ({"a": {"policy.k": 2}}, "the policy is keep-all; pass --policy drop-highest-loss"),
        ({"a": {"objectiv": "dft"}}, "arm 'a' has no setting 'objectiv'; did you mean 'objective'"),
        ({"a": {"data.template": "chat"}}, "arm 'a' has no setting 'data.template'; an arm takes"),
        ({"full": {}}, "'full' cannot be the name of an arm; give it another than random, longest"),
        ({"ifd": {"objective": "dft"}}, "method 'ifd' is given 2 times"),
    ],
)
def test_a_wrong_arm_fails_at_once(arms, message):
    with pytest.raises(ConfigError, match=message):
        config(arms, ["ifd"]).compared()


def test_arms_come_after_the_methods_and_alone_they_need_no_longest():
    labels = [arm.label for arm in config(ARMS, ["ifd"]).compared()]
    assert labels == ["random", "ifd", "plain", "dft", "trimmed", "longest"]
    assert [arm.label for arm in config(ARMS).compared()] == ["random", "plain", "dft", "trimmed"]
    assert [arm.label for arm in config({}).compared()] == ["random", "longest"]


def test_an_arm_has_the_settings_of_the_proof_but_for_its_own():
    train = {"policy": "drop-highest-loss", "policy.k": 3, "optimiser.lr": 1e-3}
    proof = config(
        {"all": {"policy": "keep-all"}, "five": {"policy.k": 5}, "lr": {"optimiser.lr": 1}},
        train=train,
    )
    random, everything, five, lr = (proof.training(arm) for arm in proof.compared())
    assert random == train
    assert everything == {"policy": "keep-all", "optimiser.lr": 1e-3}
    assert five == {**train, "policy.k": 5}
    assert lr == {**train, "optimiser.lr": 1}


# A proof of them ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def proven(tmp_path_factory, tiny_llama, make_rows):
    """A pool on which ways to train were compared, that proof, and how it was asked for."""
    folder = tmp_path_factory.mktemp("ways")
    pool = cu.open(folder / "curate.duckdb", create=True)
    pool.ingest(str(make_rows(folder / "pool.jsonl", 60, 1)))
    target = make_rows(folder / "target.jsonl", 12, 2)
    given = {"target": str(target), "model": str(tiny_llama), **OPTIONS}
    return pool, pool.prove(arms=ARMS, **given), given


@pytest.mark.slow
def test_ways_to_train_are_compared_on_one_subset(proven):
    _, d, _ = proven
    assert list(d["methods"]) == ["random", "plain", "dft", "trimmed"]
    ids = {name: one["selection_ids"] for name, one in d["selections"]["50%"].items()}
    assert ids["random"] == ids["plain"] == ids["dft"] != ids["trimmed"]
    assert d["methods"]["dft"]["mean"] != d["methods"]["random"]["mean"]
    assert d["methods"]["dft"]["delta_vs_random"]["mean"] != 0
    said = " ".join(d["statements"])
    assert "dft trains on the examples of random with objective=dft." in said
    assert "trimmed trains on the examples of longest with policy=drop-highest-loss" in said
    assert "whose policy leaves rows out" in said
    tokens = {name: one["training_tokens"] for name, one in d["costs"]["50%"].items()}
    assert tokens["trimmed"] < tokens["random"] == tokens["dft"]


def test_arms_that_come_to_the_same_run_share_it(proven):
    _, d, _ = proven
    trials = {one["method"]: one["trial_id"] for one in d["plan"]["trials"]}
    assert trials["plain"] == trials["random"] and len({*trials.values()}) == 3
    assert d["plan"]["n_trials"] == d["n_trained"] == 3
    assert d["methods"]["plain"]["values"] == d["methods"]["random"]["values"]
    assert d["methods"]["plain"]["delta_vs_random"]["mean"] == 0


def test_the_way_to_train_is_in_the_record_and_a_second_proof_finds_it(proven):
    pool, d, given = proven
    [trial] = d["selections"]["50%"]["trimmed"]["trial_ids"]
    [row] = pool.sql(f"select manifest from trials where trial_id = '{trial}'")["manifest"]
    manifest = json.loads(row)
    assert manifest["identity"]["recipe"]["method"]["policy"] == {
        "name": "drop-highest-loss",
        "k": 2,
    }
    settings = manifest["record"]["config"]["settings"]["method"]
    assert settings["policy"] == {"name": "drop-highest-loss", "k": 2}
    again = pool.prove(arms={**ARMS, "other-name": ARMS["dft"]}, **given)
    assert again["n_trained"] == 0
    assert again["methods"]["other-name"]["values"] == d["methods"]["dft"]["values"]
    train = {**OPTIONS["train"], "objective": "dft"}
    plan = pool.prove(**{**given, "train": train}, dry_run=True)["plan"]
    assert [one["done"] for one in plan["trials"]] == [True, False]  # random, longest


def test_the_page_names_the_arms(proven, tmp_path):
    from curate.views.report.proofs.files import write_proof

    _, d, _ = proven
    page, _ = write_proof(d, tmp_path / "proof.md")
    assert "dft trains on the examples of random with objective=dft." in page.read_text()


@pytest.mark.slow
def test_trials_of_another_chat_template_are_other_trials(pool, tiny_llama, target_file, tmp_path):
    def trials(**chat: str) -> set[str]:
        plan = pool.prove(
            "random", target=str(target_file), model=str(tiny_llama), budget="50%", seeds=1,
            max_tokens=900, device="cpu", train={"data.batch_tokens": 300}, dry_run=True, **chat,
        )["plan"]  # fmt: skip
        return {trial["trial_id"] for trial in plan["trials"]}

    asked = "{% for m in messages %}<|MARK|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|MARK|>{% endif %}"
    files = []
    for mark in "ab":
        files.append(tmp_path / f"{mark}.jinja")
        files[-1].write_text(asked.replace("MARK", mark))
    without, first, second = trials(), *(trials(chat_template=str(file)) for file in files)
    assert not without & first and not first & second and not without & second
    files[1].write_text(files[0].read_text())
    assert trials(chat_template=str(files[1])) == first  # what counts is the source, not its name
