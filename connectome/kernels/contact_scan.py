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


@jit
def count_contacts(numbers):
    """Bound the contacts from above: pairs of neighbours that differ, background among them."""
    nz, ny, nx = numbers.shape
    n = 0
    for z in range(nz):
        for y in range(ny):
            here = numbers[z, y]
            n += _count_differing(here[1:], here[: nx - 1])
            if y > 0:
                n += _count_differing(here, numbers[z, y - 1])
            if z > 0:
                n += _count_differing(here, numbers[z - 1, y])
    return n


@jit
def _count_differing(a, b):
    n = np.int32(0)
    for x in range(a.size):
        n += np.int32(a[x] != b[x])
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
    flags, positions, late = row_of_flags(nx), np.empty(nx, np.int32), np.empty(nx + 1, np.int32)
    homes, keys, sums = np.empty(nx, np.int32), np.empty(nx, np.int64), np.empty(nx, np.int64)
    for strip in range(my, ny, _STRIP):
        for z in range(mz, nz):
            for y in range(strip, min(strip + _STRIP, ny)):
                for axis in range(3):
                    first = max(mx, 1) if axis == 2 else mx
                    if (axis == 0 and z == 0) or (axis == 1 and y == 0) or first == nx:
                        continue
                    mine = numbers[z, y, first:]
                    if axis == 0:
                        other = numbers[z - 1, y, first:]
                    elif axis == 1:
                        other = numbers[z, y - 1, first:]
                    else:
                        other = numbers[z, y, first - 1 : nx - 1]
                    _flag_contacts(mine, other, flags)
                    n = positions_of(flags, positions)
                    if n == 0:
                        continue
                    if kind == AREA:
                        value = np.int64(1) if axis == 2 else np.int64(axis) << 32
                        _face_values(mine, other, positions[:n], value, homes, keys, sums)
                    else:
                        index = origin + z * steps[0] + y * steps[1] + first
                        row = affinities[axis, z, y, first:]
                        _affinity_values(
                            mine, other, positions[:n], row, index, axis, mask, bins, kind, homes, keys, sums
                        )
                    table = add_values(table, homes, keys, sums, late, n, kind == MAXIMUM)
    return table


@jit
def _flag_contacts(mine, other, flags):
    for x in range(mine.size):
        flags[x] = np.uint8((mine[x] != other[x]) & (mine[x] != 0) & (other[x] != 0))
    flags[mine.size :] = 0


@jit
def _face_values(mine, other, positions, value, homes, keys, values):
    for i in range(positions.size):
        x = np.int64(positions[i])
        homes[i] = max(mine[x], other[x])
        keys[i] = np.int64(min(mine[x], other[x])) << LEVEL_BITS
        values[i] = value


@jit
def _affinity_values(mine, other, positions, affinities, index, axis, mask, bins, kind, homes, keys, values):
    for i in range(positions.size):
        x = np.int64(positions[i])
        affinity = np.int64(affinities[x])
        level = (affinity * bins) >> 8 if kind == QUANTILE else 0
        homes[i] = max(mine[x], other[x])
        keys[i] = (np.int64(min(mine[x], other[x])) << LEVEL_BITS) | level
        values[i] = (affinity << HASH_BITS) | location_hash(index + x, axis, mask)
