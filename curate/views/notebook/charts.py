"""Charts that a notebook shows and a file stores."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from curate.errors import ConfigError
from curate.views.charts.canvas import STYLE
from curate.views.notebook.fragment import figure, fragment, side_by_side

if TYPE_CHECKING:
    from curate.views.report.page import Chart

# A file has no page around it whose colours it could take: dark on white, wherever it is shown.
_ALONE: Final = "svg.chart{color:#1b1f24;background:#fff}"
_NAMES: Final = (".svg", ".html")


@final
@dataclass(frozen=True, slots=True)
class Picture:
    """One chart. A notebook draws it; ``svg`` is the same as text, and `save` writes a file.

    Parameters
    ----------
    title
        What the chart shows.
    drawing
        The SVG element, which takes its colours from the page it is put into.
    note
        What a reader should know: values outside the chart, examples left out.
    """

    title: str
    drawing: str
    note: str = ""

    @classmethod
    def of(cls, chart: "Chart") -> "Picture":
        """Return a chart of a report."""
        return cls(chart.title, chart.svg, chart.note)

    @property
    def svg(self) -> str:
        """The chart as a standalone SVG document, dark on white."""
        head, _, rest = self.drawing.partition(">")
        head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        return f"{head}><style>{STYLE}{_ALONE}</style>{rest}"

    def save(self, path: str | Path) -> Path:
        """Write the chart as NAME.svg or NAME.html; return the path."""
        return _save(path, self.svg, self.figure)

    @property
    def figure(self) -> str:
        """The chart with its title and note, as HTML without a style."""
        return figure(self.title, self.drawing, self.note)

    def __repr__(self) -> str:
        return f"Picture({self.title!r})"

    def _repr_html_(self) -> str:
        return fragment(self.figure)

    def _repr_svg_(self) -> str:
        return self.svg


@final
class Pictures:
    """Several charts beside one another; a sequence of `Picture`."""

    def __init__(self, items: Iterable[Picture]) -> None:
        self._items = tuple(items)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Picture]:
        return iter(self._items)

    def __getitem__(self, place: int) -> Picture:
        return self._items[place]

    def __repr__(self) -> str:
        return f"Pictures({', '.join(repr(picture.title) for picture in self._items)})"

    def save(self, path: str | Path) -> Path:
        """Write the charts as NAME.html; return the path. Each of them can be saved as SVG."""
        return _save(path, None, side_by_side([picture.figure for picture in self._items]))

    def _repr_html_(self) -> str:
        return fragment(side_by_side([picture.figure for picture in self._items]))


def _save(path: str | Path, svg: str | None, body: str) -> Path:
    from curate.store.parts import atomic_path

    path = Path(path)
    names = _NAMES if svg is not None else _NAMES[1:]
    if path.suffix.lower() not in names:
        wanted = " or ".join(f"NAME{name}" for name in names)
        raise ConfigError(
            f"a chart is saved as {wanted}, got {str(path)!r}; use one of these extensions"
        )
    if not path.parent.is_dir():
        raise ConfigError(
            f"folder {str(path.parent)!r} of the chart does not exist; create it first"
        )
    text = svg
    if path.suffix.lower() == ".html" or text is None:
        text = f'<!doctype html>\n<meta charset="utf-8">\n<title>Chart</title>\n{fragment(body)}\n'
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
