"""How far kernels are from what none can pass: the bandwidth; and what memory they take."""

from __future__ import annotations

from collections.abc import Sequence

from connectome.web.dashboard import words
from connectome.web.dashboard.plots import Point, roofline
from connectome.web.dashboard.records import KernelRecord, Machine, by_case
from connectome.web.dashboard.strips import Bar, Strips
from connectome.web.dashboard.targets import (
    BYTES_PER_EDGE,
    BYTES_PER_VOXEL,
    is_adversarial,
    memory_share,
)
from connectome.web.markup import Markup, cell, element, folded, head_cell, note, row, section, table
from connectome.web.quantities import number, size

LIMIT, MEMORY = "Distance to the physical limit", "Memory beyond the inputs"
LIMIT_TITLES = ("case", "input", "bytes per voxel", "voxels per second", "the limit", "of the limit")
MEMORY_TITLES = ("case", "input", "peak", "per voxel", "rest per edge", "peer's peak", "of allowed")


def roofline_section(machine: Machine) -> Markup:
    """Return the achieved speed under the roof of the bandwidth, as a plot and as tables."""
    shown = [record for record in machine.ours if record.limit_share and not is_adversarial(record)]
    bandwidth = machine.bandwidth
    if not shown or bandwidth is None:
        return section(LIMIT, note("No record states bytes moved, our time and the bandwidth: nothing to compare."))
    nearest = [max(group, key=_limit_share) for _, group in by_case(shown)]
    nearest_of_all = max(nearest, key=_limit_share)
    summary = (
        f"Voxels per second of {len(shown)} measurements over their least bytes per voxel, under the roof of "
        f"{size(bandwidth)}/s. Nearest to it: {nearest_of_all.case} on {nearest_of_all.input}, "
        f"{words.percent(nearest_of_all.limit_share)} of the bandwidth."
    )
    points = [
        _point(record, colour, record is nearest[colour])
        for colour, (_, group) in enumerate(by_case(shown))
        for record in group
    ]
    lead = (
        f"One core copies {size(bandwidth)}/s here (read and written, measured in the same run). No kernel "
        "handles more voxels per second than that divided by the bytes that it must at least read and write "
        "per voxel, inputs and outputs once: the roof. What stays in the cache may come above it."
    )
    return section(
        LIMIT,
        element("p", lead),
        element("div", roofline(points, bandwidth, summary), class_="scroll"),
        _limit_table(nearest, "Each case on the input where it is nearest to the limit; whiskers over its calls."),
        folded(f"All inputs ({len(shown)})", _limit_table(shown, None)),
    )


def _limit_share(record: KernelRecord) -> float:
    return record.limit_share or 0.0


def _point(record: KernelRecord, colour: int, is_named: bool) -> Point:
    assert record.bytes_per_voxel_moved is not None
    assert record.speed is not None
    part = words.percent(record.limit_share)
    title = f"{record.case} on {record.input}: {number(record.speed)} voxels/s, {part} of the bandwidth"
    return Point(record.bytes_per_voxel_moved, record.speed, title, record.case if is_named else None, colour)


def _limit_table(records: Sequence[KernelRecord], caption: str | None) -> Markup:
    strips = Strips.of(map(_limit_bar, records), words.tick_percent)
    return table(caption, (*LIMIT_TITLES, strips.axis()), [_limit_row(record, strips) for record in records])


def _limit_row(record: KernelRecord, strips: Strips) -> Markup:
    moved, speed, bandwidth = record.bytes_per_voxel_moved, record.speed, record.bandwidth_bytes_per_s
    assert moved is not None
    assert speed is not None
    assert bandwidth is not None
    figures = (f"{moved:.3g}", number(speed), number(bandwidth / moved), words.percent(record.limit_share))
    return row(head_cell(record.case), cell(record.input), *map(cell, figures), strips.cell(_limit_bar(record)))


def _limit_bar(record: KernelRecord) -> Bar:
    share, middle = record.limit_share, record.ours_s
    assert share is not None
    assert middle is not None
    low, high = (
        None if seconds is None else share * middle / seconds for seconds in (record.ours_max_s, record.ours_min_s)
    )
    return Bar(share, low, high)


def memory_section(machine: Machine) -> Markup:
    """Return the memory that kernels take beyond their inputs, against what they may."""
    measured = [record for record in machine.ours if memory_share(record) is not None]
    if not measured:
        return section(
            MEMORY, note("No record states peak memory: the system does not tell it, or nothing was measured.")
        )
    worst = [max(group, key=lambda record: memory_share(record) or 0) for _, group in by_case(measured)]
    caption = (
        f"Each case on its worst input: peak of one call beyond its inputs. Allowed are {BYTES_PER_VOXEL} "
        f"bytes per voxel and {BYTES_PER_EDGE} per edge together (dashed). Adversarial inputs are held to it, "
        "the others shown beside. The rest per edge is what goes beyond the bytes per voxel."
    )
    return section(
        MEMORY, _memory_table(worst, caption), folded(f"All inputs ({len(measured)})", _memory_table(measured, None))
    )


def _memory_table(records: Sequence[KernelRecord], caption: str | None) -> Markup:
    strips = Strips.of(map(memory_bar, records), words.tick_percent)
    return table(caption, (*MEMORY_TITLES, strips.axis()), [_memory_row(record, strips) for record in records])


def _memory_row(record: KernelRecord, strips: Strips) -> Markup:
    assert record.voxels is not None
    assert record.peak_bytes is not None
    peer_peak = words.MISSING if record.peer_peak_bytes is None else f"{size(record.peer_peak_bytes)} ({record.peer})"
    figures = (
        size(record.peak_bytes),
        f"{record.peak_bytes / record.voxels:.1f} B",
        _per_edge(record.peak_bytes - BYTES_PER_VOXEL * record.voxels, record.edges),
        peer_peak,
        words.percent(memory_share(record)),
    )
    return row(head_cell(record.case), cell(record.input), *map(cell, figures), strips.cell(memory_bar(record)))


def _per_edge(n_bytes: int, n_edges: int | None) -> str:
    return f"{max(0, n_bytes) / n_edges:.1f} B" if n_edges else words.MISSING


def memory_bar(record: KernelRecord) -> Bar | None:
    """Return the share of the allowed memory as a bar, judged where the record is held to it."""
    share = memory_share(record)
    style = "ours" if not is_adversarial(record) else "good" if share is not None and share <= 1 else "bad"
    return Bar(share, target=1.0, style=style) if share else None
