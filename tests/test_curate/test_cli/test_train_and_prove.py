"""`curate train` and `curate prove` as they are typed."""

import json
from pathlib import Path

import pytest

SHORT = ("--max-steps", 2, "--batch-tokens", 200, "--device", "cpu", "--threads", 1, "-q")


@pytest.fixture
def selected(curate, pool_file: Path) -> str:
    """The id of a selection of twenty examples."""
    done = curate("select", pool_file, "--method", "random", "--budget", 20, "--json", "-q")
    return str(done.json["selection_id"])


@pytest.mark.slow
def test_a_selection_is_trained_on_and_its_folder_loads(curate, selected, tiny_model) -> None:
    from transformers import AutoModelForCausalLM

    target = Path("held.jsonl")
    target.write_text(json.dumps({"prompt": "Say pink.", "response": "pink indeed"}) + "\n")
    arguments = (
        "train", "--selection", selected, "-m", tiny_model, "-o", "out", "--eval", target,
        "--lr", "1e-3", "--set", "optimiser.clip=0.5", *SHORT, "--json",
    )  # fmt: skip
    done = curate(*arguments)
    assert done.code == 0, done.err
    d = done.json
    assert d["config"]["settings"]["optimiser"]["clip"] == 0.5
    assert d["outcome"]["steps"] == 2
    assert d["evaluations"][0]["name"] == "held"
    assert AutoModelForCausalLM.from_pretrained("out").config.vocab_size == 320
    again = curate(*arguments)
    assert again.json["run_id"] == d["run_id"]
    found = curate("status", "--json")
    assert found.code == 0


@pytest.mark.slow
def test_ways_to_train_are_chosen_on_the_command_line(curate, selected, tiny_model) -> None:
    arguments = (
        "train", "--selection", selected, "-m", tiny_model, "-o", "out", *SHORT,
        "--objective", "dft", "--policy", "drop-highest-loss", "--set", "policy.k=2",
        "--mixture", "loss-proportional", "--set", "mixture.period=1",
    )  # fmt: skip
    plan = curate(*arguments, "--dry-run", "--json").json
    method = curate(*arguments, "--json").json["config"]["settings"]["method"]
    assert method == {
        "lora": None,
        "objective": {"name": "dft"},
        "policy": {"name": "drop-highest-loss", "k": 2},
        "mixture": {"name": "loss-proportional", "period": 1, "power": 1.0},
    }
    assert {
        name: plan[name] for name in ("objective", "policy", "mixture")
    }.items() <= method.items()
    shown = curate(*(one for one in arguments if one != "-q"))
    assert "drop-highest-loss (k=2)" in shown.out


def test_a_plan_trains_nothing(curate, selected, tiny_model) -> None:
    done = curate(
        "train", "--selection", selected, "-m", tiny_model, "-o", "out", *SHORT, "--dry-run",
        "--json",
    )  # fmt: skip
    assert done.json["rows"] == 20 and done.json["steps"] == 2
    with_file = curate(
        "train", "--data", "pool.jsonl", "-m", tiny_model, "-o", "out", *SHORT, "--dry-run", "--store", "new.duckdb"
    )  # fmt: skip
    assert with_file.code == 0, with_file.err
    assert not Path("out").exists() and not list(Path().glob("new.*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "full"), "full exists and holds something else (a)"),
        (("--record-trajectories", "9"), "cannot record 9 points of a run of 2 steps"),
        (("--eval", "empty.jsonl"), "none of the 1 evaluation set 'empty' rows can be used"),
    ],
)
def test_a_plan_refuses_what_the_run_would(
    curate, selected, tiny_model, arguments, message
) -> None:
    Path("full").mkdir()
    Path("full/a").touch()
    Path("empty.jsonl").write_text(json.dumps({"prompt": "x " * 3000, "response": "y"}) + "\n")
    common = ("train", "--selection", selected, "-m", tiny_model, "-o", "out", *SHORT, *arguments)
    plan = curate(*common, "--dry-run")
    assert plan.code == 2 and message in plan.err, plan.err
    assert curate(*common).err == plan.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--selection", "nothing"), "no selection 'nothing' in the store; the newest are:"),
        ((), "pass either --selection ID or --data FILE; neither is given"),
        (("--data", "missing.jsonl"), "missing.jsonl"),
        (("--selection", "SELECTED", "--data", "pool.jsonl"), "both are given"),
        (("--selection", "SELECTED", "--lr", "-1"), "lr must be a positive number, got -1.0"),
        (("--selection", "SELECTED", "--epochs", "2"), "a run has one length, got"),
        (
            ("--selection", "SELECTED", "--set", "data.turn=all"),
            "did you mean 'data.turns'; known:",
        ),
        (("--selection", "SELECTED", "--objective", "dtf"), "did you mean 'dft'; choose one of:"),
        (
            ("--selection", "SELECTED", "--set", "policy.k=2"),
            "the policy is keep-all; pass --policy drop-highest-loss, or leave policy.k out",
        ),
        (("--selection", "SELECTED", "--set", "optimiser.clip=x"), "--set optimiser.clip='x' is"),
        (("--selection", "SELECTED", "-o", "full"), "full exists and holds something else (a)"),
        (("--selection", "SELECTED", "--max-hours", "0"), "--max-hours must be positive, got 0"),
        (
            ("--selection", "SELECTED", "--extractor", "exact", "--set", "watch.eval_every=2"),
            "--extractor, --eval-every without anything to evaluate on: add --eval FILE, or leave them out",
        ),
        (("--selection", "SELECTED", "--batch-tokens", "100000"), "less than one batch of 100000"),
        (
            ("--selection", "SELECTED", "--record-trajectories", "9"),
            "cannot record 9 points of a run of 2 steps",
        ),
        (
            ("--selection", "SELECTED", "--lora", "--set", "lora.targets=nowhere"),
            "nowhere",
        ),
    ],
)
def test_bad_requests_are_one_line_and_exit_2(
    curate, selected, tiny_model, arguments, message
) -> None:
    Path("full").mkdir()
    Path("full/a").touch()
    given = [selected if one == "SELECTED" else one for one in arguments]
    done = curate("train", "-m", tiny_model, "-o", "out", *SHORT, *given)
    assert done.code == 2
    assert message in done.err, done.err
    assert "Traceback" not in done.err


def test_a_changed_configuration_is_named(curate, selected, tiny_model) -> None:
    arguments = ("train", "--selection", selected, "-m", tiny_model, "-o", "out", *SHORT)
    assert curate(*arguments, "--lr", "1e-3").code == 0
    other = curate(*arguments, "--lr", "2e-3")
    assert other.code == 2
    assert "optimiser.lr was 0.001 and is now 0.002" in other.err


@pytest.mark.slow
def test_recorded_trajectories_are_a_score_set_that_s2l_reads(curate, selected, tiny_model) -> None:
    done = curate(
        "train", "--selection", selected, "-m", tiny_model, "-o", "out", *SHORT,
        "--record-trajectories", 2, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    set_id = done.json["outcome"]["trajectory"]
    chosen = curate(
        "select", "--method", "s2l", "--set", "n_clusters=3", "--budget", 7, "--json", "-q"
    )
    assert chosen.code == 0, chosen.err
    assert chosen.json["score_sets"]["trajectory"]["set_id"] == set_id
    assert chosen.json["n_selected"] == 7


def ids(proof) -> set[str]:
    """The ids of the trials of a proof, or of the plan of one."""
    return {trial["trial_id"] for trial in proof.json["plan"]["trials"]}


@pytest.mark.slow
def test_prove_from_a_file_to_a_page(curate, pool_file, tiny_model) -> None:
    rows = [
        {"id": f"t{n}", "prompt": f"Say {n}.", "response": f"{n} indeed", "category": "ab"[n % 2]}
        for n in range(30)
    ]
    Path("target.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = (
        "prove", pool_file, "--methods", "grape", "--budget", 8, "--target", "target.jsonl",
        "-m", tiny_model, "--seeds", 1, "--max-tokens", "0.3k", "--batch-tokens", 100, "--device",
        "cpu", "--threads", 1, "-q", "-o", "proof.md", "--json",
    )  # fmt: skip
    plan = curate(*arguments, "--dry-run")
    assert plan.code == 0, plan.err
    assert plan.json["plan"]["n_missing"] == 3
    assert not list(Path().glob("curate.*")), "a plan changes nothing"
    assert not Path("proof.md").exists()
    done = curate(*arguments)
    assert done.code == 0, done.err
    assert ids(plan) == ids(done)
    assert set(done.json["methods"]) == {"random", "grape", "longest"}
    grape = done.json["methods"]["grape"]
    assert grape["verdict"] == "too few seeds"
    assert {"mean", "ci_low", "ci_high", "delta_vs_random"} <= set(grape)
    page = Path("proof.md").read_text()
    assert "curate prove" in page and "<summary>target at 8: method minus random" in page
    assert json.loads(Path("proof.json").read_text())["n_trained"] == 3
    assert curate(*arguments).json["n_trained"] == 0
    other = [{"prompt": f"Tell {n}.", "response": "so it is " * n} for n in range(1, 30)]
    Path("other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in other))
    elsewhere = curate("prove", "other.jsonl", *arguments[2:], "--dry-run")
    assert elsewhere.code == 0, elsewhere.err
    assert elsewhere.json["n_pool"] == 29 and not ids(elsewhere) & ids(done)
    assert len(curate("status", "--json").json["datasets"]) == 1


@pytest.mark.slow
def test_prove_compares_ways_to_train_on_one_subset(curate, pool_file, tiny_model) -> None:
    rows = [{"prompt": f"Say {n}.", "response": f"{n} indeed"} for n in range(9)]
    Path("target.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = (
        "prove", pool_file, "--budget", 8, "--target", "target.jsonl", "-m", tiny_model,
        "--seeds", 1, "--max-tokens", 200, "--batch-tokens", 100, "--device", "cpu",
        "--threads", 1, "--lr", "1e-3", "-q", "--json",
        "--arm", "ntp:method=random,objective=next-token", "--arm", "dft:objective=dft",
        "--policy", "drop-highest-loss", "--set", "policy.k=2",
    )  # fmt: skip
    done = curate(*arguments)
    assert done.code == 0, done.err
    assert list(done.json["methods"]) == ["random", "ntp", "dft"]
    assert done.json["n_trained"] == 2
    assert done.json["arms"]["dft"] == {"objective": "dft"}
    methods = done.json["methods"]
    assert methods["ntp"]["mean"] == methods["random"]["mean"] != methods["dft"]["mean"]
    assert curate(*arguments).json["n_trained"] == 0


def test_a_proof_needs_something_to_compare(curate, pool_file, tiny_model) -> None:
    done = curate("prove", pool_file, "--budget", 8, "--target", "t.jsonl", "-m", tiny_model)
    assert done.code == 2
    assert "nothing to compare with random; add --methods ifd,kmq or --arm dft:" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "pool.jsonl"), "26 of 26 examples of target 'pool' overlap with the pool"),
        (("--target", "nowhere.jsonl"), "nowhere.jsonl"),
        (("--target", "pool.jsonl", "-o", "page.html"), "a report is Markdown, got 'page.html'"),
        (("--target", "pool.jsonl", "-o", "no/page.md"), "folder 'no' of the report does not"),
        (("--target", "pool.jsonl", "--methods", "kmqq"), "no method 'kmqq'"),
        (("--target", "pool.jsonl", "--arm", "a:objective=dtf"), "did you mean 'dft'"),
        (("--target", "pool.jsonl", "--arm", "objective=dft"), "cannot read arm 'objective=dft'"),
        (("--target", "pool.jsonl", "--set", "k=2"), "write NAME.k=VALUE"),
        (("--target", "pool.jsonl", "--max-tokens", "some"), "type 300000, 300k or 2M"),
    ],
)
def test_bad_proofs_are_one_line_and_exit_2(
    curate, pool_file, tiny_model, arguments, message
) -> None:
    done = curate(
        "prove", pool_file, "--methods", "grape", "--budget", 8, "-m", tiny_model, "-q", *arguments
    )
    assert done.code == 2
    assert message in done.err, done.err
    assert "Traceback" not in done.err
