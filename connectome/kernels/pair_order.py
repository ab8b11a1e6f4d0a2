"""Sort pairs of small numbers in about linear time: one counting pass over the low one, then the buckets.

What comes is mostly in order already (scan order, or tables that are sorted themselves); buckets are short but for
hubs. Buckets are sorted by insertion in runs and by merging runs that are not in order yet: never quadratic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.kernels.jit import jit
from connectome.kernels.label_numbers import number_labels

LEVEL_BITS = 8

_RUN = 24

Numbers = npt.NDArray[np.int32]


def order_of_pairs(
    a: npt.NDArray[Any], b: npt.NDArray[Any], level: npt.NDArray[np.uint8]
) -> tuple[Numbers, Numbers, npt.NDArray[np.int64]]:
    """Sort rows by (a, b, level), equal ones in the order in which they come.

    Parameters
    ----------
    a, b : integer arrays
        Ids or positions, not negative.
    level : uint8 array

    Returns
    -------
    low, high : int32 arrays
        Small numbers for a and b, equal and ordered as these are.
    order : int64 array
        Rows in order.

    Notes
    -----
    O(rows), and a sort of the ids where they are not small numbers.
    """
    low, high = _small_numbers(a, b)
    bits = index_bits(a.size, int(high.max()), LEVEL_BITS)
    keys = np.empty(a.size, np.uint64)
    _order(low, high, level, keys, np.zeros(int(low.max()) + 2, np.int64), bits)
    keys &= np.uint64((1 << bits) - 1)
    return low, high, keys.view(np.int64)


def _small_numbers(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> tuple[Numbers, Numbers]:
    """Return a and b as numbers that keep the order of the ids and are about as few as the rows."""
    if max(int(a.max()), int(b.max())) <= 4 * a.size + 1024:
        return a.astype(np.int32), b.astype(np.int32)
    both = np.concatenate([a, b]).astype(np.uint64)
    numbers = number_labels(both.reshape(1, 1, -1))[2].reshape(2, -1)
    return numbers[0], numbers[1]


@jit
def _order(low, high, level, keys, stops, bits):
    """Sort by (low, high, level, row); the row is the key's last `bits` bits."""
    for row in range(low.size):
        stops[np.int64(low[row]) + 1] += 1
    starts_of_counts(stops)
    for row in range(low.size):
        bucket = np.int64(low[row])
        pair = (np.uint64(high[row]) << np.uint64(LEVEL_BITS)) | np.uint64(level[row])
        keys[stops[bucket]] = (pair << np.uint64(bits)) | np.uint64(row)
        stops[bucket] += 1
    sort_buckets(keys, stops)


def index_bits(n_rows: int, most_high: int, level_bits: int) -> int:
    """Return the bits that a row's index takes in a sort key ``high | level | index`` of 64 bits.

    Raises
    ------
    InputError
        If the key does not fit.
    """
    bits = max(n_rows - 1, 1).bit_length()
    if bits + level_bits + max(most_high, 1).bit_length() > 64:
        raise InputError(
            f"{n_rows:,} rows between {most_high:,} labels are too many for one table, "
            "their sort key wants more than 64 bits: use smaller blocks"
        )
    return bits


@jit
def starts_of_counts(counts):
    """Turn the size of each bucket k, given at k + 1, into its start, in place."""
    for k in range(1, counts.size):
        counts[k] += counts[k - 1]


@jit
def sort_buckets(keys, stops):
    """Sort each bucket of `keys` in place; bucket k ends before `stops[k]`, where the next one begins.

    Parameters
    ----------
    keys : uint64 array
        Distinct keys, those of a bucket together.
    stops : int64 array
        Ascending.
    """
    scratch = np.empty(0, np.uint64)
    start = 0
    for k in range(stops.size):
        stop = stops[k]
        n = stop - start
        if n > 1:
            for first in range(start, stop, _RUN):
                _insert(keys, first, min(first + _RUN, stop))
            if n > _RUN:
                if scratch.size < n:
                    scratch = np.empty(n, np.uint64)
                _merge_runs(keys, start, stop, scratch)
        start = stop


@jit
def _insert(keys, start, stop):
    for i in range(start + 1, stop):
        key = keys[i]
        j = i
        while j > start and keys[j - 1] > key:
            keys[j] = keys[j - 1]
            j -= 1
        keys[j] = key


@jit
def _merge_runs(keys, start, stop, scratch):
    width = _RUN
    while width < stop - start:
        for low in range(start, stop - width, 2 * width):
            middle, high = low + width, min(low + 2 * width, stop)
            if keys[middle - 1] < keys[middle]:
                continue
            scratch[:width] = keys[low:middle]
            i, j, k = 0, middle, low
            while i < width and j < high:
                if scratch[i] < keys[j]:
                    keys[k] = scratch[i]
                    i += 1
                else:
                    keys[k] = keys[j]
                    j += 1
                k += 1
            keys[k : k + width - i] = scratch[i:width]
        width *= 2
