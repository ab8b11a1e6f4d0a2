"""Figures and names as the dashboard writes them."""

from __future__ import annotations

from connectome.web.dashboard.records import KernelRecord, Record
from connectome.web.quantities import duration

MISSING = "\N{EN DASH}"
"""In a cell whose value no record states."""
OURS = ("numba", "numpy")
"""Packages that our side runs on."""
TIMES = "\N{MULTIPLICATION SIGN}"


def ratio(value: float | None) -> str:
    """Write how many times with three digits: 8.13, 24.6, 131."""
    if value is None:
        return MISSING
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:,.{digits}f}{TIMES}"


def tick_ratio(value: float) -> str:
    """Write a round ratio: 0.5, 10."""
    return f"{value:,g}{TIMES}"


def percent(part: float | None) -> str:
    """Write a share: 0.42 %, 7.1 %, 62 %."""
    if part is None:
        return MISSING
    value = 100 * part
    return f"{value:.0f} %" if value >= 9.95 else f"{value:.1f} %" if value >= 0.995 else f"{value:.2g} %"


def tick_percent(part: float) -> str:
    """Write a round share: 0.1 %, 50 %."""
    return f"{100 * part:,g} %"


def time(seconds: float | None) -> str:
    """Write a time: 3.1 ms, 240 ms, 4.7 s."""
    if seconds is None:
        return MISSING
    if abs(seconds) >= 1:
        return duration(seconds)
    return f"{1000 * seconds:.0f} ms" if abs(seconds) >= 0.0995 else f"{1000 * seconds:.1f} ms"


def span(low: str, high: str) -> str:
    """Write a spread."""
    return MISSING if MISSING in (low, high) else f"{low} to {high}"


def origin(record: Record) -> str:
    """Write which commit was measured, when."""
    return f"{record.commit}, {record.date:%Y-%m-%d}"


def peer(record: KernelRecord) -> str:
    """Write the peer's name and the version of its package, where the record states it."""
    if not record.has_peer:
        return "no peer"
    packages = {name: number for name, number in (record.versions or {}).items() if name not in OURS and number}
    versions = [number if name == record.peer else f"({name} {number})" for name, number in packages.items()]
    return " ".join([str(record.peer), *versions])
