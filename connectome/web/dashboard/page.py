"""The benchmarks in one page: what it costs, how it compares, how far it is from the limit, how it moved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from connectome.errors import InputError
from connectome.web.dashboard import words
from connectome.web.dashboard.adversarial import adversarial_section
from connectome.web.dashboard.cost import cost_section
from connectome.web.dashboard.history import history_section
from connectome.web.dashboard.limits import memory_section, roofline_section
from connectome.web.dashboard.peers import peers_section
from connectome.web.dashboard.records import KernelRecord, Machine, Record, load_records, machines
from connectome.web.dashboard.scores import Score, scores, scores_section, targets_tile
from connectome.web.dashboard.targets import REFERENCE
from connectome.web.markup import Markup, element, join, note, page, section
from connectome.web.quantities import dollars, number, size

TITLE = "connectome: benchmarks"
HEADLINE_CASE = "fragments_edges_mean"
"""The kernel case that the tiles show: the whole call from affinities to segments."""


def write_dashboard(results: Path, output: Path) -> Path:
    """Write the page of all records in a folder.

    Parameters
    ----------
    results : Path
        Folder of ``*.jsonl`` files: kernel records and pipeline records.
    output : Path
        The HTML file; its folder is made.

    Raises
    ------
    InputError
        Where there is no such folder, a line is no record, or `output` is a folder.
    """
    if output.is_dir():
        raise InputError(f"{output} is a folder, a dashboard is one file: give a name such as {output}/dashboard.html")
    text = page(TITLE, dashboard_body(load_records(results)))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    return output


def dashboard_body(records: Sequence[Record]) -> Markup:
    """Return the page's content: the hardware measured last, and every other one by itself, folded."""
    found = machines(records)
    if not found:
        return join(
            element("header", element("h1", "Benchmarks")),
            section("Nothing yet", note("There are no records of benchmarks here: make bench writes them.")),
        )
    others = [
        element(
            "details",
            element("summary", f"Other hardware: {machine.hardware} ({len(machine.records):,} records)"),
            element("header", _facts(machine)),
            _machine_body(machine),
            class_="machine",
        )
        for machine in found[1:]
    ]
    return join(_head(found), _machine_body(found[0]), *others, _repeat(found[0]))


def _head(found: Sequence[Machine]) -> Markup:
    others = len(found) - 1
    apart = f"Records of {others} other hardware are at the end; nothing is compared across hardware."
    return element(
        "header",
        element("h1", "Benchmarks"),
        element("p", "Every kernel beside its peers, and what a volume costs: the newest record of each."),
        _facts(found[0]),
        element("p", apart, class_="note") if others else None,
    )


def _facts(machine: Machine) -> Markup:
    shown = [*machine.current, *machine.current_pipelines]
    commits = list(dict.fromkeys(record.commit for record in shown))
    facts = {
        "Hardware": machine.hardware,
        "Commit": ", ".join(commits[:6]) + (f" and {len(commits) - 6} more" if len(commits) > 6 else ""),
        "Measured": _dates(shown),
        "Records": _counts(machine),
        "Repeat it": element("code", "make bench dashboard"),
    }
    return element("dl", *(join(element("dt", k), element("dd", v)) for k, v in facts.items()), class_="facts")


def _counts(machine: Machine) -> str:
    n_comparisons, n_workflows = len(machine.current), len(machine.current_pipelines)
    return (
        f"{len(machine.records):,}; the newest of {n_comparisons:,} comparison{'s' * (n_comparisons != 1)} and "
        f"{n_workflows:,} workflow{'s' * (n_workflows != 1)} are shown"
    )


def _dates(records: Sequence[Record]) -> str:
    first, last = min(record.date for record in records), max(record.date for record in records)
    if first == last:
        return f"{last:%Y-%m-%d %H:%M} UTC"
    return f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"


def _machine_body(machine: Machine) -> Markup:
    found = scores(machine)
    return join(
        _tiles(machine, found),
        scores_section(found),
        cost_section(machine),
        peers_section(machine),
        roofline_section(machine),
        memory_section(machine),
        adversarial_section(machine),
        history_section(machine),
    )


def _tiles(machine: Machine, found: Sequence[Score]) -> Markup:
    tiles = []
    if machine.current_pipelines:
        newest = max(machine.current_pipelines, key=lambda record: record.date)
        speed, price = (newest.overall.get(name) for name in ("voxels_per_core_hour", "usd_per_teravoxel"))
        if speed is not None:
            tiles.append((number(speed.median), f"voxels per core-hour, whole workflow ({newest.case})"))
        if price is not None:
            table = f" at {newest.prices.name}" if newest.prices else ""
            tiles.append((dollars(price.median), f"per teravoxel, whole workflow{table}"))
    headline = _headline(machine)
    if headline is not None and headline.voxels_per_core_hour is not None:
        tiles.append(
            (number(headline.voxels_per_core_hour), f"voxels per core-hour, affinities to segments ({headline.input})")
        )
    if headline is not None and headline.ratio is not None and headline.has_peer:
        tiles.append(
            (words.ratio(headline.ratio), f"as fast as {headline.peer}, affinities to segments ({headline.input})")
        )
    drawn = [element("div", element("b", value), element("span", name), class_="tile") for value, name in tiles]
    return element("div", *drawn, targets_tile(found), class_="tiles")


def _headline(machine: Machine) -> KernelRecord | None:
    """Return the record of the whole call, on the reference input if it was measured."""
    records = [record for record in machine.current if record.case == HEADLINE_CASE and record.ours_s is not None]
    return min(records, key=lambda record: (record.input != REFERENCE, not record.has_peer), default=None)


def _repeat(machine: Machine) -> Markup:
    bandwidth = machine.bandwidth
    lines = (
        "make bench sets itself up and times every kernel beside its peers in one process on one core: one call that "
        "nobody times, then ours and the peer's in alternation. make dashboard writes this page from the records in "
        "benchmarks/results. Where a peer or the real data is not there, its comparisons are left out.",
        f"Newest record: {words.origin(machine.newest)}, on {machine.hardware}"
        + (f", one core copying {size(bandwidth)}/s." if bandwidth else "."),
        "Ratios, histories and verdicts are of one hardware only. Times vary on a shared machine: read the whiskers. "
        "k, M, G and T are thousands, millions, 10^9 and 10^12.",
    )
    return section("How it was measured, and how to repeat it", *(element("p", line) for line in lines))
