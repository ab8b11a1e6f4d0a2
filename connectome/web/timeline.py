"""A timeline of the workers as inline SVG: how many were busy with each stage, and how many were held."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from connectome.runtime.history import Timeline
from connectome.web.charts import BOTTOM, FLOOR, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from connectome.web.markup import Markup, element, join, note, section
from connectome.web.quantities import duration, number, share

N_STYLES = 8
"""Colours ``series-0`` ... of the page; further stages begin again."""

Levels = npt.NDArray[np.float64]


def timeline_section(timeline: Timeline, stages: Sequence[str]) -> Markup:
    """Return the chart with its key.

    Parameters
    ----------
    timeline : Timeline
    stages : sequence of str
        In the order of the data; those that are not in the timeline are left out.
    """
    drawn = [name for name in stages if name in timeline.stages]
    n_bins = math.ceil(timeline.length_s / timeline.bin_s)
    if not drawn or not n_bins:
        return section("Workers over time", note("No task is done yet."))
    # Receipts and held time come from clocks of several hosts; what lies beyond the end is seconds at most.
    busy = np.array([timeline.stages[name][:n_bins] for name in drawn]) / timeline.bin_s
    held = timeline.held[:n_bins] / timeline.bin_s
    most = max(1.0, float(held.max()), float(busy.sum(axis=0).max()))
    chart = _Chart(timeline.length_s, timeline.bin_s, most)
    tops = np.cumsum(busy, axis=0)
    areas = [
        chart.area(tops[n] - busy[n], tops[n], f"series-{n % N_STYLES}", name, float(busy[n].sum() * timeline.bin_s))
        for n, name in enumerate(drawn)
    ]
    total, whole = float(busy.sum()), float(held.sum())
    summary = (
        f"Workers over {duration(timeline.length_s)}: {', '.join(drawn)}. Busy for {share(total, whole) or '0 %'} of "
        "the held time."
    )
    svg = element(
        "svg",
        element("title", summary),
        chart.axes(),
        *areas,
        chart.outline(held),
        *(chart.mark(at) for at in timeline.sessions[1:]),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="chart timeline",
    )
    key = [
        element("li", element("span", class_=f"swatch series-{n % N_STYLES}"), element("span", name))
        for n, name in enumerate(drawn)
    ]
    key.append(element("li", element("span", class_="key line"), element("span", "held")))
    sentence = f"{summary} Mean over bins of {duration(timeline.bin_s)}; pauses between runs are left out."
    return section(
        "Workers over time",
        svg,
        element("ul", *key, class_="keys"),
        element("p", sentence, class_="soft"),
    )


class _Chart:
    """Linear axes: the time of all runs along x, workers up y."""

    def __init__(self, length_s: float, bin_s: float, most: float) -> None:
        self._length_s, self._bin_s = length_s, bin_s
        self._step = _nice(most / 4, whole=True)
        self._top = math.ceil(most / self._step - 1e-6) * self._step

    def _x(self, seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(seconds, self._length_s) / self._length_s

    def _y(self, workers: float) -> float:
        return FLOOR - (FLOOR - TOP) * workers / self._top

    def _steps(self, levels: Levels) -> list[str]:
        points = []
        for n, level in enumerate(levels):
            left, right = self._x(n * self._bin_s), self._x((n + 1) * self._bin_s)
            y = self._y(float(level))
            points += [f"{left:.1f} {y:.1f}", f"{right:.1f} {y:.1f}"]
        return points

    def area(self, low: Levels, high: Levels, style: str, name: str, seconds: float) -> Markup:
        """Draw one stage as an area on those below it."""
        points = [*self._steps(high), *reversed(self._steps(low))]
        title = element("title", f"{name}: busy for {duration(seconds)} of a worker")
        return element("g", title, element("path", d=f"M{'L'.join(points)}Z", fill="currentColor"), class_=style)

    def outline(self, levels: Levels) -> Markup:
        """Draw how many workers were held."""
        return element("path", d=f"M{'L'.join(self._steps(levels))}", class_="truth")

    def mark(self, seconds: float) -> Markup:
        """Draw where a run began."""
        x = f"{self._x(seconds):.1f}"
        return element("line", x1=x, x2=x, y1=TOP, y2=FLOOR, class_="grid")

    def axes(self) -> Markup:
        """Draw grid and labels."""
        parts = []
        for n in range(round(self._top / self._step) + 1):
            y = f"{self._y(n * self._step):.1f}"
            parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid" if n else "axis"))
            parts.append(_label(number(n * self._step), LEFT - 6, self._y(n * self._step) + 4, "end"))
        unit, name = next((u, name) for u, name in _UNITS if self._length_s >= 2 * u or u == 1)
        step = _nice(self._length_s / unit / 6)
        for n in range(math.floor(self._length_s / unit / step) + 1):
            parts.append(_label(f"{n * step:g}", self._x(n * step * unit), FLOOR + 16, "middle"))
        parts.append(_label(f"time ({name})", (LEFT + WIDTH - RIGHT) / 2, FLOOR + BOTTOM - 6, "middle"))
        turned = f"translate(14 {(TOP + FLOOR) / 2:.0f}) rotate(-90)"
        parts.append(element("text", "workers", transform=turned, text_anchor="middle", class_="label"))
        return join(*parts)


_UNITS = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))


def _nice(value: float, *, whole: bool = False) -> float:
    """Return the next of 1, 2, 5, 10, 20 ... that is at least `value`."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-9)))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - 1e-9))
    return max(1.0, step) if whole else step


def _label(text: str, x: float, y: float, anchor: str) -> Markup:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_="label")
