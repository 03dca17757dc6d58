"""Charts: what is drawn where, in well-formed SVG."""

import xml.etree.ElementTree as ET

import pytest

from curate.views.charts import svg


def shapes(picture, tag):
    return [element for element in ET.fromstring(picture).iter(tag)]


def numbers(picture, tag, name):
    return [float(element.get(name)) for element in shapes(picture, tag)]


def words(picture):
    return [element.text for element in shapes(picture, "text")]


def test_bars_of_a_histogram_are_as_high_as_their_share():
    picture = svg.histogram(
        [0, 1, 2, 3], [svg.Series("pool", [10, 0, 40])], "score, nats", "t", "%"
    )
    low, high = numbers(picture, "rect", "height")  # an empty bin has no bar
    assert high / low == pytest.approx(4, rel=0.01)
    assert [tip.text for tip in shapes(picture, "title")] == ["0 to 1: 10.00%", "2 to 3: 40.00%"]
    assert {"score, nats", "%", "0.5", "1.0", "2.5"} <= set(words(picture))


def test_a_second_series_is_an_outline_over_the_same_axes():
    series = [svg.Series("pool", [50, 50]), svg.Series("picked", [100, 0])]
    picture = svg.histogram([0, 1, 2], series, "x", "t", "%")
    [outline] = shapes(picture, "path")
    places = [tuple(map(float, p.split())) for p in outline.get("d")[1:].split("L")]
    heights = [places[0][1] - y for _, y in places]
    bars = [h for h in numbers(picture, "rect", "height") if h > 13]  # without the legend's squares
    assert heights[1] == pytest.approx(2 * bars[0], abs=0.2)
    assert heights[-1] == 0
    assert {"pool", "picked"} <= set(words(picture))


def test_bars_are_as_long_as_their_value_and_say_it():
    picture = svg.bars(["a", "b"], [svg.Series("n", [30, 60])], "examples", "t", digits=0)
    short, long = numbers(picture, "rect", "width")
    assert long == pytest.approx(2 * short, abs=0.2)
    assert {"30", "60", "a", "b", "examples"} <= set(words(picture))


def test_bars_of_nothing_are_drawn_without_length():
    picture = svg.bars(["a"], [svg.Series("n", [0]), svg.Series("m", [None])], "x", "t")
    assert 0 in numbers(picture, "rect", "width")


def test_an_interval_lies_where_its_numbers_do():
    rows = [svg.Estimate("a", 2.0, 1.0, 3.0), svg.Estimate("b", None)]
    picture = svg.intervals(rows, "nats", "t", reference=2.0)
    dashed, whisker, *ends, mark = shapes(picture, "path")

    def at(path):
        return [float(p.split()[0]) for p in path.get("d")[1:].split("L")]

    left, right = at(whisker)
    assert at(dashed)[0] == pytest.approx((left + right) / 2, abs=0.1)
    assert sum(at(mark)) / len(at(mark)) == pytest.approx((left + right) / 2, abs=0.1)
    assert [at(end)[0] for end in ends] == [left, right]
    assert mark[0].text == "a: 2 (1 to 3)"
    assert "no value" in words(picture)


def test_points_of_a_line_are_in_order_of_place_and_leave_gaps():
    series = [
        [svg.Estimate("one", 1.0, 0.5, 1.5), svg.Estimate("one", None), svg.Estimate("one", 2.0)],
        [svg.Estimate("two", 3.0), svg.Estimate("two", 2.0), svg.Estimate("two", 1.0)],
    ]
    picture = svg.lines(["5%", "10%", "20%"], series, "budget", "nats", "t")
    tips = [tip.text for tip in shapes(picture, "title")]
    assert tips == ["one: 1 (0.5 to 1.5)", "one: 2", "two: 3", "two: 2", "two: 1"]
    lines = [p for p in shapes(picture, "path") if p.get("fill") == "none"]
    first, second = ([float(p.split()[1]) for p in one.get("d")[1:].split("L")] for one in lines)
    assert first[0] > first[1]  # a larger value is higher on the page
    assert second == sorted(second)
    assert {"5%", "10%", "20%", "budget", "nats", "one", "two"} <= set(words(picture))


def test_a_heat_map_writes_every_value_and_is_darker_where_it_is_larger():
    picture = svg.heat_map(["a", "b"], ["x", "y"], [[1.0, 0.25], [None, 0.5]], "t")
    assert [w for w in words(picture) if w[0] in "01-"] == ["1.00", "0.25", "-", "0.50"]
    depth = numbers(picture, "rect", "fill-opacity")
    assert depth[0] > depth[2] > depth[1]


def test_the_sign_of_a_heat_map_is_a_colour_and_a_sign():
    picture = svg.heat_map(["a"], ["x", "y"], [[-0.2, 0.1]], "t", signed=True)
    below, above = (r.get("fill") for r in shapes(picture, "rect"))
    assert below != above
    assert {"-0.20", "+0.10"} <= set(words(picture))


@pytest.mark.parametrize(
    "hostile", ["<script>x</script>", '"><b>', "a\u202eb\x00c", "\ud800", "x" * 9999]
)
def test_labels_cannot_leave_their_place(hostile):
    one = svg.Estimate(hostile, 1.0, 0.0, 2.0, remark=hostile)
    pictures = [
        svg.histogram([0, 1], [svg.Series(hostile, [1]), svg.Series(hostile, [1])], hostile, hostile, hostile),
        svg.bars([hostile], [svg.Series(hostile, [1]), svg.Series(hostile, [2])], hostile, hostile),
        svg.intervals([one], hostile, hostile),
        svg.lines([hostile], [[one]], hostile, hostile, hostile),
        svg.heat_map([hostile], [hostile], [[1.0]], hostile),
    ]  # fmt: skip
    for picture in pictures:
        picture.encode("utf-8")
        names = {element.tag for element in ET.fromstring(picture).iter()}
        assert names <= {"svg", "rect", "line", "path", "text", "title"}
        assert len(picture) < 9000


def test_every_chart_stays_inside_its_box():
    rows = [svg.Estimate("method " * 9, 1e9, -1e9, 3e9, remark="no difference shown")]
    for picture in (
        svg.intervals(rows, "x", "t", 0.0),
        svg.lines(["10%"] * 9, [rows * 9] * 8, "x", "y", "t"),
        svg.bars(["label " * 20] * 3, [svg.Series("n", [1e7, 0.1, 12])], "x", "t"),
    ):
        box = ET.fromstring(picture)
        width, height = float(box.get("width")), float(box.get("height"))
        for line in [*shapes(picture, "line"), *shapes(picture, "rect")]:
            xs = [float(line.get(n)) for n in ("x", "x1", "x2") if line.get(n)]
            ys = [float(line.get(n)) for n in ("y", "y1", "y2") if line.get(n)]
            assert min(xs) >= 0 and max(xs) <= width
            assert min(ys) >= 0 and max(ys) <= height
