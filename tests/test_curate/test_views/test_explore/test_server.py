"""The explore page's addresses: who is let in, what stores it can show, and marking."""

import subprocess
import sys

import pytest
from explored import ask, refusal
from reported import colour_rows, score

from curate.errors import StoreError
from curate.views.explore.server import ASSETS


class TestWhoIsLetIn:
    @pytest.mark.parametrize("path", ["/", "/app.js", "/api/pool", "/api/rows", "/nothing"])
    def test_nothing_is_answered_without_the_token(self, client, colours, path):
        for token in (None, "wrong", "sécret"):
            response = client(colours, token=None).get(path, params={"token": token or ""})
            assert response.status_code == 403
            assert "the full address that curate explore printed" in response.text

    def test_marking_needs_the_token_too(self, client, colours, names):
        response = client(colours, token=None).post(
            "/api/mark", json={"ids": [names["red-1"]], "mark": "in"}
        )
        assert response.status_code == 403
        assert colours.store.listed("marked-in-ana") == []

    def test_the_address_lets_in_and_the_cookie_from_then_on(self, client, colours):
        browser = client(colours, token=None)
        first = browser.get("/", params={"token": "secret-token"})
        assert first.status_code == 200
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        assert browser.get("/api/pool").status_code == 200

    def test_other_names_of_this_machine_are_refused(self, client, colours):
        for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example"):
            response = client(colours).get("/", headers={"host": host})
            assert response.status_code == 403
            assert "served only at 127.0.0.1 and localhost" in response.text
        assert client(colours).get("/", headers={"host": "localhost:9"}).status_code == 200

    def test_other_pages_are_refused(self, client, colours, names):
        answered = client(colours).post(
            "/api/mark", json={"ids": [names["red-1"]], "mark": "in"},
            headers={"origin": "http://127.0.0.1:9999"},
        )  # fmt: skip
        assert answered.status_code == 403

    def test_every_file_is_served_with_its_type_and_a_strict_policy(self, client, colours):
        for name, kind in ASSETS.items():
            response = client(colours).get("/" if name == "page.html" else f"/{name}")
            assert response.headers["content-type"].startswith(kind)
            policy = response.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy
            assert "require-trusted-types-for 'script'" in policy
            assert response.headers["x-content-type-options"] == "nosniff"

    def test_the_files_have_no_way_to_turn_text_into_markup(self, client, colours):
        for name in ASSETS:
            text = client(colours).get("/" if name == "page.html" else f"/{name}").text
            for word in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", "://"):
                for namespace in ("2000/svg", "1998/Math/MathML"):
                    text = text.replace(f"http://www.w3.org/{namespace}", "")
                assert word not in text


class TestMarking:
    def mark(self, page, ids, mark):
        return page.post("/api/mark", json={"ids": ids, "mark": mark})

    @pytest.mark.slow
    def test_marks_are_selections_of_their_own(self, client, colours, names):
        page = client(colours)
        gold, plum = names["gold-1"], names["plum-1"]
        assert self.mark(page, [gold, plum], "in").json() == {
            "marks": {"in": 2, "out": 0}, "n": 2,
        }  # fmt: skip
        assert self.mark(page, [plum], "out").json()["marks"] == {"in": 1, "out": 1}
        shown = {row["id"]: row["mark"] for row in ask(page, "rows")["rows"]}
        assert (shown[gold], shown[plum], shown[names["red-1"]]) == ("in", "out", None)
        again = client(colours)
        assert ask(again, "example", id=plum)["mark"] == "out"
        assert ask(again, "rows", a="marked-in-ana")["n"] == 1
        assert ask(client(colours, marker="bo"), "example", id=plum)["mark"] is None
        assert self.mark(page, [gold, plum], None).json()["marks"] == {"in": 0, "out": 0}
        assert len(colours) == 12

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("{", "a mark must be JSON such as"), ("[]", "a mark must be JSON such as"),
            ('{"ids": [], "mark": "in"}', "ids must be a list of example ids, got []"),
            ("[" * 90_000, "a mark must be JSON such as"),
            ('{"ids": ["\\ud800"], "mark": "in"}', "ids must be a list of example ids"),
            ('{"ids": ["a"], "mark": "maybe"}', "mark must be in, out or null, got 'maybe'"),
        ],
    )  # fmt: skip
    def test_what_is_not_a_mark_is_refused(self, client, colours, body, message):
        response = client(colours).post(
            "/api/mark", content=body, headers={"content-type": "application/json"}
        )
        assert response.status_code == 400
        assert message in response.json()["error"]

    def test_other_content_and_unknown_ids_are_refused(self, client, colours, names):
        page = client(colours)
        plain = page.post("/api/mark", content="{}", headers={"content-type": "text/plain"})
        assert plain.status_code == 415
        response = self.mark(page, [names["red-1"], "0" * 32], "in")
        assert response.status_code == 404
        assert "so it cannot be marked" in response.json()["error"]
        assert colours.store.listed("marked-in-ana") == []
        assert page.post("/api/mark", json={"ids": ["a" * 200_000]}).status_code == 413


class TestOtherStores:
    def test_without_scores(self, client, make_pool):
        page = client(make_pool(colour_rows()))
        pool = ask(page, "pool")
        assert (pool["embeddings"], pool["clusters"], pool["selections"]) == ([], [], [])
        assert ask(page, "rows", sort="n_chars")["n"] == 12
        one = ask(page, "rows")["rows"][0]["id"]
        assert ask(page, "example", id=one)["scores"] == []
        assert "compute one: curate score" in refusal(
            page, "map", 404, embedding="embedding.vector"
        )

    def test_with_one_row(self, client, make_pool):
        pool = make_pool(colour_rows()[:1])
        score(pool, "embedding", {"vector": ("vector", lambda n: [1.0, 2.0])})
        page = client(pool)
        assert ask(page, "rows")["n"] == 1
        assert len(ask(page, "map", embedding="embedding.vector", colour="n_chars")["points"]) == 1
        assert ask(page, "histogram", column="n_chars")["counts"] == [1]

    def test_with_no_row(self, client, make_pool):
        page = client(make_pool([]))
        assert ask(page, "rows", q="word", where="n_chars > 1")["n"] == 0
        assert ask(page, "histogram", column="n_chars")["edges"] == []

    def test_a_score_column_without_any_value(self, client, make_pool):
        pool = make_pool(colour_rows())
        score(pool, "quality", {"value": ("float", lambda n: None)}, failure=lambda n: "too_long")
        found = ask(client(pool), "histogram", column="quality.value")
        assert (found["n"], found["edges"]) == (0, [])
        assert ask(client(pool), "rows", sort="quality.value", columns="quality.value")["n"] == 12

    def test_new_scores_are_seen(self, client, make_pool):
        pool = make_pool(colour_rows())
        page = client(pool)
        assert "unknown column" in refusal(page, "rows", where="quality.value > 3")
        score(pool, "quality", {"value": ("float", lambda n: 4.0)})
        assert ask(page, "rows", where="quality.value > 3")["n"] == 12

    def test_nothing_of_the_store_is_open_between_two_questions(self, client, colours):
        page = client(colours)
        ask(page, "rows", where="quality.value > 1", q="say")
        code = (
            "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('create table t as select 1')"
        )
        subprocess.run([sys.executable, "-c", code, str(colours.store.path)], check=True)

    def test_a_store_that_is_held_is_shown_as_it_was(self, client, colours, monkeypatch):
        page = client(colours)
        ask(page, "rows")
        colours.select("random", budget=3)  # the file changes

        def held(store):
            raise StoreError("it is held by process 7")

        monkeypatch.setattr(type(colours.store), "state", held)
        assert ask(page, "rows")["n"] == 12
        assert "it is held by process 7" in ask(page, "pool")["notice"]
        assert "shown as of" in page.session.notice
        monkeypatch.undo()
        assert ask(page, "pool")["notice"] == ""
        assert len(ask(page, "pool")["selections"]) == 1
