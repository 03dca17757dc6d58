"""A trial is found again only where it would choose the same: what its picks are read from is in its id."""

import pytest

OPTIONS = {
    "budget": "50%", "seeds": 1, "max_tokens": 600, "device": "cpu", "train": {"data.batch_tokens": 300},
    "dry_run": True,
}  # fmt: skip


@pytest.fixture
def planned(pool, target_file, tiny_model, monkeypatch):
    """Return a function that plans a proof and returns the id of each method's trial."""
    monkeypatch.setattr("curate.prove.plan._measured_speed", lambda *_: (None, "not measured"))

    def ids(*methods: str, **more) -> dict[str, str]:
        given = {"target": str(target_file), "model": str(tiny_model), **OPTIONS, **more}
        return {t["method"]: t["trial_id"] for t in pool.prove(*methods, **given)["plan"]["trials"]}

    return ids


def test_a_condition_on_one_of_several_sets_of_a_name(pool, planned, tiny_model):
    where = "length.response_tokens > 3"
    pool.score("length", model=str(tiny_model), workers=1)
    assert (
        planned("longest", where=where)["random"]
        == planned("longest", where=where, settings={"length.template": "plain"})["random"]
    ), "one set of the name is the only one it can mean"
    pool.score("length", model=str(tiny_model), workers=1, settings={"length.template": "alpaca"})
    plain, alpaca = (
        planned("longest", where=where, settings={"length.template": template})
        for template in ("plain", "alpaca")
    )
    assert plain["random"] != alpaca["random"]
    assert (
        planned("longest")["random"]
        == planned("longest", settings={"length.template": "alpaca"})["random"]
    ), "without a condition nothing reads them"


def test_the_scores_below_a_score_of_the_whole_pool(planned):
    paper, plain = (planned("cluster-draw", template=template) for template in ("method", "chat"))
    assert paper["random"] == plain["random"]
    assert paper["cluster-draw"] != plain["cluster-draw"]


def test_the_template_that_a_procedure_scores_with(planned):
    paper, plain = (planned("longest | random", template=t) for t in ("method", "plain"))
    assert paper["random"] == plain["random"]
    assert paper["longest | random"] != plain["longest | random"]
