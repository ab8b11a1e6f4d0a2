"""Sparse contingency table of two labellings: how many voxels carry each pair of labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from connectome.kernels.jit import inlined, jit, jit_bare

Labels = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]
FIRST_ROWS = 1 << 11
"""Rows of the hash table to begin with; it is at most half full, and doubles."""


def contingency(first: Labels, second: Labels, mask: npt.NDArray[np.bool_] | None = None) -> tuple[Labels, Counts]:
    """Count the voxels of each pair of labels.

    Parameters
    ----------
    first, second : uint64 arrays of one shape
    mask : bool array of the same shape, optional
        Voxels that count; all where it is not given.

    Returns
    -------
    pairs : uint64 array, shape (n, 2), sorted
    counts : int64 array, shape (n,)

    Notes
    -----
    O(voxels), one hash look-up for each run along x, and O(n log n) to sort; 48 to 96 bytes for each pair.
    """
    if first.shape != second.shape or (mask is not None and mask.shape != first.shape):
        raise ValueError(f"shapes must be equal, got {first.shape} and {second.shape}")
    a, b = np.ascontiguousarray(first).ravel(), np.ascontiguousarray(second).ravel()
    counted = np.zeros(0, np.bool_) if mask is None else np.ascontiguousarray(mask).ravel()
    rows, voxel, n = np.zeros((FIRST_ROWS, 3), np.uint64), 0, 0
    while voxel < a.size:
        voxel, n = _count_runs(a, b, counted, voxel, rows, n)
        if voxel < a.size:
            rows = _doubled(rows)
    rows = rows[rows[:, 2] != 0]
    return add_tables([(rows[:, :2], rows[:, 2].astype(np.int64))])


def add_tables(tables: list[tuple[Labels, Counts]]) -> tuple[Labels, Counts]:
    """Add up contingency tables; the sum of the blocks' tables is the table of the whole."""
    pairs = np.concatenate([np.zeros((0, 2), np.uint64), *(table[0] for table in tables)])
    counts = np.concatenate([np.zeros(0, np.int64), *(table[1] for table in tables)])
    if counts.size == 0:
        return pairs, counts
    order = _order(pairs[:, 0], pairs[:, 1])
    a, b = pairs[order, 0], pairs[order, 1]
    first = np.flatnonzero(np.concatenate(([True], (a[1:] != a[:-1]) | (b[1:] != b[:-1]))))
    return np.stack([a[first], b[first]], axis=1), np.add.reduceat(counts[order], first)


def _order(a: Labels, b: Labels) -> npt.NDArray[np.int64]:
    """Sort pairs as one number where both fit in 64 bits: that is several times as fast as two sorts."""
    shift = int(b.max()).bit_length()
    if shift + int(a.max()).bit_length() <= 64:
        keys = (a << np.uint64(shift)) | b if shift < 64 else b
        return np.argsort(keys)
    return np.lexsort((b, a))


@jit_bare
def _count_runs(first, second, counted, voxel, rows, n):
    """Count runs of pairs from `voxel` on until the table is half full; return where, and the rows filled."""
    while voxel < first.size:
        a, b, begin = first[voxel], second[voxel], voxel
        voxel += 1
        while voxel < first.size and first[voxel] == a and second[voxel] == b:
            voxel += 1
        length = np.uint64(voxel - begin)
        if counted.size > 0:
            length = np.uint64(0)
            for inside in range(begin, voxel):
                length += np.uint64(counted[inside])
        if length > 0:
            place = _place(rows, a, b)
            if rows[place, 2] == 0:
                if 2 * n >= rows.shape[0]:
                    return begin, n
                rows[place, 0], rows[place, 1] = a, b
                n += 1
            rows[place, 2] += length
    return voxel, n


@inlined
def _place(rows, a, b):
    """Find the row of a pair, or the empty row where it belongs."""
    mixed = (a ^ (b * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xBF58476D1CE4E5B9)
    last = np.uint64(rows.shape[0] - 1)
    place = (mixed >> np.uint64(31)) & last
    while rows[place, 2] != 0 and (rows[place, 0] != a or rows[place, 1] != b):
        place = (place + np.uint64(1)) & last
    return place


@jit
def _doubled(rows):
    wider = np.zeros((2 * rows.shape[0], 3), np.uint64)
    for row in range(rows.shape[0]):
        if rows[row, 2] != 0:
            place = _place(wider, rows[row, 0], rows[row, 1])
            for column in range(3):
                wider[place, column] = rows[row, column]
    return wider
