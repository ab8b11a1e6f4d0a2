"""Bars in the rows of a table, on one logarithmic axis: a chart and its numbers in one place.

Positions are per cent of the cell, so text keeps its size whatever the width of the page. The numbers stand in the
cells beside, so the strips themselves are hidden from screen readers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from connectome.web.dashboard.scale import Scale
from connectome.web.markup import Markup, cell, element

HEIGHT, AXIS_HEIGHT = 22, 18
MIDDLE = HEIGHT / 2


@dataclass(frozen=True)
class Bar:
    """A value with its spread, and the line that it shall reach; `style` is a CSS class."""

    value: float
    low: float | None = None
    high: float | None = None
    target: float | None = None
    style: str = "ours"


@dataclass(frozen=True)
class Strips:
    """The column of a table that is a chart.

    `origin` is where bars begin: 1 for ratios, so that slower than the peer points left; None for the axis' low end.
    """

    scale: Scale
    write: Callable[[float], str]
    origin: float | None = None

    @classmethod
    def of(cls, bars: Iterable[Bar | None], write: Callable[[float], str], origin: float | None = None) -> Strips:
        """Return the column whose scale holds all bars, spreads and targets."""
        shown = [bar for bar in bars if bar is not None]
        values = [each for bar in shown for each in (bar.value, bar.low, bar.high, bar.target) if each is not None]
        return cls(Scale.of([*values, *([] if origin is None else [origin])]), write, origin)

    def axis(self) -> Markup:
        """Return the heading of the column: the ticks."""
        labels = []
        for tick in self.scale.ticks:
            part = self.scale.part(tick)
            anchor = "start" if part < 0.04 else "end" if part > 0.96 else "middle"
            labels.append(element("text", self.write(tick), x=_at(part), y=AXIS_HEIGHT - 5, text_anchor=anchor))
        return element("svg", *labels, class_="strip", height=AXIS_HEIGHT, aria_hidden="true")

    def cell(self, bar: Bar | None) -> Markup:
        """Return a row's cell of the column, empty for None."""
        grid = [_vertical(self.scale.part(tick), "grid", 0, HEIGHT) for tick in self.scale.ticks]
        shapes = [] if bar is None else self._bar(bar)
        drawn = element("svg", *grid, *shapes, class_="strip", height=HEIGHT, aria_hidden="true")
        return cell(drawn)

    def _bar(self, bar: Bar) -> list[Markup]:
        begin = 0.0 if self.origin is None else self.scale.part(self.origin)
        end = self.scale.part(bar.value)
        shapes = [
            element(
                "rect",
                x=_at(min(begin, end)),
                width=_at(abs(end - begin)),
                y=MIDDLE - 6,
                height=12,
                class_=f"bar {bar.style}",
            )
        ]
        if bar.low is not None and bar.high is not None:
            low, high = self.scale.part(bar.low), self.scale.part(bar.high)
            shapes += [
                element("line", x1=_at(low), x2=_at(high), y1=MIDDLE, y2=MIDDLE, class_="whisker"),
                _vertical(low, "whisker", MIDDLE - 4, MIDDLE + 4),
                _vertical(high, "whisker", MIDDLE - 4, MIDDLE + 4),
            ]
        if bar.target is not None:
            shapes.append(_vertical(self.scale.part(bar.target), "target", 0, HEIGHT))
        return shapes


def _vertical(part: float, style: str, top: float, bottom: float) -> Markup:
    return element("line", x1=_at(part), x2=_at(part), y1=top, y2=bottom, class_=style)


def _at(part: float) -> str:
    return f"{100 * part:.2f}%"
