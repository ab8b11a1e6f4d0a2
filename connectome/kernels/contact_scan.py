"""Walk over all contacts of a block and hand their values to a contact table."""

from __future__ import annotations

import numpy as np

from connectome.kernels.contact_table import add_values
from connectome.kernels.flags import positions_of, row_of_flags
from connectome.kernels.jit import jit, jit_bare
from connectome.kernels.location_noise import HASH_BITS, location_hash
from connectome.kernels.pair_order import LEVEL_BITS

AREA, MEAN, MAXIMUM, QUANTILE = 0, 1, 2, 3

# Rows of a strip. The pairs that are alive in one section of a strip fit into the second-level cache.
_STRIP = 64
# Contacts that wait until they are added together.
_BATCH = 512
# Rows with a contact at every so many voxels or more are added run by run: sections touch nearly everywhere.
_DENSE = 4


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
        QUANTILE; and what is added: a face (1 for x, 1 << 32 for y, 0 for z: the count has them all),
        ``affinity << 24 | location hash``, or for QUANTILE nothing (contacts are counted).
    """
    origin, steps, mask, bins, kind = values
    nz, ny, nx = numbers.shape
    mz, my, mx = margin
    numbers, affinities = numbers.reshape(numbers.size), affinities.reshape(affinities.size)
    (flags, words), positions = row_of_flags(nx), np.empty(nx, np.uint32)
    (starts, words_of_starts), (stops, words_of_stops) = row_of_flags(nx), row_of_flags(nx)
    last = np.empty(nx, np.uint32)
    homes, left = np.empty(_BATCH + nx, np.uint32), np.empty(_BATCH + nx + 1, np.uint32)
    keys, sums = np.empty(_BATCH + nx, np.int64), np.empty(_BATCH + nx, np.int64)
    counts, levels, row_values = np.empty(_BATCH + nx, np.int64), np.zeros(nx, np.uint8), np.empty(nx, np.int64)
    batch = (homes, keys, sums, counts)
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
                    width = np.uint64(nx - first)
                    _flag_contacts(numbers, np.uint64(row), np.uint64(row - below[axis]), width, flags)
                    n = positions_of(words, positions)
                    index = origin + z * steps[0] + y * steps[1] + first
                    given = (axis * numbers.size + row, index, axis, mask, bins, kind)
                    if n * _DENSE < nx:
                        _list_contacts(numbers, row, below[axis], positions, n, affinities, given, batch, n_waiting)
                    else:
                        _measure_row(affinities, given, width, levels, row_values)
                        _flag_ends(
                            numbers, np.uint64(row), np.uint64(row - below[axis]), width, levels, flags, starts, stops
                        )
                        n = positions_of(words_of_starts, positions)
                        positions_of(words_of_stops, last)
                        runs = (positions, last, levels, row_values)
                        _list_runs(numbers, row, below[axis], runs, n, kind, batch, n_waiting)
                    n_waiting += n
                    if n_waiting > _BATCH:
                        table = add_values(table, *batch, left, n_waiting, kind == MAXIMUM)
                        n_waiting = 0
    return add_values(table, *batch, left, n_waiting, kind == MAXIMUM)


@jit
def _flag_contacts(numbers, row, other, width, flags):
    for x in range(width):
        a, b = numbers[row + x], numbers[other + x]
        flags[x] = np.uint8((a != b) & (a != 0) & (b != 0))
    for x in range(width, np.uint64(flags.size)):
        flags[x] = 0


@jit_bare
def _list_contacts(numbers, row, below, positions, n, affinities, given, batch, at):
    """Write the contacts of a row behind the first `at` of the batch, each by itself."""
    channel, index, axis, mask, bins, kind = given
    homes, keys, values, counts = batch
    row, below, at, channel = np.uint64(row), np.uint64(below), np.uint64(at), np.uint64(channel)
    for i in range(np.uint64(n)):
        x = np.uint64(positions[i])
        a, b = numbers[row + x], numbers[row + x - below]
        homes[at + i], counts[at + i] = max(a, b), 1
        if kind == AREA:
            keys[at + i], values[at + i] = np.int64(min(a, b)) << LEVEL_BITS, _face(axis)
            continue
        affinity = np.int64(affinities[channel + x])
        if kind == QUANTILE:
            keys[at + i], values[at + i] = (np.int64(min(a, b)) << LEVEL_BITS) | ((affinity * bins) >> 8), 0
            continue
        keys[at + i] = np.int64(min(a, b)) << LEVEL_BITS
        values[at + i] = (affinity << HASH_BITS) | location_hash(index + np.int64(x), axis, mask)


@jit_bare
def _face(axis):
    return np.int64(1) if axis == 2 else np.int64(axis) << 32


@jit_bare
def _measure_row(affinities, given, width, levels, values):
    """Compute level and value at every voxel of a row, contact or not: vectors do not mind."""
    channel, index, axis, mask, bins, kind = given
    channel = np.uint64(channel)
    if kind == AREA:
        for x in range(width):
            values[x] = _face(axis)
        return
    if kind == QUANTILE:
        for x in range(width):
            levels[x] = (np.uint16(affinities[channel + x]) * np.uint32(bins)) >> 8
        return
    for x in range(width):
        values[x] = (np.int64(affinities[channel + x]) << HASH_BITS) | location_hash(index + np.int64(x), axis, mask)


@jit_bare
def _flag_ends(numbers, row, other, width, levels, contacts, starts, stops):
    """Flag the first contact of every run of one pair and level, and the last."""
    one = np.uint64(1)
    for x in range(width - one):
        here, after = row + x, row + x + one
        differs = (numbers[here] != numbers[after]) | (numbers[other + x] != numbers[other + x + one])
        ends = np.uint8(differs | (levels[x] != levels[x + one]))
        stops[x] = contacts[x] & ends
        starts[x + one] = contacts[x + one] & ends
    starts[0], stops[width - one] = contacts[0], contacts[width - one]
    for x in range(width, np.uint64(stops.size)):
        starts[x] = stops[x] = 0


@jit_bare
def _list_runs(numbers, row, below, runs, n, kind, batch, at):
    """Write the runs of a row behind the first `at` of the batch: what each amounts to, and its contacts."""
    starts, stops, levels, row_values = runs
    homes, keys, values, counts = batch
    row, below, at = np.uint64(row), np.uint64(below), np.uint64(at)
    for i in range(np.uint64(n)):
        start, stop = np.uint64(starts[i]), np.uint64(stops[i]) + np.uint64(1)
        a, b = numbers[row + start], numbers[row + start - below]
        value = np.int64(0)
        if kind == MAXIMUM:
            for x in range(start, stop):
                value = max(value, row_values[x])
        elif kind != QUANTILE:
            for x in range(start, stop):
                value += row_values[x]
        homes[at + i], keys[at + i] = max(a, b), (np.int64(min(a, b)) << LEVEL_BITS) | np.int64(levels[start])
        values[at + i], counts[at + i] = value, stop - start
