"""Logarithmic scales: where a value lies, and which values are worth a tick."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

ROUNDED = 1e-9
"""Logarithms of round numbers are not round."""


@dataclass(frozen=True)
class Scale:
    """A logarithmic scale from `low` to `high`, both round numbers: 1, 2 or 5 times a power of ten."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float], span: float = 10.0) -> Scale:
        """Return the least scale that holds all values and reaches over at least a factor of `span`."""
        given = [value for value in values if value > 0]
        least, most = min(given, default=1.0), max(given, default=1.0)
        low, high = _round_down(least), _round_up(most)
        while high / low < span * (1 - ROUNDED):
            low, high = _round_down(low * 0.99), _round_up(high * 1.01)
        return cls(low, high)

    def part(self, value: float) -> float:
        """Return where a value lies, 0 at the low end and 1 at the high one; what is beyond an end lies on it."""
        if value <= self.low:
            return 0.0
        return min(1.0, math.log(value / self.low) / math.log(self.high / self.low))

    @property
    def ticks(self) -> list[float]:
        """Round numbers within the scale: few on a long scale, more on a short one."""
        decades = math.log10(self.high / self.low)
        digits = (1, 2, 5) if decades < 1.6 else (1, 3) if decades < 2.4 else (1,)
        first, last = math.floor(math.log10(self.low) + ROUNDED), math.ceil(math.log10(self.high) - ROUNDED)
        every = max(1, round((last - first) / 7))
        candidates = [digit * 10.0**exponent for exponent in range(first, last + 1, every) for digit in digits]
        return [value for value in candidates if self.low * (1 - ROUNDED) <= value <= self.high * (1 + ROUNDED)]


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value) + ROUNDED)
    return max(digit for digit in (1, 2, 5) if digit <= value / power * (1 + ROUNDED)) * power


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value) + ROUNDED)
    return min(digit for digit in (1, 2, 5, 10) if digit >= value / power * (1 - ROUNDED)) * power
