"""Positions of the set flags of a row, found by words instead of by branches.

A branch per voxel is mispredicted at every other border of a fragment. Eight flags are packed to bits by one
multiplication, and a loop over 64 flags leaves once.

Rows are given by offsets into flat arrays, in uint64: slices would be counted, which costs more than a row of
comparisons, and signed offsets might be negative, which keeps loops from being vectorised.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from connectome.kernels.jit import jit

# Moves the lowest bit of byte k to bit 56 + k of the product; no two partial products meet there.
_PACK = np.uint64(0x0102040810204080)


@intrinsic  # type: ignore[untyped-decorator]
def trailing_zeros(_context: Any, value: Any) -> Any:  # noqa: ARG001
    """Return the place of the lowest set bit of a uint64 as int64, 64 where there is none."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], context.get_constant(types.boolean, False))

    return types.int64(types.uint64), generate


@jit
def row_of_flags(n):
    """Return `n` cleared flags (uint8 0 or 1) in whole words of 64, and the same as uint64."""
    flags = np.zeros((n + 63) // 64 * 64, np.uint8)
    return flags, flags.view(np.uint64)


@jit
def positions_of(words, positions):
    """Write the ascending positions of the set flags, given as words; return how many."""
    n = 0
    for first in range(0, words.size, 8):
        bits = np.uint64(0)
        for k in range(8):
            bits |= ((words[first + k] * _PACK) >> np.uint64(56)) << np.uint64(8 * k)
        while bits != 0:
            positions[n] = first * 8 + trailing_zeros(bits)
            n += 1
            bits &= bits - np.uint64(1)
    return n
