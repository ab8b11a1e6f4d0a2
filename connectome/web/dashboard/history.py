"""How the figures moved from commit to commit, with the noise of each measurement."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from connectome.web.dashboard import words
from connectome.web.dashboard.cases import case_order
from connectome.web.dashboard.plots import COLOURS, Line, history
from connectome.web.dashboard.records import AnyRecord, KernelRecord, Machine, PipelineRecord, by_commit
from connectome.web.dashboard.targets import is_adversarial
from connectome.web.markup import Markup, cell, element, folded, head_cell, join, note, row, section, table
from connectome.web.quantities import number

MOST_COMMITS = 24
"""Commits that a plot has room for; the table has all."""
Values = tuple[float, float, float]
TITLE = "History"


def history_section(machine: Machine) -> Markup:
    """Return a plot per case with a line per input, over the commits that measured it, and all of it as a table."""
    tissue = [record for record in machine.kernels if not is_adversarial(record)]
    kernels = _panels(tissue, lambda record: record.input, _speed)
    pipelines = _panels(machine.pipelines, lambda record: record.input, _pipeline_speed)
    panels = [*pipelines, *kernels]
    if not panels:
        return section(TITLE, note("No record of this hardware states a speed."))
    shown = [panel for panel in panels if len(panel.commits) > 1]
    if not shown:
        only = ", ".join(dict.fromkeys(commit for panel in panels for commit in panel.commits))
        return section(TITLE, note(f"Every case was measured at one commit only ({only}): there is no history yet."))
    single = [panel.case for panel in panels if len(panel.commits) == 1]
    lead = (
        "Voxels per second of one core for kernels, voxels per core-hour for workflows, by commit, the oldest "
        "left. Bands go from the slowest to the quickest repeat: a step within the band is noise. A star "
        "marks a commit with changed files."
    )
    return section(
        TITLE,
        element("p", lead),
        element("div", *(panel.draw() for panel in shown), class_="multiples"),
        note(f"Measured at one commit only: {', '.join(single)}.") if single else None,
        folded("History as a table", _table(panels)),
    )


@dataclass(frozen=True)
class Panel:
    """One case: its commits in order and, for each input, lowest, median and highest speed at each of them."""

    case: str
    unit: str
    commits: Sequence[str]
    lines: Sequence[Line]

    def draw(self) -> Markup:
        last = slice(-MOST_COMMITS, None)
        lines = [Line(line.name, line.values[last]) for line in self.lines]
        summary = f"{self.case}, {self.unit} at {len(self.commits)} commits. {'; '.join(map(_trend, self.lines))}"
        keys = [
            element("li", element("span", class_="swatch"), element("span", line.name), class_=f"series-{n % COLOURS}")
            for n, line in enumerate(lines)
        ]
        return element(
            "figure",
            element("h3", self.case),
            history(lines, self.commits[last], self.unit, summary),
            element("ul", *keys, class_="keys"),
        )


def _trend(line: Line) -> str:
    measured = [values for values in line.values if values is not None]
    if len(measured) < 2:
        return f"{line.name}: {number(measured[0][1])}" if measured else line.name
    return f"{line.name}: from {number(measured[0][1])} to {number(measured[-1][1])}"


def _panels(
    records: Iterable[AnyRecord], name: Callable[[AnyRecord], str], speed: Callable[[AnyRecord], Values | None]
) -> list[Panel]:
    cases: dict[str, list[AnyRecord]] = {}
    for record in records:
        if speed(record) is not None:
            cases.setdefault(record.case, []).append(record)
    panels = []
    for case, group in sorted(cases.items(), key=lambda item: case_order(item[0])):
        commits = by_commit(group)
        lines = [
            Line(each, [_pooled(speed(record) for record in at if name(record) == each) for _, at in commits])
            for each in sorted({name(record) for record in group})
        ]
        unit = "voxels/core-hour" if isinstance(group[0], PipelineRecord) else "voxels/s"
        panels.append(Panel(case, unit, [commit for commit, _ in commits], lines))
    return panels


def _speed(record: KernelRecord) -> Values | None:
    if record.voxels is None or record.ours_s is None:
        return None
    slowest, quickest = record.ours_max_s or record.ours_s, record.ours_min_s or record.ours_s
    return record.voxels / slowest, record.voxels / record.ours_s, record.voxels / quickest


def _pipeline_speed(record: PipelineRecord) -> Values | None:
    spread = record.overall.get("voxels_per_core_hour")
    return None if spread is None else (spread.min, spread.median, spread.max)


def _pooled(measurements: Iterable[Values | None]) -> Values | None:
    """Pool what was measured several times at one commit: against several peers, or again."""
    known = [values for values in measurements if values is not None]
    if not known:
        return None
    lows, middles, highs = zip(*known, strict=True)
    return min(lows), statistics.median(middles), max(highs)


def _table(panels: Sequence[Panel]) -> Markup:
    rows = [
        row(
            head_cell(panel.case),
            *map(
                cell,
                (line.name, commit, number(values[1]), words.span(number(values[0]), number(values[2])), panel.unit),
            ),
        )
        for panel in panels
        for line in panel.lines
        for commit, values in zip(panel.commits, line.values, strict=True)
        if values is not None
    ]
    return join(table(None, ("case", "input", "commit", "median", "lowest to highest", "unit"), rows))
