"""Rows of choices: which of its six neighbours each voxel links to.

A choice is a byte per voxel, with a bit for every neighbour that is best: `LOWER_Z`, `LOWER_Y`, `LOWER_X`,
`UPPER_X`, `UPPER_Y`, `UPPER_Z`; `CHOOSES` where there is any choice (the voxel is foreground), and `TIE`
where more than one bit is set and only one may stay. Ties fall by the location hash, then by
position: the bits are in the order of the candidates' positions, and the last of them wins.
All loops run over contiguous rows without branches, so that they become vector instructions.
"""

from __future__ import annotations

import numpy as np

from connectome.kernels.flags import positions_of, trailing_zeros
from connectome.kernels.jit import jit
from connectome.kernels.location_noise import location_hash

LOWER_Z, LOWER_Y, LOWER_X, UPPER_X, UPPER_Y, UPPER_Z, CHOOSES, TIE = (1 << bit for bit in range(8))


MANY_TIES = 4
"""Where more than one voxel in this many has a tie, hashes are made for the whole row, in vectors."""


@jit
def count_ties(choices):
    """Count the voxels of a row that have a tie to break."""
    n = np.int32(0)
    for x in range(choices.size):
        n += np.int32(choices[x] >> 7)
    return n


@jit
def mark_equals(top, lower_z, lower_y, lower_x, upper_x, upper_y, upper_z):
    """Set the bits of those that equal `top`; in bytes throughout, for wider numbers halve the speed and again."""
    return np.uint8(
        _bit(lower_z == top, LOWER_Z)
        | _bit(lower_y == top, LOWER_Y)
        | _bit(lower_x == top, LOWER_X)
        | _bit(upper_x == top, UPPER_X)
        | _bit(upper_y == top, UPPER_Y)
        | _bit(upper_z == top, UPPER_Z)
    )


@jit
def finish_choice(best, is_breakable, chooses):
    """Add to the bits of the best neighbours whether they are tied, and whether the voxel is foreground."""
    is_tie = (np.uint8(best & np.uint8(best - np.uint8(1))) != 0) & is_breakable
    return np.uint8(best | _bit(is_tie, TIE) | _bit(chooses, CHOOSES))


@jit
def _bit(condition, bit):
    return np.uint8(bit) if condition else np.uint8(0)


@jit
def copy_row(source, target):
    """Copy a row to the beginning of another (an assignment of slices would first look for overlap)."""
    for x in range(source.size):
        target[x] = source[x]


@jit
def hash_row(row, index, axis, mask):
    """Fill an int32 row with the location hashes (28 bits at most) of the voxels from `index` on."""
    for x in range(row.size):
        row[x] = location_hash(index + x, axis, mask)


@jit
def break_ties(choices, lower_z, lower_y, lower_x, upper_x, upper_y, upper_z):
    """Keep of each tie the candidate whose hash is greatest, and the last of those.

    Every voxel's bits are dealt with as if it had a tie; those with one bit keep it.
    """
    for x in range(choices.size):
        choice = np.int32(choices[x])
        best = np.int32(8 * lower_z[x]) if choice & LOWER_Z else np.int32(-1)
        best = max(best, np.int32(8 * lower_y[x] + 1) if choice & LOWER_Y else np.int32(-1))
        best = max(best, np.int32(8 * lower_x[x] + 2) if choice & LOWER_X else np.int32(-1))
        best = max(best, np.int32(8 * upper_x[x] + 3) if choice & UPPER_X else np.int32(-1))
        best = max(best, np.int32(8 * upper_y[x] + 4) if choice & UPPER_Y else np.int32(-1))
        best = max(best, np.int32(8 * upper_z[x] + 5) if choice & UPPER_Z else np.int32(-1))
        chosen = (np.int32(1) << (best & np.int32(7))) | (choice & CHOOSES)
        choices[x] = chosen if choice & TIE else choice


@jit
def break_few_ties(choices, flags, words, where, index, offsets, axes, mask):
    """Break ties as `break_ties` does, voxel by voxel.

    Bit `k` of a choice stands for the hash of (`index` + x + `offsets[k]`, `axes[k]`); `flags` and `words` are those
    of `row_of_flags`, `where` is room for a row of positions.
    """
    for x in range(choices.size):
        flags[x] = choices[x] >> 7
    for k in range(positions_of(words, where)):
        voxel = np.uint64(where[k])
        choice = np.int64(choices[voxel])
        candidates, best = np.uint64(choice & (CHOOSES - 1)), np.int64(-1)
        while candidates != 0:
            bit = trailing_zeros(candidates)
            best = max(best, 8 * location_hash(index + np.int64(voxel) + offsets[bit], axes[bit], mask) + bit)
            candidates &= candidates - np.uint64(1)
        choices[voxel] = (1 << (best & 7)) | (choice & CHOOSES)


@jit
def link_row(links, choices, left, below_y, below_z):
    """Join a row's choices with those of its lower x, y and z neighbours: bits of `links.label_links`."""
    for x in range(links.size):
        choice = choices[x]
        links[x] = (
            (choice & (LOWER_Z | LOWER_Y | LOWER_X))
            | ((choice & CHOOSES) >> 3)
            | ((below_z[x] & UPPER_Z) >> 5)
            | ((below_y[x] & UPPER_Y) >> 3)
            | ((left[x] & UPPER_X) >> 1)
        )
