"""Faces between labels that are large: few voxels touch another label, and few pairs touch.

Labels are compared as they are and only the faces look up their pair, in one table that stays in the cache; for
small labels the numbering and the buckets of `contact_table` are faster.
"""

from __future__ import annotations

import numpy as np

from connectome.kernels.flags import positions_of, row_of_flags
from connectome.kernels.jit import jit

# Labels are large if at most one in so many neighbours along x differs.
_LARGE = 12
# One row of so many is looked at: a prime, or the rows of a regular pattern would be all alike.
_ROWS = 17
# Words of a record: the pair, faces normal to x plus those normal to y << 32, all faces.
_WORDS = 4
_FIRST = np.uint64(0x9E3779B97F4A7C15)
_SECOND = np.uint64(0xBF58476D1CE4E5B9)


@jit
def labels_are_large(labels):
    """Tell from some of the rows whether neighbours along x mostly have the same label."""
    nz, ny, nx = labels.shape
    flat = labels.reshape(labels.size)
    n_differing, n_seen = 0, 0
    for row in range(0, nz * ny, _ROWS):
        here = np.uint64(row * nx)
        differing = np.int32(0)
        for x in range(np.uint64(nx - 1)):
            differing += np.int32(flat[here + x] != flat[here + x + np.uint64(1)])
        n_differing += int(differing)
        n_seen += nx
    return n_differing * _LARGE <= n_seen


@jit
def count_faces(labels, margin):
    """Count the faces between voxels behind the margin and their lower neighbours.

    Parameters
    ----------
    labels : uint32 or uint64 array, shape (z, y, x), C-contiguous
        0 is background.
    margin : tuple of 3 int
        Voxels on the low sides that are there only to be touched.

    Returns
    -------
    uint64 array, shape (n, 4)
        Pairs a < b in any order, their faces normal to x plus those normal to y << 32, and all their faces.
    """
    nz, ny, nx = labels.shape
    mz, my, mx = margin
    flat = labels.reshape(labels.size)
    (flags, words), positions = row_of_flags(nx), np.empty(nx, np.uint32)
    records = np.zeros(_WORDS << 10, np.uint64)
    slots = np.zeros(1 << 11, np.uint32)
    n = np.uint64(1)
    below = (ny * nx, nx, 1)
    for z in range(mz, nz):
        for y in range(my, ny):
            for axis in range(3):
                first = max(mx, 1) if axis == 2 else mx
                if (axis == 0 and z == 0) or (axis == 1 and y == 0):
                    continue
                row, other = (z * ny + y) * nx + first, (z * ny + y) * nx + first - below[axis]
                _flag_contacts(flat, np.uint64(row), np.uint64(other), np.uint64(nx - first), flags)
                n_found = positions_of(words, positions)
                while (np.int64(n) + n_found) * _WORDS > records.size:
                    records = _longer(records)
                if 2 * (np.int64(n) + n_found) > slots.size:
                    slots = _rehashed(records, n, 4 * (np.int64(n) + n_found))
                value = np.uint64(1) if axis == 2 else np.uint64(axis) << np.uint64(32)
                n = _add(flat, np.uint64(row), np.uint64(other), positions, n_found, value, records, slots, n)
    return records[_WORDS : _WORDS * np.int64(n)].copy().reshape(-1, _WORDS)


@jit
def _flag_contacts(labels, row, other, width, flags):
    for x in range(width):
        a, b = labels[row + x], labels[other + x]
        flags[x] = np.uint8((a != b) & (a != 0) & (b != 0))
    for x in range(width, np.uint64(flags.size)):
        flags[x] = 0


@jit
def _add(labels, row, other, positions, n_found, value, records, slots, n):
    """Add one face of each position to its pair; return the next record."""
    one, words = np.uint64(1), np.uint64(_WORDS)
    wrap = np.uint64(slots.size - 1)
    for i in range(np.uint64(n_found)):
        x = np.uint64(positions[i])
        here, there = np.uint64(labels[row + x]), np.uint64(labels[other + x])
        a, b = min(here, there), max(here, there)
        place = _mixed(a, b) & wrap
        record = np.uint64(slots[place]) * words
        while record != 0 and (records[record] != a or records[record + one] != b):
            place = (place + one) & wrap
            record = np.uint64(slots[place]) * words
        if record == 0:
            record = n * words
            records[record] = a
            records[record + one] = b
            slots[place] = n
            n += one
        records[record + np.uint64(2)] += value
        records[record + np.uint64(3)] += one
    return n


@jit
def _mixed(a, b):
    x = (a * _FIRST) ^ (b * _SECOND)
    x ^= x >> np.uint64(32)
    x *= _FIRST
    return x >> np.uint64(32)


@jit
def _longer(records):
    longer = np.zeros(2 * records.size, np.uint64)
    longer[: records.size] = records
    return longer


@jit
def _rehashed(records, n, least):
    """Return slots for the records 1 ... n - 1, at least `least`."""
    size = 1
    while size < least:
        size *= 2
    slots = np.zeros(size, np.uint32)
    wrap = np.uint64(size - 1)
    for record in range(np.uint64(1), n):
        at = record * np.uint64(_WORDS)
        place = _mixed(records[at], records[at + np.uint64(1)]) & wrap
        while slots[place] != 0:
            place = (place + np.uint64(1)) & wrap
        slots[place] = record
    return slots
