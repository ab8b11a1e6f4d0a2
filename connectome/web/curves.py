"""Curves over steps as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from connectome.web.charts import BOTTOM, FLOOR, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from connectome.web.markup import Markup, element, join
from connectome.web.quantities import number

N_STYLES = 8
"""Colours ``series-0`` ... of the page; further curves begin again."""
N_TICKS = 5

_Place = Callable[[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """Values over steps; at least one point."""

    name: str
    points: Sequence[tuple[float, float]]


def curves(drawn: Sequence[Curve], y_title: str, *, marked: float | None = None) -> Markup:
    """Draw curves with linear axes and a key.

    Parameters
    ----------
    drawn : sequence of Curve
        One at least.
    y_title : str
    marked : float, optional
        A step at which a line is drawn.
    """
    last = max(1.0, *(x for curve in drawn for x, _ in curve.points))
    values = [y for curve in drawn for _, y in curve.points if math.isfinite(y)]
    low, high = _round_range(min(values, default=0.0), max(values, default=1.0))

    def place(x: float, y: float) -> tuple[float, float]:
        share = (min(max(y, low), high) - low) / (high - low)
        return LEFT + (WIDTH - LEFT - RIGHT) * x / last, FLOOR - (FLOOR - TOP) * share

    lines = [_line(curve, n, place) for n, curve in enumerate(drawn)]
    ends = ", ".join(f"{curve.name} ends at {curve.points[-1][1]:.3g}" for curve in drawn)
    chart = element(
        "svg",
        element("title", f"{y_title} over steps: {ends}"),
        _axes(last, low, high, y_title, place),
        _mark(marked, place) if marked is not None else None,
        *lines,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="chart",
    )
    keys = [
        element("li", element("span", class_=f"swatch series-{n % N_STYLES}"), element("span", curve.name))
        for n, curve in enumerate(drawn)
    ]
    return join(chart, element("ul", *keys, class_="keys"))


def _round_range(low: float, high: float) -> tuple[float, float]:
    """Widen a range to round numbers, so that ticks are round too."""
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-6)))
    return math.floor(low / step) * step, max(math.ceil(high / step), math.floor(low / step) + 1) * step


def _line(curve: Curve, n: int, place: _Place) -> Markup:
    points = [place(x, y) for x, y in curve.points if math.isfinite(y)]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    ends = [element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="2.5") for x, y in points] if len(points) < 40 else []
    middle = element("path", d=f"M{path}", class_="middle") if points else None
    return element("g", middle, *ends, class_=f"line series-{n % N_STYLES}")


def _axes(last: float, low: float, high: float, y_title: str, place: _Place) -> Markup:
    parts = []
    for tick in range(N_TICKS + 1):
        value = low + (high - low) * tick / N_TICKS
        _, y = place(0, value)
        parts += [_horizontal(y, "grid"), _label(f"{value:.3g}", LEFT - 6, y + 4, "end")]
        x, _ = place(last * tick / N_TICKS, low)
        parts.append(_label(number(last * tick / N_TICKS), x, FLOOR + 16, "middle"))
    parts += [_horizontal(FLOOR, "axis"), _label("steps", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM / 7, "middle")]
    turned = f"translate(14 {(TOP + FLOOR) / 2:.0f}) rotate(-90)"
    return join(*parts, element("text", y_title, transform=turned, text_anchor="middle", class_="label"))


def _mark(step: float, place: _Place) -> Markup:
    x = f"{place(step, 0)[0]:.1f}"
    return element("line", x1=x, x2=x, y1=TOP, y2=FLOOR, class_="target")


def _horizontal(y: float, style: str) -> Markup:
    return element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", class_=style)


def _label(text: str, x: float, y: float, anchor: str) -> Markup:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_="label")
