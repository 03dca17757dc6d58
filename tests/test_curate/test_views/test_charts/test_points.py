"""Scatter charts: every example where its numbers say, or counted in a square."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from curate.views.charts.points import MAX_POINTS, Points, Ramp, kinds, scatter


def shapes(picture, tag):
    return list(ET.fromstring(picture).iter(tag))


def words(picture):
    return [element.text for element in shapes(picture, "text")]


def squares(picture):
    return [r for r in shapes(picture, "rect") if r.find("title") is not None]


def grid(n: int):
    rng = np.random.default_rng(0)
    return rng.normal(size=n), rng.normal(size=n)


def test_points_lie_where_their_numbers_do():
    x, y = np.array([0.0, 1.0, 2.0]), np.array([0.0, 3.0, 6.0])
    picture, note = scatter(Points(x, y, "x, nats", "y, tokens"), "t")
    places = [(float(c.get("cx")), float(c.get("cy"))) for c in shapes(picture, "circle")]
    (x0, y0), (x1, y1), (x2, y2) = places
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and x1 > x0
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2) and y1 < y0
    assert note == ""
    assert {"x, nats", "y, tokens"} <= set(words(picture))


def test_kinds_differ_in_colour_and_in_shape_and_are_counted_beside():
    x, y = np.arange(6.0), np.arange(6.0)
    by = kinds("source", ["a", "a", "a", "b", "b", "c"])
    picture, _ = scatter(Points(x, y, "x", "y", by), "t")
    assert {"source", "a (3)", "b (2)", "c (1)"} <= set(words(picture))
    circles, triangles = shapes(picture, "circle"), shapes(picture, "path")
    assert (len(circles), len(squares(picture)), len(triangles)) == (3 + 1, 2, 1 + 1)  # legend
    assert len({circles[0].get("fill"), triangles[0].get("fill")}) == 2


def test_the_eighth_kind_and_further_are_other():
    names = [name for k, name in enumerate("abcdefghi") for _ in range(20 - k)]
    found = kinds("source", names)
    assert list(found.names) == list("abcdefg")
    assert (found.codes < 0).sum() == 13 + 12
    x = np.arange(float(len(names)))
    picture, _ = scatter(Points(x, x, "x", "y", found), "t")
    assert "other (25)" in words(picture)


def test_many_examples_are_squares_that_count_them_all():
    n = MAX_POINTS + 500
    x, y = grid(n)
    by = kinds("source", ["a"] * (n - 1) + ["b"])
    picture, note = scatter(Points(x, y, "x", "y", by), "t")
    tips = [r.find("title").text for r in squares(picture)]
    assert sum(int(tip.split()[0].replace(",", "")) for tip in tips) == n
    assert f"{n:,} examples in {len(tips):,} squares" in note
    assert not shapes(picture, "circle"), "the legend has squares too"
    assert len(picture) < 500_000


def test_squares_take_the_mean_of_a_ramp():
    n = MAX_POINTS + 1
    x = np.repeat([0.0, 1.0], [n - 1, 1])
    values = np.where(x > 0, 10.0, np.arange(n) % 3)
    picture, note = scatter(Points(x, x, "x", "y", Ramp("score", values, (0.0, 10.0))), "t")
    first, second = (r.find("title").text for r in squares(picture))
    assert (first, second) == (f"{n - 1:,} examples · score 1", "1 example · score 10")
    assert "their mean" in note


def test_a_ramp_names_its_ends_and_grows_lighter():
    x = np.arange(100.0)
    picture, _ = scatter(Points(x, x, "x", "y", Ramp("score", x)), "t")
    assert {"score", "≥ 94.05", "≤ 4.95", "49.5"} <= set(words(picture))
    fills = [c.get("fill") for c in shapes(picture, "circle")]
    light = [sum(int(fill[k : k + 2], 16) for k in (1, 3, 5)) for fill in fills]
    assert light[0] < light[50] < light[-1]


def test_a_long_tail_is_left_out_and_counted():
    x = np.append(np.linspace(0, 1, 999), 1000.0)
    picture, note = scatter(Points(x, x[::-1].copy(), "x", "y"), "t")
    assert note == "10 of 1,000 examples are outside the chart.", "half a percent of either axis"
    assert len(shapes(picture, "circle")) == 990


@pytest.mark.parametrize("n", [1, 2])
def test_one_value_is_drawn_in_the_middle(n):
    picture, _ = scatter(Points(np.ones(n), np.ones(n), "x", "y", Ramp("s", np.ones(n))), "t")
    assert len(shapes(picture, "circle")) == n
    assert "nan" not in picture


@pytest.mark.parametrize("text", ["<script>x</script>", '"><b>', "a\u202eb\x00c", "x" * 9999])
def test_texts_cannot_leave_their_place(text):
    x = np.arange(2.0)
    for by in (kinds(text, [text, "b"]), Ramp(text, x)):
        picture, _ = scatter(Points(x, x, text, text, by, [text, text]), text)
        names = {element.tag for element in ET.fromstring(picture).iter()}
        assert names <= {"svg", "rect", "line", "path", "circle", "text", "title"}
        assert len(picture) < 9000
