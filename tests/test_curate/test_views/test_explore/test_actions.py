"""What the page changes: bulk marks, labels, notes, undo, selections and exports; and its issues."""

import json

import pytest
from explored import ask, ids, refusal
from reported import quality, score

from curate.select.marks import labelled, marked


def post(page, action, status=200, **document):
    """Return the answer to what is posted, which must have this status."""
    response = page.post(f"/api/{action}", json=document)
    assert response.status_code == status, response.text
    return response.json() if status == 200 else response.json()["error"]


class TestMany:
    def test_all_that_satisfy_a_query_are_marked_and_it_can_be_undone(self, client, colours, names):
        page = client(colours)
        post(page, "mark", ids=[names["gold-2"]], mark="in")
        done = post(page, "mark", query={"where": "quality.value > 8"}, mark="out")
        assert done == {"marks": {"in": 0, "out": 3}, "n": 3}
        assert post(page, "undo") == {"n": 3}
        assert marked(colours.store, "ana") == {"in": [names["gold-2"]], "out": []}
        assert "there is nothing to undo" in post(page, "undo", 404)

    def test_labels_are_added_removed_and_undone(self, client, colours, names):
        page = client(colours)
        red = [names["red-1"], names["red-2"]]
        assert post(page, "label", ids=red[:1], label="odd")["n_labelled"] == 1
        done = post(page, "label", query={"q": "red"}, label="odd")
        assert done == {"label": "odd", "n": 2, "n_labelled": 2}
        by_id = {row["id"]: row["labels"] for row in ask(page, "rows")["rows"]}
        assert [by_id[i] for i in red] == [["odd"], ["odd"]]
        assert ask(page, "pool")["labels"] == [{"name": "odd", "n": 2, "id": "label-odd-ana"}]
        assert ask(page, "rows", a="label-odd-ana")["n"] == 2
        post(page, "undo")
        assert labelled(colours.store, "ana") == {"odd": red[:1]}
        assert post(page, "label", ids=red, label="odd", remove=True)["n_labelled"] == 0

    def test_a_filter_by_marks_follows_them(self, client, colours, names):
        page = client(colours)
        post(page, "label", ids=[names["red-2"]], label="odd")
        assert ask(page, "rows", where="mark = 'in' or label.odd")["n"] == 1
        post(page, "mark", ids=[names["red-1"]], mark="in")
        assert ask(page, "rows", where="mark = 'in' or label.odd")["n"] == 2

    def test_notes_are_shown_with_their_example(self, client, colours, names):
        page = client(colours)
        red = names["red-1"]
        assert post(page, "note", id=red, note="line one\nline two") == {
            "n_notes": 1, "note": "line one\nline two",
        }  # fmt: skip
        assert ask(page, "example", id=red)["note"] == "line one\nline two"
        assert [row["id"] for row in ask(page, "rows")["rows"] if row["noted"]] == [red]
        assert ids(ask(page, "rows", a="notes-ana")) == [red]

    @pytest.mark.parametrize(
        ("name", "document", "words"),
        [
            ("label", {"ids": ["a"]}, "a label must be JSON such as"),
            ("label", {"ids": ["a"], "label": "a b"}, "a label must be 1 to 40 letters"),
            ("note", {"id": "a"}, "a note must be JSON such as"),
            ("mark", {"query": [], "mark": "in"}, "a query must be an object, got []"),
            ("mark", {"query": {"where": 3}, "mark": "in"}, "a query has texts"),
            ("mark", {"query": {"where": "n_chars < 0"}, "mark": "in"}, "nothing to mark"),
            ("export", {}, "an export needs a selection and the name of a file"),
            ("export", {"selection": "x", "file": "../x.jsonl"}, "a name without a folder"),
            ("export", {"selection": "x", "file": "x.py"}, "a name without a folder"),
            ("export", {"selection": "x", "file": "x.csv", "to": "y"}, "the format must be one of"),
            ("select", {"method": "random", "budget": "3", "seed": -1}, "a whole number from 0 on"),
            ("select", {"method": "kmqq", "budget": "3"}, "did you mean 'kmq'"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_meant_is_refused(self, client, colours, name, document, words):
        assert words in post(client(colours), name, 400, **document)

    def test_actions_need_the_token_and_a_post(self, client, colours):
        for name in ("label", "note", "undo", "select", "export"):
            assert client(colours, token=None).post(f"/api/{name}", json={}).status_code == 403
            assert client(colours).get(f"/api/{name}").status_code == 405


class TestMap:
    def test_an_area_of_the_map_is_a_condition(self, client, colours):
        page = client(colours)
        found = ask(page, "map", embedding="embedding.vector")
        left, bottom, right, top = found["box"]
        area = f"embedding.vector:{left},{bottom},{(left + right) / 2},{top}"
        inside = {point[3] for point in found["points"] if point[0] <= (left + right) / 2}
        shown = ask(page, "rows", area=area)
        assert set(ids(shown)) == inside and len(inside) == 6
        assert ask(page, "map", embedding="embedding.vector", area=area)["n"] == 12
        assert ask(page, "histogram", column="n_chars", area=area)["n_kept"] == 6
        assert "an area of the map must be" in refusal(page, "rows", area="1,2,3,4")

    def test_neighbours_are_nearest_first(self, client, colours, names):
        page = client(colours)
        found = ask(page, "neighbours", id=names["gold-2"], embedding="embedding.vector")
        assert len(found["neighbours"]) == 8
        cosines = [one["cosine"] for one in found["neighbours"]]
        assert cosines == sorted(cosines, reverse=True)
        assert found["neighbours"][0]["id"] == names["gold-1"]
        assert found["neighbours"][0]["prompt"] == ["Say gold."]


class TestIssues:
    def issues(self, page):
        kinds = ask(page, "issues")["kinds"]
        return {one["key"]: one for kind in kinds for one in kind["issues"]}

    def test_each_kind_is_told_by_the_scores_that_tell_it(self, client, colours, names):
        score(colours, "copies", {"is_copy": ("bool", lambda n: n.endswith("-2")), "similarity": ("float", quality),
                                  "representative": ("text", lambda n: n)})  # fmt: skip
        score(colours, "leak", {"n": ("int", lambda n: int(n == "red-1")), "longest": ("int", len),
                                "passage": ("text", lambda n: "say red"),
                                "file": ("text", lambda n: "bench.jsonl")})  # fmt: skip
        score(colours, "ifd", {"ratio_loss": ("float", lambda n: quality(n) / 10),
                               "truncated": ("bool", lambda n: n == "blue-1")})  # fmt: skip
        page = client(colours)
        found = self.issues(page)
        counts = {key: one["n"] for key, one in found.items()}
        assert counts == {
            "near-duplicates:copies": 6, "contamination:leak": 1, "likely-wrong:ifd": 2,
            "truncated:ifd": 1, "lost-reasoning:failed": 0, "lost-reasoning:open": 0,
        }  # fmt: skip
        assert found["likely-wrong:ifd"]["where"] == "(ifd.ratio_loss >= 1.0)"
        [first, *_] = found["near-duplicates:copies"]["worst"]
        assert first["id"] == names["gold-2"]
        [leaked] = found["contamination:leak"]["worst"]
        assert leaked["evidence"] == {"leak.passage": ["say red"], "leak.file": ["bench.jsonl"]}
        assert set(ids(ask(page, "rows", issue="contamination:leak"))) == {names["red-1"]}
        post(page, "mark", query={"issue": "likely-wrong:ifd"}, mark="out")
        assert self.issues(page)["likely-wrong:ifd"]["n_out"] == 2
        assert "no issue 'nothing'" in refusal(page, "rows", 404, issue="nothing")

    def test_lost_reasoning_and_outliers(self, client, make_pool):
        rows = [{"id": str(k), "prompt": f"say {k}", "response": "word " * 20} for k in range(30)]
        rows[3]["response"] = "<think> and so on"
        rows[4]["response"] = "<think>short</think> yes"
        rows[5]["response"] = "word " * 4_000
        pool = make_pool(rows)
        score(pool, "likelihood", {"mean_logp": ("float", lambda n: -1 - int(n) % 3)},
              failure=lambda n: "reasoning_not_rendered" if n == "7" else None)  # fmt: skip
        page = client(pool)
        found = self.issues(page)
        assert found["lost-reasoning:failed"]["n"] == 1
        assert found["lost-reasoning:open"]["n"] == 1
        assert found["outliers:n_chars:high"]["n"] == 1
        assert ask(page, "rows", issue="lost-reasoning:failed")["n"] == 1

    def test_what_no_score_tells_has_the_command_that_computes_it(self, client, colours):
        kinds = {one["kind"]: one for one in ask(client(colours), "issues")["kinds"]}
        assert kinds["near-duplicates"]["issues"] == []
        assert kinds["near-duplicates"]["command"] == "curate score --scorer near_duplicate"


class TestSelecting:
    def test_a_selection_of_what_is_shown_with_marks_is_exported(self, client, colours, names):
        page = client(colours)
        post(page, "mark", ids=[names["gold-2"]], mark="out")
        made = post(page, "select", rank="quality.value", budget="2", marks=True, name="best",
                    query={"where": "source = 'warm'"})  # fmt: skip
        assert (made["n_selected"], made["method"]) == (2, "top-k")
        assert "--rank quality.value" in made["command"]
        assert "--exclude marked-out-ana" in made["command"]
        assert colours.selection("best").ids == [names["gold-1"], names["plum-2"]]
        assert ask(page, "rows", a=made["selection_id"])["n"] == 2
        written = post(page, "export", selection=made["selection_id"], file="best.jsonl")
        lines = (colours.store.path.parent / "best.jsonl").read_text().splitlines()
        assert [json.loads(line)["id"] for line in lines] == ["gold-1", "plum-2"]
        assert written["n_rows"] == 2

    def test_scores_that_are_missing_are_not_computed(self, client, colours):
        words = post(client(colours), "select", 400, method="ifd", budget="3")
        assert "ifd" in words
        assert ask(client(colours), "pool")["selections"] == []

    def test_the_methods_are_those_that_need_no_training(self, client, colours):
        names = {one["name"]: one["summary"] for one in ask(client(colours), "methods")["methods"]}
        assert {"random", "kmq"} <= set(names) and all(names.values())
        assert "iterative-kmq" not in names
