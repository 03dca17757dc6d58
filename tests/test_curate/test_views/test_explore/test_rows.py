"""The table of the explore page: filters, order, search and refusals."""

import numpy as np
import pytest
from explored import ask, ids, refusal

from curate.views.explore.query import smallest


class TestRows:
    def test_a_page_in_order_of_a_score_with_the_missing_last(self, client, colours, names):
        page = client(colours)
        for order, first, second in (("asc", "red-2", "green-1"), ("desc", "gold-2", "gold-1")):
            found = ask(page, "rows", sort="quality.value", order=order, columns="quality.value")
            assert ids(found)[:2] == [names[first], names[second]]
            assert ids(found)[-1] == names["red-1"]
            assert found["rows"][-1]["values"] == {"quality.value": None}
            assert (found["n"], found["n_pool"]) == (12, 12)
        part = ask(page, "rows", sort="quality.value", order="desc", offset=2, limit=3)
        assert ids(part) == [names[name] for name in ("plum-2", "plum-1", "cyan-2")]

    def test_texts_and_ids_sort_too(self, client, colours):
        page = client(colours)
        by_source = ask(page, "rows", sort="source", columns="source")["rows"]
        assert [row["values"]["source"] for row in by_source] == [["cold"]] * 6 + [["warm"]] * 6
        assert ids(ask(page, "rows", sort="id")) == sorted(ids(ask(page, "rows", sort="id")))
        backwards = ids(ask(page, "rows", sort="id", order="desc"))
        assert backwards == sorted(backwards, reverse=True)

    @pytest.mark.parametrize(
        "where",
        [
            "quality.value > 5 and source = 'warm'", "quality.long", "not quality.long",
            "quality.value is null", "contains(response, 'plum plum')", "n_chars between 10 and 20",
            "log(quality.value) > 1", "source in ('cold') or quality.value / 0 > 1", "1 = 1", "null",
            "length(prompt) > 9 and quality.value < 4", "id like '%a%'",
        ],
    )  # fmt: skip
    def test_a_filter_means_what_where_means(self, client, colours, where):
        found = ask(client(colours), "rows", where=where)
        view = colours.store.view(bind={}, where=where)
        assert sorted(ids(found)) == [one.decode() for one in view.ids]

    @pytest.mark.parametrize(
        ("where", "message"),
        [
            ("quality.value >", "expected a value, found the end at character 16"),
            ("quality.valu > 1", "did you mean 'quality.value'"),
            ("quality.value", "is number, but a condition is needed"),
            ("drop table examples", "expected an operator or the end, found 'table'"),
            ("1 = 1; delete from selections", "unexpected ';'"),
            ("(select 1)", "expected ')', found '1'"),
            ("read_csv('/etc/passwd') = 1", "unknown function 'read_csv'"),
        ],
    )
    def test_a_filter_that_is_wrong_or_writes_is_refused(self, client, colours, where, message):
        said = refusal(client(colours), "rows", where=where)
        assert message in said
        assert len(colours) == 12

    def test_brushed_ranges_join_the_filter(self, client, colours):
        found = ask(
            client(colours), "rows", where="source = 'warm'",
            range=["quality.value:2:9", "n_chars:0:1000"],
        )  # fmt: skip
        view = colours.store.view(bind={}, where=found["where"])
        assert sorted(ids(found)) == [one.decode() for one in view.ids]
        assert found["n"] == 2
        assert found["where"] == (
            "(source = 'warm') and (quality.value between 2.0 and 9.0) and "
            "(n_chars between 0.0 and 1000.0)"
        )

    def test_an_alternative_stays_whole_beside_a_range(self, client, colours):
        found = ask(
            client(colours), "rows", where="source = 'warm' or source = 'cold'",
            range="quality.value:10:11",
        )  # fmt: skip
        assert found["n"] == 2 == len(colours.store.view(bind={}, where=found["where"]).ids)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"range": "quality.value:a:b"}, "a range must be COLUMN:LOW:HIGH with finite numbers"),
            (
                {"range": "quality.value:nan:1"},
                "a range must be COLUMN:LOW:HIGH with finite numbers",
            ),
            ({"limit": "1000"}, "a page has 1 to 200 rows from 0 on, got 1000 from 0"),
            ({"offset": "-1"}, "a position in the table must be a whole number, got '-1'"),
            (
                {"part": "some"},
                "part must be one of both, only-a, only-b, either, neither, got 'some'",
            ),
            ({"sort": "relevance"}, "sorted by relevance only in a search"),
            ({"q": "-red"}, "has no word that must occur"),
        ],
    )
    def test_wrong_parameters_are_refused(self, client, colours, given, message):
        assert message in refusal(client(colours), "rows", **given)

    def test_unknown_names_are_said(self, client, colours):
        page = client(colours)
        assert "no numeric column 'none'" in refusal(page, "rows", 404, sort="none")
        assert "no column 'none' in the store" in refusal(page, "rows", 404, columns="none")
        assert "no selection 'none' in the store" in refusal(page, "rows", 404, a="none")
        assert "no example 'zz' in the pool" in refusal(page, "previews", 404, ids="zz")
        assert "needs the parameter 'column'" in refusal(page, "histogram", 400)

    def test_search_finds_words_best_first(self, client, colours, names):
        found = ask(client(colours), "rows", q="PLUM say", sort="relevance")
        assert set(ids(found)) == {names["plum-1"], names["plum-2"]}
        texts = ask(client(colours), "previews", ids=names["plum-1"])
        assert texts == {
            names["plum-1"]: {"prompt": ["Say plum."], "response": ["plum plum plum plum plum"]}
        }


def test_the_first_of_many_are_those_of_a_full_sort():
    rng = np.random.default_rng(0)
    for _ in range(300):
        n, k = rng.integers(0, 30), rng.integers(1, 35)
        key = rng.integers(0, 6, n).astype(float)
        key[rng.random(n) < 0.2] = np.nan
        full = sorted(range(n), key=lambda i: (np.isnan(key[i]), np.nan_to_num(key[i]), i))
        assert smallest(key, int(k)).tolist() == full[:k]
