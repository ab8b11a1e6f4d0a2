"""Rows of choices: which of its six neighbours each voxel links to.

A choice is a byte per voxel, with a bit for every neighbour that is best: `LOWER_Z`, `LOWER_Y`, `LOWER_X`,
`UPPER_X`, `UPPER_Y`, `UPPER_Z`; `CHOOSES` where there is any choice (the voxel is foreground), and `TIE`
where more than one bit is set and only one may stay. Ties fall by the location hash, then by
position: the bits are in the order of the candidates' positions, and the last of them wins.
All loops run over contiguous rows without branches, so that they become vector instructions.
"""

from __future__ import annotations

import numpy as np

from connectome.kernels.jit import jit
from connectome.kernels.location_noise import location_hash

LOWER_Z, LOWER_Y, LOWER_X, UPPER_X, UPPER_Y, UPPER_Z, CHOOSES, TIE = (1 << bit for bit in range(8))


@jit
def has_ties(choices):
    """Say whether any voxel of a row has a tie to break."""
    either = 0
    for x in range(choices.size):
        either |= choices[x]
    return either & TIE != 0


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
