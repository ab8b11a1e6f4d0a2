"""The page in one table: every target, the worst that was measured for it, and whether it is met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from connectome.web.dashboard import words
from connectome.web.dashboard.peers import verdict
from connectome.web.dashboard.records import KernelRecord, Machine
from connectome.web.dashboard.strips import Bar, Strips
from connectome.web.dashboard.targets import (
    BYTES_PER_EDGE,
    BYTES_PER_VOXEL,
    MOST_SLOWDOWN,
    REFERENCE,
    SOURCE,
    TARGETS,
    Target,
    is_adversarial,
    memory_share,
    slowdown,
    target_of,
)
from connectome.web.markup import Markup, cell, element, escape, head_cell, note, row, section, table

JUDGED_CASE = "fragments_edges_mean"
"""Speed counts only where the partition is at least as good as the peer's."""
NO_BITS = 1e-6
"""Added to variations of information, so that perfect ones have a ratio."""


@dataclass(frozen=True)
class Score:
    """A target and what came out of it."""

    name: str
    wanted: str
    worst: str
    where: str
    margins: tuple[float, ...]
    """For each input, how far it is beyond what is wanted: met from 1 on."""

    @property
    def n_met(self) -> int:
        return sum(margin >= 1 for margin in self.margins)

    @property
    def is_measured(self) -> bool:
        return bool(self.margins)

    @property
    def is_met(self) -> bool:
        return self.is_measured and self.n_met == len(self.margins)


def scores(machine: Machine) -> list[Score]:
    """Return every target of the project with the worst current record for it."""
    hard = [record for record in machine.ours if is_adversarial(record)]
    judged = [record for record in machine.current if record.case == JUDGED_CASE and target_of(record)]
    factors = [(record, slowdown(record, machine.current)) for record in hard]
    shares = [(record, memory_share(record)) for record in hard]
    return [
        *(_ratio_score(target, machine) for target in TARGETS),
        _most_score(
            "partition against truth",
            "VOI ≤ the peer's",
            [(each, _voi_ratio(each)) for each in judged],
            1.0,
            words.ratio,
        ),
        _most_score(
            "adversarial: time per voxel",
            f"≤ {words.tick_ratio(MOST_SLOWDOWN)} {REFERENCE}'s",
            factors,
            MOST_SLOWDOWN,
            words.ratio,
        ),
        _most_score(
            "adversarial: memory",
            f"≤ {BYTES_PER_VOXEL} B/voxel + {BYTES_PER_EDGE} B/edge",
            shares,
            1.0,
            words.percent,
        ),
    ]


def _voi_ratio(record: KernelRecord) -> float | None:
    """Return our variation of information by the peer's, both against the same truth."""
    ours, theirs = (_voi((record.quality or {}).get(side)) for side in ("ours", "peer"))
    return None if ours is None or theirs is None else (ours + NO_BITS) / (theirs + NO_BITS)


def _voi(quality: object) -> float | None:
    if not isinstance(quality, dict):
        return None
    parts = [quality[name] for name in ("voi_split", "voi_merge") if name in quality]
    whole = quality.get("voi", sum(parts) if len(parts) == 2 else None)
    return float(whole) if isinstance(whole, int | float) else None


def _ratio_score(target: Target, machine: Machine) -> Score:
    found = [
        (record.ratio, record.input)
        for record in machine.current
        if target_of(record) == target and record.ratio is not None
    ]
    worst, where = min(found, default=(None, ""))
    aim = "" if target.aim is None else f", aim {words.tick_ratio(target.aim)}"
    margins = tuple(ratio / target.least for ratio, _ in found)
    return Score(target.name, f"≥ {words.tick_ratio(target.least)}{aim}", words.ratio(worst), where, margins)


def _most_score(
    name: str,
    wanted: str,
    found: Sequence[tuple[KernelRecord, float | None]],
    most: float,
    write: Callable[[float | None], str],
) -> Score:
    measured = [(value, f"{record.case}, {record.input}") for record, value in found if value]
    worst, where = max(measured, default=(None, ""))
    return Score(name, wanted, write(worst), where, tuple(most / value for value, _ in measured))


def scores_section(found: Sequence[Score]) -> Markup:
    """Return the table of targets."""
    measured = [score for score in found if score.is_measured]
    if not measured:
        return section("Targets", note("No target was measured on this hardware yet: run make bench."))
    strips = Strips.of((_bar(score) for score in measured), words.tick_ratio, origin=1.0)
    titles = ("target", "wanted", "worst measured", "on", "verdict", strips.axis())
    rows = [
        row(
            head_cell(score.name),
            cell(score.wanted),
            cell(score.worst),
            cell(element("small", score.where)),
            cell(_verdict(score)),
            strips.cell(_bar(score)),
        )
        for score in found
    ]
    caption = (
        f"Source: {SOURCE}. The worst input decides. Bars: how far it is beyond what is wanted; right of 1 is met."
    )
    return section("Targets", table(caption, titles, rows))


def _bar(score: Score) -> Bar | None:
    if not score.is_measured or min(score.margins) <= 0:
        return None
    return Bar(min(score.margins), target=1.0, style="good" if score.is_met else "bad")


def _verdict(score: Score) -> Markup:
    if not score.is_measured:
        return escape("not measured")
    n_inputs = len(score.margins)
    return verdict(score.is_met, unmet=f"met on {score.n_met} of {n_inputs} inputs" if score.n_met else "not met")


def tally(found: Sequence[Score]) -> str:
    """Write how many targets are met."""
    return f"{sum(score.is_met for score in found)} of {len(found)}"


def targets_tile(found: Sequence[Score]) -> Markup:
    """Return the tile that says how many targets are met."""
    n_open = sum(not score.is_measured for score in found)
    rest = f", {n_open} not measured" if n_open else ""
    is_bad = any(score.is_measured and not score.is_met for score in found)
    drawn = (element("b", tally(found)), element("span", f"targets met{rest}"))
    return element("div", *drawn, class_="tile bad" if is_bad else "tile")
