"""Sparse contingency table of two labellings: how many voxels carry each pair of labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from connectome.kernels.jit import jit

Labels = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]


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
    O(voxels) for runs along x, and one hash look-up per run.
    """
    if first.shape != second.shape or (mask is not None and mask.shape != first.shape):
        raise ValueError(f"shapes must be equal, got {first.shape} and {second.shape}")
    counted = np.ones(first.size, np.bool_) if mask is None else np.ascontiguousarray(mask).ravel()
    pairs, counts = _contingency(np.ascontiguousarray(first).ravel(), np.ascontiguousarray(second).ravel(), counted)
    return add_tables([(pairs, counts)])


def add_tables(tables: list[tuple[Labels, Counts]]) -> tuple[Labels, Counts]:
    """Add up contingency tables; the sum of the blocks' tables is the table of the whole."""
    pairs = np.concatenate([np.zeros((0, 2), np.uint64), *(table[0] for table in tables)])
    counts = np.concatenate([np.zeros(0, np.int64), *(table[1] for table in tables)])
    if counts.size == 0:
        return pairs, counts
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    pairs = pairs[order]
    first = np.flatnonzero(np.concatenate(([True], (pairs[1:] != pairs[:-1]).any(axis=1))))
    return pairs[first], np.add.reduceat(counts[order], first)


@jit
def _contingency(first, second, counted):
    slots = np.full(1 << 10, -1, np.int64)
    pairs, counts = np.empty((1 << 9, 2), np.uint64), np.zeros(1 << 9, np.int64)
    n, row = 0, -1
    for voxel in range(first.size):
        if not counted[voxel]:
            continue
        a, b = first[voxel], second[voxel]
        if row < 0 or pairs[row, 0] != a or pairs[row, 1] != b:
            place = _slot(slots, pairs, a, b)
            if slots[place] < 0:
                if n == counts.size:
                    slots, pairs, counts = _doubled(pairs, counts)
                    place = _slot(slots, pairs, a, b)
                slots[place] = n
                pairs[n, 0], pairs[n, 1] = a, b
                n += 1
            row = slots[place]
        counts[row] += 1
    return pairs[:n], counts[:n]


@jit
def _slot(slots, pairs, a, b):
    x = (a ^ (b * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xBF58476D1CE4E5B9)
    place = np.int64(x >> np.uint64(33)) & (slots.size - 1)
    while slots[place] >= 0 and (pairs[slots[place], 0] != a or pairs[slots[place], 1] != b):
        place = (place + 1) & (slots.size - 1)
    return place


@jit
def _doubled(pairs, counts):
    n = counts.size
    slots = np.full(4 * n, -1, np.int64)
    wider, wider_counts = np.empty((2 * n, 2), np.uint64), np.zeros(2 * n, np.int64)
    wider[:n], wider_counts[:n] = pairs, counts
    for row in range(n):
        slots[_slot(slots, wider, pairs[row, 0], pairs[row, 1])] = row
    return slots, wider, wider_counts
