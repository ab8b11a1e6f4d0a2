"""Walk over all contacts of a block and hand their values to a contact table."""

from __future__ import annotations

import numpy as np

from connectome.kernels.contact_table import add_values
from connectome.kernels.flags import positions_of, row_of_flags
from connectome.kernels.jit import jit
from connectome.kernels.location_noise import HASH_BITS, location_hash
from connectome.kernels.pair_order import LEVEL_BITS

AREA, MEAN, MAXIMUM, QUANTILE = 0, 1, 2, 3

# Rows of a strip. The pairs that are alive in one section of a strip fit into the second-level cache.
_STRIP = 64
# Contacts that wait until they are added together.
_BATCH = 512


@jit
def count_contacts(numbers):
    """Bound the contacts from above: pairs of neighbours that differ, background among them."""
    nz, ny, nx = numbers.shape
    flat, width = numbers.reshape(numbers.size), np.uint64(nx)
    n = 0
    for z in range(nz):
        for y in range(ny):
            row = np.uint64((z * ny + y) * nx)
            n += _count_differing(flat, row + np.uint64(1), row, width - np.uint64(1))
            if y > 0:
                n += _count_differing(flat, row, row - width, width)
            if z > 0:
                n += _count_differing(flat, row, row - width * np.uint64(ny), width)
    return n


@jit
def _count_differing(numbers, row, other, width):
    n = np.int32(0)
    for x in range(width):
        n += np.int32(numbers[row + x] != numbers[other + x])
    return n


@jit
def add_contacts(table, numbers, margin, affinities, values):
    """Add every contact between a voxel behind the margin and its lower neighbour to the table.

    Parameters
    ----------
    table : ContactTable
        Home is the larger number.
    numbers : int32 array, shape (z, y, x)
        Numbers of labels, 0 for background.
    margin : tuple of 3 int
        Voxels on the low sides that are there only to be touched.
    affinities : uint8 array, shape (3, z, y, x)
        Of `numbers`; not read for AREA.
    values : (origin, steps, mask, bins, kind)
        Global index of the first voxel; what a step along z, y, x adds to it; bits of the location hash; bins of
        QUANTILE; and what is added: a face (1 for x, 1 << 32 for y, 0 for z: the count has them all) or
        ``affinity << 24 | location hash``.
    """
    origin, steps, mask, bins, kind = values
    nz, ny, nx = numbers.shape
    mz, my, mx = margin
    numbers, affinities = numbers.reshape(numbers.size), affinities.reshape(affinities.size)
    (flags, words), positions = row_of_flags(nx), np.empty(nx, np.uint32)
    homes, left = np.empty(_BATCH + nx, np.uint32), np.empty(_BATCH + nx + 1, np.uint32)
    keys, sums = np.empty(_BATCH + nx, np.int64), np.empty(_BATCH + nx, np.int64)
    n_waiting = 0
    below = (ny * nx, nx, 1)
    for strip in range(my, ny, _STRIP):
        for z in range(mz, nz):
            for y in range(strip, min(strip + _STRIP, ny)):
                for axis in range(3):
                    first = max(mx, 1) if axis == 2 else mx
                    if (axis == 0 and z == 0) or (axis == 1 and y == 0):
                        continue
                    row = (z * ny + y) * nx + first
                    _flag_contacts(numbers, np.uint64(row), np.uint64(row - below[axis]), np.uint64(nx - first), flags)
                    n = positions_of(words, positions)
                    if kind == AREA:
                        value = np.int64(1) if axis == 2 else np.int64(axis) << 32
                        _face_values(numbers, row, below[axis], positions, n, value, homes, keys, sums, n_waiting)
                    else:
                        index = origin + z * steps[0] + y * steps[1] + first
                        given = (axis * numbers.size, index, axis, mask, bins, kind)
                        _affinity_values(
                            numbers, row, below[axis], positions, n, affinities, given, homes, keys, sums, n_waiting
                        )
                    n_waiting += n
                    if n_waiting > _BATCH:
                        table = add_values(table, homes, keys, sums, left, n_waiting, kind == MAXIMUM)
                        n_waiting = 0
    return add_values(table, homes, keys, sums, left, n_waiting, kind == MAXIMUM)


@jit
def _flag_contacts(numbers, row, other, width, flags):
    for x in range(width):
        a, b = numbers[row + x], numbers[other + x]
        flags[x] = np.uint8((a != b) & (a != 0) & (b != 0))
    for x in range(width, np.uint64(flags.size)):
        flags[x] = 0


@jit
def _face_values(numbers, row, below, positions, n, value, homes, keys, values, at):
    row, below, at = np.uint64(row), np.uint64(below), np.uint64(at)
    for i in range(np.uint64(n)):
        voxel = row + np.uint64(positions[i])
        a, b = numbers[voxel], numbers[voxel - below]
        homes[at + i] = max(a, b)
        keys[at + i] = np.int64(min(a, b)) << LEVEL_BITS
        values[at + i] = value


@jit
def _affinity_values(numbers, row, below, positions, n, affinities, given, homes, keys, values, at):
    channel, index, axis, mask, bins, kind = given
    row, below, at, channel = np.uint64(row), np.uint64(below), np.uint64(at), np.uint64(channel)
    for i in range(np.uint64(n)):
        x = np.uint64(positions[i])
        a, b = numbers[row + x], numbers[row + x - below]
        affinity = np.int64(affinities[channel + row + x])
        level = (affinity * bins) >> 8 if kind == QUANTILE else 0
        homes[at + i] = max(a, b)
        keys[at + i] = (np.int64(min(a, b)) << LEVEL_BITS) | level
        values[at + i] = (affinity << HASH_BITS) | location_hash(index + np.int64(x), axis, mask)
