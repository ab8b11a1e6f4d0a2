"""Charts as inline SVG: sharp in print, readable without scripts, nothing to load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectome.web.markup import Markup, element, join
from connectome.web.quantities import number

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 14, 44
FLOOR = HEIGHT - BOTTOM
BINS_PER_DECADE = 5

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Series:
    """Sizes in voxels to be counted; `style` is the CSS class of what is drawn."""

    name: str
    sizes: npt.NDArray[np.int64]
    style: str


@dataclass(frozen=True)
class _Frame:
    """Logarithmic axes: sizes from 1 to 10^`last` along x, counts up to 10^`decades` along y."""

    last: float
    decades: int

    def x(self, exponent: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * exponent / self.last

    def y(self, count: float) -> float:
        # The axis begins half a decade below 1, so that a single segment is a bar of some height.
        height = (math.log10(count) + 0.5) / (self.decades + 0.5) if count > 0 else 0.0
        return FLOOR - (FLOOR - TOP) * height


def size_histogram(series: Sequence[Series], x_title: str, y_title: str) -> Markup:
    """Draw how many sizes there are per bin, with logarithmic axes.

    Parameters
    ----------
    series : sequence of Series
        The first one is drawn as bars, others as lines.
    x_title, y_title : str
    """
    largest = max((int(each.sizes.max()) for each in series if each.sizes.size), default=1)
    n_bins = math.floor(math.log10(largest) * BINS_PER_DECADE) + 1
    edges = np.arange(n_bins + 1) / BINS_PER_DECADE
    counts = [np.histogram(np.log10(np.maximum(each.sizes, 1)), edges)[0] for each in series]
    most = max([2, *(int(each.max(initial=0)) for each in counts)])
    frame = _Frame(float(edges[-1]), math.ceil(math.log10(most)))
    shapes = [
        (_bars if n == 0 else _steps)(frame, each, edges, given.style)
        for n, (each, given) in enumerate(zip(counts, series, strict=True))
    ]
    return element(
        "svg",
        element("title", f"Histogram. {'; '.join(_summary(each) for each in series)}"),
        _axes(frame, x_title, y_title),
        *shapes,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="chart",
    )


def meter(part: float, whole: float, style: str = "meter") -> Markup:
    """Return a bar for a table cell; the number beside it says the same to those who cannot see it."""
    width = min(100.0, 100 * part / whole) if whole > 0 else 0.0
    return element("div", element("div", style=f"width:{width:.1f}%"), class_=style, aria_hidden="true")


def _summary(series: Series) -> str:
    if not series.sizes.size:
        return f"no {series.name}"
    median, largest = number(float(np.median(series.sizes))), number(float(series.sizes.max()))
    return f"{number(series.sizes.size)} {series.name}, median {median}, largest {largest} voxels"


def _axes(frame: _Frame, x_title: str, y_title: str) -> Markup:
    parts = []
    for exponent in range(frame.decades + 1):
        y = frame.y(10**exponent)
        parts += [_line(y, "grid"), _label(number(10.0**exponent), LEFT - 6, y + 4, "end")]
    for exponent in range(math.floor(frame.last) + 1):
        parts.append(_label(number(10.0**exponent), frame.x(exponent), FLOOR + 16, "middle"))
    parts += [_line(FLOOR, "axis"), _label(x_title, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "middle")]
    turned = f"translate(14 {(TOP + FLOOR) / 2:.0f}) rotate(-90)"
    parts.append(element("text", y_title, transform=turned, text_anchor="middle", class_="label"))
    return join(*parts)


def _line(y: float, style: str) -> Markup:
    return element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", class_=style)


def _label(text: str, x: float, y: float, anchor: str) -> Markup:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_="label")


def _bars(frame: _Frame, counts: Counts, edges: npt.NDArray[np.float64], style: str) -> Markup:
    bars = []
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        left, right, top = frame.x(low) + 1, frame.x(high) - 1, frame.y(count)
        box = {"x": left, "y": top, "width": right - left, "height": FLOOR - top}
        if count:
            bars.append(element("rect", class_=style, **{key: f"{value:.1f}" for key, value in box.items()}))
    return join(*bars)


def _steps(frame: _Frame, counts: Counts, edges: npt.NDArray[np.float64], style: str) -> Markup:
    points = [(edges[0], 0)]
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        points += [(low, int(count)), (high, int(count))]
    points.append((edges[-1], 0))
    path = "L".join(f"{frame.x(exponent):.1f} {frame.y(count):.1f}" for exponent, count in points)
    return element("path", d=f"M{path}", class_=style)
