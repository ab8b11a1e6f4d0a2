"""Plots as inline SVG: points under the roof that bandwidth sets, and lines with bands along commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connectome.web.dashboard.scale import Scale
from connectome.web.markup import Markup, element, join
from connectome.web.quantities import number

COLOURS = 8
"""Classes ``series-0`` to ``series-7`` in the page's style."""
LABEL_GAP, LETTER = 14, 7.5
"""Room of a name, and of one letter of it."""
HEADROOM = 0.7
"""Points and their names stay clear of the axes."""


@dataclass(frozen=True)
class Frame:
    """A plot's size and the room that it leaves for labels, in units of its view box."""

    width: float
    height: float
    left: float = 58
    right: float = 12
    top: float = 12
    bottom: float = 40

    def x(self, part: float) -> float:
        return self.left + (self.width - self.left - self.right) * part

    def y(self, part: float) -> float:
        return self.floor - (self.floor - self.top) * part

    @property
    def floor(self) -> float:
        return self.height - self.bottom


@dataclass(frozen=True)
class Point:
    """One measurement under the roof: bytes per voxel, voxels per second, what it is."""

    x: float
    y: float
    title: str
    label: str | None
    colour: int


@dataclass(frozen=True)
class Line:
    """One quantity along commits: None where a commit did not measure it."""

    name: str
    values: Sequence[tuple[float, float, float] | None]
    """Lowest, median, highest."""


def roofline(points: Sequence[Point], bandwidth: float, summary: str) -> Markup:
    """Draw voxels per second over bytes per voxel, and the line that no kernel crosses: bandwidth / bytes."""
    frame = Frame(960, 400, left=64, right=150)
    x_scale = Scale.of([each for point in points for each in (point.x * HEADROOM, point.x / HEADROOM)], span=4)
    roof = [bandwidth / x_scale.low, bandwidth / x_scale.high]
    y_scale = Scale.of([*(HEADROOM * point.y for point in points), *roof])

    def place(x: float, y: float) -> tuple[float, float]:
        return frame.x(x_scale.part(x)), frame.y(y_scale.part(y))

    parts: list[Markup | None] = [
        _grid(frame, y_scale),
        *_x_ticks(frame, x_scale),
        _axis_titles(frame, "least bytes per voxel", "voxels/s"),
    ]
    for share in (0.1, 0.01):
        parts.append(_slope(frame, x_scale, y_scale, share * bandwidth, "roof part", f"{100 * share:g} %"))
    parts.append(_slope(frame, x_scale, y_scale, bandwidth, "roof", "bandwidth"))
    drawn, labels = [], []
    for point in points:
        x, y = place(point.x, point.y)
        circle = element("circle", element("title", point.title), cx=f"{x:.1f}", cy=f"{y:.1f}", r=5)
        drawn.append(element("g", circle, class_=f"point series-{point.colour % COLOURS}"))
        if point.label is not None:
            labels.append((x, y, point.label))
    return _svg(frame, summary, *parts, *_labels(frame, labels), *drawn)


def history(lines: Sequence[Line], commits: Sequence[str], y_title: str, summary: str) -> Markup:
    """Draw quantities along commits, each with the band between its lowest and highest repeat."""
    frame = Frame(360, 190, top=24, bottom=24)
    shown = [values for line in lines for values in line.values if values is not None]
    scale = Scale.of([each for values in shown for each in values])
    step = 1 / max(1, len(commits))
    places = [frame.x((n + 0.5) * step) for n in range(len(commits))]
    parts = [_grid(frame, scale), _label(y_title, 8, 11, "start")]
    every = -(-len(commits) // 6)
    parts += [
        _label(commits[n].removesuffix("-dirty") + "*" * commits[n].endswith("-dirty"), x, frame.floor + 16, "middle")
        for n, x in enumerate(places)
        if n % every == 0
    ]
    for colour, line in enumerate(lines):
        parts.append(_band(frame, scale, places, line, colour))
    return _svg(frame, summary, *parts)


def _band(frame: Frame, scale: Scale, places: Sequence[float], line: Line, colour: int) -> Markup:
    measured = [(x, values) for x, values in zip(places, line.values, strict=True) if values is not None]
    low, middle, high = (
        [(x, frame.y(scale.part(values[n]))) for x, values in measured] for n in range(3)
    )  # commits that did not measure are bridged
    whiskers = [
        element("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=f"{a:.1f}", y2=f"{b:.1f}", class_="whisker")
        for (x, a), (_, b) in zip(low, high, strict=True)
    ]
    circles = [
        element(
            "circle",
            element("title", f"{line.name}: {number(values[1])} ({number(values[0])} to {number(values[2])})"),
            cx=f"{x:.1f}",
            cy=f"{y:.1f}",
            r=3.5,
        )
        for (x, y), (_, values) in zip(middle, measured, strict=True)
    ]
    return element(
        "g",
        element("path", d=_path([*high, *reversed(low)]) + "Z", class_="band"),
        *whiskers,
        element("path", d=_path(middle), class_="middle"),
        *circles,
        class_=f"line series-{colour % COLOURS}",
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _slope(frame: Frame, x_scale: Scale, y_scale: Scale, bandwidth: float, style: str, name: str) -> Markup | None:
    """Draw the line on which `bandwidth` bytes move per second, where it is inside the frame."""
    left = max(x_scale.low, bandwidth / y_scale.high)
    right = min(x_scale.high, bandwidth / y_scale.low)
    if left >= right:
        return None
    begin, end = ((frame.x(x_scale.part(x)), frame.y(y_scale.part(bandwidth / x))) for x in (left, right))
    return join(
        element("path", d=_path([begin, end]), class_=style),
        element("text", name, x=f"{end[0] + 6:.1f}", y=f"{end[1] + 4:.1f}", class_="label"),
    )


def _labels(frame: Frame, labels: Sequence[tuple[float, float, str]]) -> list[Markup]:
    """Write names beside points: on the left where the right has no room, and moved down where two would overlap."""
    written, taken = [], list[tuple[float, float, float]]()
    for x, y, text in sorted(labels, key=lambda label: label[1]):
        width, place = LETTER * len(text), y + 4
        is_left = x + 9 + width > frame.width
        begin = x - 9 - width if is_left else x + 9
        while any(a < begin + width and begin < b and abs(place - c) < LABEL_GAP for a, b, c in taken):
            place += 1
        taken.append((begin, begin + width, place))
        written.append(_label(text, x - 9 if is_left else begin, place, "end" if is_left else "start", "label name"))
    return written


def _grid(frame: Frame, scale: Scale) -> Markup:
    parts = []
    for tick in scale.ticks:
        y = frame.y(scale.part(tick))
        parts += [
            element("line", x1=frame.left, x2=frame.width - frame.right, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"),
            _label(number(tick), frame.left - 6, y + 4, "end"),
        ]
    parts.append(
        element("line", x1=frame.left, x2=frame.width - frame.right, y1=frame.floor, y2=frame.floor, class_="axis")
    )
    return join(*parts)


def _x_ticks(frame: Frame, scale: Scale) -> list[Markup]:
    return [_label(number(tick), frame.x(scale.part(tick)), frame.floor + 16, "middle") for tick in scale.ticks]


def _axis_titles(frame: Frame, x_title: str, y_title: str) -> Markup:
    turned = f"translate(14 {(frame.top + frame.floor) / 2:.0f}) rotate(-90)"
    return join(
        _label(x_title, (frame.left + frame.width - frame.right) / 2, frame.height - 4, "middle"),
        element("text", y_title, transform=turned, text_anchor="middle", class_="label"),
    )


def _label(text: str, x: float, y: float, anchor: str, style: str = "label") -> Markup:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=style)


def _svg(frame: Frame, summary: str, *shapes: Markup | None) -> Markup:
    return element(
        "svg",
        *shapes,
        viewBox=f"0 0 {frame.width:g} {frame.height:g}",
        role="img",
        aria_label=summary,
        class_="chart",
    )
