"""How much longer a voxel takes on inputs that were made to be hard."""

from __future__ import annotations

from collections.abc import Sequence

from connectome.web.dashboard import words
from connectome.web.dashboard.peers import verdict
from connectome.web.dashboard.records import KernelRecord, Machine, by_case
from connectome.web.dashboard.strips import Bar, Strips
from connectome.web.dashboard.targets import ADVERSARIAL, MOST_SLOWDOWN, REFERENCE, is_adversarial, slowdown
from connectome.web.markup import Markup, cell, element, folded, head_cell, note, row, section, table
from connectome.web.quantities import number

TITLE = "Adversarial inputs"
TITLES = ("case", "input", "voxels", "ns per voxel", f"against {REFERENCE}")


def adversarial_section(machine: Machine) -> Markup:
    """Return a table of cases by kinds of hard input, and below, folded, every input."""
    records = machine.ours
    hard = [record for record in records if is_adversarial(record)]
    if not hard:
        kinds = ", ".join(ADVERSARIAL)
        return section(TITLE, note(f"No adversarial input ({kinds}) was measured on this hardware."))
    return section(TITLE, _matrix(hard, records), folded(f"All inputs ({len(hard)})", _details(hard, records)))


def _matrix(hard: Sequence[KernelRecord], records: Sequence[KernelRecord]) -> Markup:
    kinds = [kind for kind in ADVERSARIAL if any(record.input.startswith(kind) for record in hard)]
    rows = []
    for case, group in by_case(hard):
        worst = [
            max((slowdown(record, records) or 0 for record in group if record.input.startswith(kind)), default=0)
            for kind in kinds
        ]
        known = [factor for factor in worst if factor]
        judged = verdict(max(known) <= MOST_SLOWDOWN) if known else f"no {REFERENCE} to compare with"
        rows.append(row(head_cell(case), *(_factor_cell(factor) for factor in worst), cell(judged)))
    caption = (
        f"Our time per voxel relative to the same kernel's on {REFERENCE} (a network's affinities of real tissue), the "
        f"worst size of each kind. At most {words.tick_ratio(MOST_SLOWDOWN)} is wanted."
    )
    return table(caption, ("case", *kinds, f"at most {words.tick_ratio(MOST_SLOWDOWN)}"), rows)


def _factor_cell(factor: float) -> Markup:
    if not factor:
        return cell(words.MISSING)
    return cell(element("span", words.ratio(factor), class_="verdict bad" if factor > MOST_SLOWDOWN else None))


def _details(hard: Sequence[KernelRecord], records: Sequence[KernelRecord]) -> Markup:
    strips = Strips.of((slowdown_bar(record, records) for record in hard), words.tick_ratio, origin=1.0)
    titles = (*TITLES, strips.axis(), "against a smaller one")
    caption = (
        "Whiskers from the quickest to the slowest call. Against a smaller input of its kind, time per voxel stays "
        "near 1 where a kernel is linear in voxels; it would be 8 for eight times the voxels if it were quadratic."
    )
    return table(caption, titles, [_row(record, records, strips) for record in hard])


def _row(record: KernelRecord, records: Sequence[KernelRecord], strips: Strips) -> Markup:
    return row(
        head_cell(record.case),
        cell(record.input),
        cell(words.MISSING if record.voxels is None else number(record.voxels)),
        cell(words.MISSING if record.speed is None else f"{1e9 / record.speed:.3g}"),
        cell(words.ratio(slowdown(record, records))),
        strips.cell(slowdown_bar(record, records)),
        cell(_growth(record)),
    )


def slowdown_bar(record: KernelRecord, records: Sequence[KernelRecord]) -> Bar | None:
    """Return the slowdown per voxel as a bar."""
    factor = slowdown(record, records)
    if not factor:
        return None
    low, high = (
        None if seconds is None or record.ours_s is None else factor * seconds / record.ours_s
        for seconds in (record.ours_min_s, record.ours_max_s)
    )
    return Bar(factor, low, high, MOST_SLOWDOWN, "good" if factor <= MOST_SLOWDOWN else "bad")


def _growth(record: KernelRecord) -> str:
    others = {name: value for name, value in (record.slowdown or {}).items() if name != REFERENCE}
    return "; ".join(f"{words.ratio(value)} of {name}" for name, value in others.items()) or words.MISSING
