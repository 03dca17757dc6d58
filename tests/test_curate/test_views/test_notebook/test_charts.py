"""Charts in a notebook and in a file."""

import xml.etree.ElementTree as ET

import pytest
from reported import parse

from curate.errors import ConfigError
from curate.views.charts import svg
from curate.views.notebook.charts import Picture, Pictures


@pytest.fixture
def picture():
    drawn = svg.histogram([0, 1, 2], [svg.Series("pool", [40, 60])], "score, nats", "t", "%")
    return Picture("Scores <b>", drawn, "2 values lie outside.")


def test_a_picture_shows_its_title_its_drawing_and_its_note(picture):
    page = parse(picture._repr_html_())
    assert "Scores <b>" in page.text and "2 values lie outside." in page.text
    assert "svg" in page.names() and "b" not in page.names()
    assert repr(picture) == "Picture('Scores <b>')"


def test_the_svg_is_a_document_of_its_own(picture, tmp_path):
    saved = picture.save(tmp_path / "scores.svg")
    root = ET.parse(saved).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "background:#fff" in root[0].text
    assert saved.read_text(encoding="utf-8") == picture.svg == picture._repr_svg_()


def test_pictures_are_a_sequence_and_a_page(picture, tmp_path):
    both = Pictures([picture, picture])
    assert len(both) == 2 and both[1] is picture and list(both) == [picture, picture]
    page = parse(both.save(tmp_path / "both.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.tags].count("svg") == 2
    assert repr(both) == "Pictures('Scores <b>', 'Scores <b>')"


def test_a_name_that_is_no_chart_is_refused(picture, tmp_path):
    with pytest.raises(
        ConfigError, match=r"a chart is saved as NAME.svg or NAME.html, got .*a.png"
    ):
        picture.save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"a chart is saved as NAME.html, got"):
        Pictures([picture]).save(tmp_path / "a.svg")
    with pytest.raises(ConfigError, match="folder .*none.* does not exist; create it first"):
        picture.save(tmp_path / "none" / "a.svg")
