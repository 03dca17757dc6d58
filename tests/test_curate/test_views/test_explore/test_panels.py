"""The panels of the explore page, and one example in full."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from explored import ask, ids, refusal
from reported import hostile_rows

from curate.select import why_not
from curate.select.why_not import absences
from curate.views.explore import embedding_map


class TestPanels:
    @pytest.mark.slow
    def test_histogram_counts_the_pool_and_what_is_shown(self, client, colours):
        found = ask(client(colours), "histogram", column="quality.value", where="source = 'warm'")
        assert (found["n"], found["n_kept"]) == (11, 5)
        assert sum(found["counts"]) == 11 and sum(found["kept"]) == 5
        assert len(found["edges"]) == len(found["counts"]) + 1
        brushed = ask(
            client(colours), "histogram", column="quality.value", range="quality.value:1:2"
        )
        assert brushed["n_kept"] == 11, "its own range does not hide what could be brushed"

    def test_map_has_points_and_cells_where_there_are_many(self, client, colours, monkeypatch):
        page = client(colours)
        given = {"embedding": "embedding.vector", "colour": "source"}
        found = ask(page, "map", **given)
        assert (found["n"], found["n_map"], found["names"]) == (12, 12, ["cold", "warm"])
        assert {point[3] for point in found["points"]} == set(ids(ask(page, "rows")))
        xs = sorted(point[0] for point in found["points"])
        assert xs == pytest.approx([(k - 5.5) * 2**0.5 for k in range(12)], abs=1e-4)
        left, bottom, right, top = found["box"]
        half = f"{left},{bottom},{(left + right) / 2},{top}"
        assert ask(page, "map", box=half, **given)["n"] == 6
        monkeypatch.setattr(embedding_map, "MOST_POINTS", 3)
        cells = ask(page, "map", where="quality.value > 3", **given)
        assert "points" not in cells and sum(cell[2] for cell in cells["cells"]) == 8
        mean = ask(page, "map", embedding="embedding.vector", colour="quality.value")
        assert {cell[3] for cell in mean["cells"]} == {None, *map(float, range(1, 12))}

    @pytest.mark.parametrize("colour", ["clusters.cluster", "quality.long", "group_id", ""])
    def test_map_is_coloured_by_any_column(self, client, colours, colour):
        found = ask(client(colours), "map", embedding="embedding.vector", colour=colour)
        assert len(found["points"]) == 12
        for point in found["points"]:
            assert point[2] is None or 0 <= point[2] < len(found["names"])

    def test_map_refuses_what_is_not_there(self, client, colours):
        page = client(colours)
        assert "no embedding 'none.v' in the store" in refusal(page, "map", 404, embedding="none.v")
        given = {"embedding": "embedding.vector"}
        assert "to colour by" in refusal(page, "map", 404, colour="none", **given)
        assert "a box must be LEFT,BOTTOM,RIGHT,TOP" in refusal(page, "map", box="1,2", **given)

    def test_clusters_with_a_typical_example(self, client, colours, names):
        found = ask(client(colours), "clusters", column="clusters.cluster", sort="quality.value")
        assert [(c["cluster"], c["n"], c["mean"]) for c in found["clusters"]] == [
            (0, 6, 3.0), (1, 6, 8.5),
        ]  # fmt: skip
        assert [c["id"] for c in found["clusters"]] == [names["red-1"], names["cyan-1"]]
        assert [c["name"] for c in found["clusters"]] == [
            ["blue, green, red"],
            ["cyan, gold, plum"],
        ]
        found = ask(client(colours), "map", embedding="embedding.vector", colour="clusters.cluster")
        assert found["names"] == ["0 blue, green, red", "1 cyan, gold, plum"]

    @pytest.mark.slow
    def test_two_selections_are_compared(self, client, colours):
        a = colours.select(rank="quality.value", budget=4).id
        b = colours.select(rank="if(source = 'warm', 1, 0)", budget=6).id
        page = client(colours)
        found = ask(page, "compare", a=a, b=b)
        assert found["n"] == {"both": 4, "only-a": 0, "only-b": 2, "neither": 6}
        assert found["jaccard"] == pytest.approx(4 / 6)
        [quality_means] = [one for one in found["means"] if one["column"] == "quality.value"]
        assert quality_means["both"] == 9.5 and quality_means["only-a"] is None
        assert ask(page, "rows", a=a, b=b, part="only-b")["n"] == 2
        colours.store.forget("quality.value > 10")
        assert ask(page, "compare", a=a, b=b)["n_gone"] == [1, 1]
        assert ask(page, "rows", a=a)["n"] == 3

    def test_what_the_columns_of_known_scorers_mean(self, client, colours):
        found = ask(client(colours), "meanings")
        assert found["clusters.cluster"] == "number of the nearest centroid, from 0"
        assert "quality.value" not in found

    def test_pool_names_what_there_is(self, client, colours):
        chosen = colours.select("random", budget=3).id
        found = ask(client(colours), "pool")
        assert found["n_pool"] == 12 and found["n_sources"] == 2
        assert found["embeddings"] == ["embedding.vector"]
        assert found["clusters"] == ["clusters.cluster"]
        assert [one["id"] for one in found["selections"]] == [chosen]
        assert {"quality.value", "n_chars"} <= {one["name"] for one in found["columns"]}


class TestExample:
    def test_scores_with_percentiles_and_why_it_was_kept(self, client, colours, names):
        chosen = colours.select(rank="quality.value", budget=4).id
        found = ask(client(colours), "example", id=names["gold-2"])
        assert [m["text"] for m in found["messages"]] == [["Say gold."], [" ".join(["gold"] * 12)]]
        by_column = {one["column"]: one for one in found["scores"]}
        assert by_column["quality.value"]["value"] == 11
        assert by_column["quality.value"]["percentile"] == pytest.approx(100 * 10.5 / 11)
        assert by_column["embedding.vector"]["value"] == ["3 numbers"]
        [kept] = found["selections"]
        assert (kept["id"], kept["rank"], kept["n_selected"]) == (chosen, 1, 4)
        failed = ask(client(colours), "example", id=names["red-1"])
        assert failed["failures"] == [{"alias": "quality", "reason": ["non_finite"]}]

    def test_why_the_others_do_not_have_it(self, client, colours, names):
        colours.select(rank="quality.value", budget=4)
        [why] = ask(client(colours), "why-not", id=names["cyan-1"])["absent"]
        assert why["cause"] == "ranked below"
        assert "--budget 6 would include it" in why["text"][0]

    def test_rankings_are_computed_one_after_another_and_once_for_an_example(
        self, client, colours, names, monkeypatch
    ):
        """Each takes the memory of a selection, and twenty clients may ask at once."""
        colours.select(rank="quality.value", budget=4)
        page, computed, running, most = client(colours), [], [], []

        def counted(store, document, *more):
            running.append(document["id"])
            most.append(len(running))
            found = absences(store, document, *more)
            time.sleep(0.02)
            running.remove(document["id"])
            computed.append(document["id"])
            return found

        monkeypatch.setattr(why_not, "absences", counted)
        asked = [names["cyan-1"], names["gold-1"], names["red-1"]] * 7
        with ThreadPoolExecutor(len(asked)) as clients:
            answers = list(clients.map(lambda i: ask(page, "why-not", id=i)["absent"], asked))
        assert max(most) == 1
        assert sorted(computed) == sorted(asked[:3])
        assert answers == answers[:3] * 7
        colours.select(rank="quality.value", budget=2)  # what is stored has changed
        assert len(ask(page, "why-not", id=names["cyan-1"])["absent"]) == 2

    def test_responses_of_one_instruction_side_by_side(self, client, colours, names):
        chosen = colours.select(rank="quality.value", budget=1).id
        found = ask(client(colours), "responses", id=names["gold-1"])
        assert found["n"] == 2 and found["prompt"]["text"] == ["Say gold."]
        by_id = {one["id"]: one for one in found["responses"]}
        assert set(by_id) == {names["gold-1"], names["gold-2"]}
        assert by_id[names["gold-2"]]["selections"] == [{"id": chosen, "method": "top-k"}]
        assert by_id[names["gold-1"]]["values"]["quality.value"] == 10
        assert "quality.value" in found["columns"]

    def test_hostile_texts_come_as_text_with_hidden_characters_named(self, client, make_pool):
        pool = make_pool(hostile_rows())
        page = client(pool)
        rows = ask(page, "rows", limit=50, columns="source")["rows"]
        texts = ask(page, "previews", ids=",".join(row["id"] for row in rows))
        found = [ask(page, "example", id=row["id"]) for row in rows]
        said = json.dumps(found) + json.dumps(texts)
        for name in ("U+202E", "U+200B", "U+0000", "U+D800"):
            assert name in said
        assert not any(c in said for c in "\u202e\u200b\u2066")
        raw = page.get("/api/example", params={"id": rows[0]["id"]}).content
        assert raw.isascii()
        [long] = [one for one in found if one["n_chars"] > 1_000_000]
        assert long["messages"][1]["n_cut"] == 1_000_000 - 8_000
        whole = ask(page, "example", id=long["id"], whole="1")["messages"][1]
        assert (whole["n_cut"], len(whole["text"][0])) == (0, 1_000_000)

    def test_an_example_that_is_gone_is_said(self, client, colours, names):
        page = client(colours)
        ask(page, "rows")
        colours.store.forget("quality.value > 10")
        assert "no example" in refusal(page, "example", 404, id=names["gold-2"])
        assert ask(page, "rows")["n_pool"] == 11
