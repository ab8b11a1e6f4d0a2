"""Ratios to the peers, case by case, with what the project wants of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connectome.web.dashboard import words
from connectome.web.dashboard.cases import case_row
from connectome.web.dashboard.records import KernelRecord, Machine, by_case
from connectome.web.dashboard.strips import Bar, Strips
from connectome.web.dashboard.targets import SOURCE, is_adversarial, target_of
from connectome.web.markup import (
    Markup,
    cell,
    element,
    escape,
    folded,
    head_cell,
    join,
    note,
    row,
    section,
    table,
)
from connectome.web.quantities import number

TITLES = ("input", "peer", "ours", "peer's", "peer / ours", "spread (pairs)")
LAST_TITLES = ("target", "voxels per core-hour")
CAPTION = (
    "Time of the peer by ours on the same input and core, the two timed in alternation; median of the pairs, and the "
    f"whiskers over all pairs. Right of 1 we are faster. Dashed: {SOURCE}, green where met, red where not."
)


def peers_section(machine: Machine) -> Markup:
    """Return ratios on what looks like tissue, and below, folded, those on adversarial inputs, scores and notes."""
    compared = [record for record in machine.current if record.has_peer]
    if not compared:
        return section(
            "Ratio to each peer", note("No kernel was measured beside a peer on this hardware: run make bench.")
        )
    tissue = [record for record in compared if not is_adversarial(record)]
    hard = [record for record in compared if is_adversarial(record)]
    return section(
        "Ratio to each peer",
        _ratios(tissue, machine) if tissue else note("No input that looks like tissue was measured."),
        folded(f"Ratios on adversarial inputs ({len(hard)})", _ratios(hard, machine)) if hard else None,
        _quality(compared),
        _notes(compared),
    )


def _ratios(records: Sequence[KernelRecord], machine: Machine) -> Markup:
    strips = Strips.of(map(ratio_bar, records), words.tick_ratio, origin=1.0)
    titles = (*TITLES, strips.axis(), *LAST_TITLES)
    newest = max(machine.kernels, key=lambda record: record.date).commit
    rows: list[Markup] = []
    for case, group in by_case(records):
        rows.append(case_row(case, len(titles)))
        rows += [_row(record, strips, newest) for record in group]
    return table(CAPTION, titles, rows)


def _row(record: KernelRecord, strips: Strips, newest: str) -> Markup:
    old = element("small", f" at {record.commit}") if record.commit != newest else None
    return row(
        head_cell(join(record.input, old)),
        *map(
            cell, (words.peer(record), words.time(record.ours_s), words.time(record.peer_s), words.ratio(record.ratio))
        ),
        cell(_spread(record)),
        strips.cell(ratio_bar(record)),
        cell(target_verdict(record)),
        cell(words.MISSING if record.voxels_per_core_hour is None else number(record.voxels_per_core_hour)),
    )


def _spread(record: KernelRecord) -> Markup:
    pairs = None if record.repeats is None else element("small", f" ({record.repeats})")
    return join(words.span(words.ratio(record.ratio_min), words.ratio(record.ratio_max)), pairs)


def ratio_bar(record: KernelRecord) -> Bar | None:
    """Return a ratio as a bar that is green where the target is reached and red where not; none below 0."""
    if record.ratio is None or record.ratio <= 0:
        return None
    target = target_of(record)
    style = "ours" if target is None else "good" if record.ratio >= target.least else "bad"
    return Bar(record.ratio, record.ratio_min, record.ratio_max, None if target is None else target.least, style)


def target_verdict(record: KernelRecord) -> Markup:
    """Return what is wanted of a record and whether it is reached."""
    target = target_of(record)
    if target is None:
        return escape(words.MISSING)
    if record.ratio is None:
        return escape(f"≥ {target.least:g}: not measured")
    return verdict(record.ratio >= target.least, f"≥ {target.least:g}: ")


def verdict(is_met: bool, wanted: str = "", unmet: str = "not met") -> Markup:
    """Return `met` or `not met`, in words and in colour."""
    return join(wanted, element("span", "met" if is_met else unmet, class_=f"verdict {'good' if is_met else 'bad'}"))


def _quality(records: Sequence[KernelRecord]) -> Markup | None:
    """Return scores against truth as the records state them, whatever they are called."""
    scored = [(record, _flat(record.quality)) for record in records if record.quality]
    names = list(dict.fromkeys(name for _, scores in scored for name in scores))
    if not names:
        return None
    rows = [
        row(
            head_cell(record.case),
            *map(cell, (record.input, words.peer(record))),
            *(cell(scores.get(name, words.MISSING)) for name in names),
        )
        for record, scores in scored
    ]
    caption = "Scores of the results that were timed, as recorded; variation of information in bits, 0 is perfect."
    return folded(
        f"Is the result as good? Scores against truth ({len(rows)})",
        table(caption, ("case", "input", "peer", *names), rows),
    )


def _flat(scores: dict[str, Any] | None, prefix: str = "") -> dict[str, str]:
    """Write nested scores under names such as `ours voi_split`."""
    found: dict[str, str] = {}
    for name, value in (scores or {}).items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name} ")
        else:
            found[prefix + name] = f"{value:.4g}" if isinstance(value, float) else str(value)
    return found


def _notes(records: Sequence[KernelRecord]) -> Markup | None:
    """Return what the records say beside figures: what a peer's call includes, what was not measured."""
    cases: dict[str, list[str]] = {}
    for record in records:
        if record.note:
            cases.setdefault(record.note, []).append(f"{record.case}, {record.input}, {record.peer}")
    if not cases:
        return None
    rows = [row(cell(text, "text"), cell("; ".join(names), "text")) for text, names in cases.items()]
    return folded(f"What to know about these comparisons ({len(rows)})", table(None, ("note", "of"), rows))
