"""Scores of a sweep over thresholds as inline SVG, on linear axes from 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from connectome.web.markup import Markup, element, join

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 60, 16, 14, 44
FLOOR = HEIGHT - BOTTOM
N_TICKS = 5


@dataclass(frozen=True)
class Score:
    """One score at every threshold."""

    name: str
    values: Sequence[float]


def sweep_chart(thresholds: Sequence[float], drawn: Sequence[Score], best: int, y_title: str) -> Markup:
    """Draw curves and their key, with a line at the threshold of number `best`; two thresholds at least."""
    first, last = min(thresholds), max(thresholds)
    top, step = _ceiling(max(max(curve.values) for curve in drawn))
    xs = [LEFT + (WIDTH - LEFT - RIGHT) * (each - first) / (last - first) for each in thresholds]
    rows = [step * n for n in range(round(top / step) + 1)]
    parts = [_grid(FLOOR - (FLOOR - TOP) * each / top, f"{each:g}") for each in rows]
    every = -(-len(xs) // 10)
    shown = list(zip(thresholds, xs, strict=True))[::every]
    parts += [_text(f"{each:g}", x, FLOOR + 16, "middle") for each, x in shown]
    marked = {"x1": f"{xs[best]:.1f}", "x2": f"{xs[best]:.1f}", "y1": TOP, "y2": FLOOR}
    parts += [_text("threshold", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "middle")]
    turned = f"translate(14 {(TOP + FLOOR) / 2:.0f}) rotate(-90)"
    parts.append(element("text", y_title, transform=turned, text_anchor="middle", class_="label"))
    parts.append(element("line", **marked, class_="target"))
    for colour, curve in enumerate(drawn):
        points = [(x, FLOOR - (FLOOR - TOP) * value / top) for x, value in zip(xs, curve.values, strict=True)]
        parts.append(_line(curve, points, thresholds, colour))
    summary = "; ".join(f"{each.name} {each.values[best]:.4g}" for each in drawn)
    chart = element(
        "svg",
        *parts,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{y_title} along thresholds from {first:g} to {last:g}; at {thresholds[best]:g}: {summary}",
        class_="chart",
    )
    keys = (
        element("li", element("span", class_=f"swatch series-{n}"), element("span", each.name))
        for n, each in enumerate(drawn)
    )
    return join(chart, element("ul", *keys, class_="keys"))


def _ceiling(most: float) -> tuple[float, float]:
    """Return the least round number from `most` on, and the step of its ticks."""
    if most <= 0:
        return 1.0, 0.2
    power = 10.0 ** math.floor(math.log10(most / N_TICKS))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * N_TICKS >= most)
    return step * math.ceil(most / step), step


def _line(curve: Score, points: Sequence[tuple[float, float]], thresholds: Sequence[float], colour: int) -> Markup:
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    circles = [
        element(
            "circle",
            element("title", f"{curve.name} at {threshold:g}: {value:.4g}"),
            cx=f"{x:.1f}",
            cy=f"{y:.1f}",
            r=3.5,
        )
        for (x, y), value, threshold in zip(points, curve.values, thresholds, strict=True)
    ]
    return element("g", element("path", d=path, class_="middle"), *circles, class_=f"line series-{colour}")


def _grid(y: float, text: str) -> Markup:
    style = "axis" if y >= FLOOR else "grid"
    line = element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", class_=style)
    return join(line, _text(text, LEFT - 6, y + 4, "end"))


def _text(text: str, x: float, y: float, anchor: str) -> Markup:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_="label")
