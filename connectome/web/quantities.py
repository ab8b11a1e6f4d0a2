"""Numbers with units, for people."""

from __future__ import annotations

from collections.abc import Sequence

PREFIXES = ("", "k", "M", "G", "T", "P")
TIMES = " \N{MULTIPLICATION SIGN} "


def number(value: float) -> str:
    """Write a count: 950, 12.3 k, 15.6 M."""
    prefix = 0
    while abs(value) >= 999.5 and prefix < len(PREFIXES) - 1:
        value, prefix = value / 1000, prefix + 1
    return f"{_digits(value)} {PREFIXES[prefix]}".strip()


def size(n_bytes: float) -> str:
    """Write a number of bytes: 1.25 GB."""
    text = number(n_bytes)
    return f"{text}B" if text[-1].isalpha() else f"{text} B"


def dollars(value: float) -> str:
    """Write an amount of money: $0.39, $1,234."""
    return f"${value:,.2f}" if value < 100 else f"${value:,.0f}"


def duration(seconds: float) -> str:
    """Write a time: 4.7 s, 12 min 05 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def length(nanometres: float) -> str:
    """Write a length: 450 nm, 2.5 µm, 1.2 mm."""
    for unit, factor in (("mm", 1e6), ("µm", 1e3)):
        if abs(nanometres) >= factor:
            return f"{_digits(nanometres / factor)} {unit}"
    return f"{_digits(nanometres)} nm"


def triple(values: Sequence[float]) -> str:
    """Write three numbers: 40 x 4.6 x 4.6."""
    return TIMES.join(f"{value:,g}" if value < 1e6 else f"{value:,.0f}" for value in values)


def lengths(nanometres: Sequence[float]) -> str:
    """Write three lengths: 900 nm x 4.7 µm x 4.7 µm."""
    return TIMES.join(length(value) for value in nanometres)


def share(part: float, whole: float) -> str:
    """Write a share in per cent."""
    return f"{100 * part / whole:.0f} %" if whole > 0 else ""


def _digits(value: float) -> str:
    """Three digits are enough for a glance."""
    if value == int(value) and abs(value) < 1000:
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"
