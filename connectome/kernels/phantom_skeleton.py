"""Skeletons of synthetic neurites: which segments come near a box, as a pure function of place and seed.

The rod packing of `phantom_rods` is rotated, and bent by a smooth displacement. Bending keeps apart what
was apart, so neurites run for ever, in all directions, without crossing.
"""

from __future__ import annotations

import math

import numpy as np

from connectome.kernels.jit import jit
from connectome.kernels.phantom_noise import Floats, Ids, Indices, Kinds, as_seed, fade, hash4, uniform
from connectome.kernels.phantom_rods import (
    NODES,
    OFFSET_NM,
    PERIOD_NM,
    cell,
    count_lanes,
    crossing,
    dendrite_beside,
    is_branch_lane,
    lane_offset,
    lane_radius,
    mitochondrion,
    piece_at,
    piece_start,
)

NEURITE, MITOCHONDRION = 0, 1
REACH_NM = 1000.0
"""A skeleton farther away than this from a voxel has no say in it."""
LONGEST_NM = 1300.0
"""Segments that bending stretches beyond this are left out: so is it bounded what can reach a box."""
BEND_NM = (1200.0, 5000.0, 230.0, 1600.0)  # amplitude and pitch of two octaves


@jit
def _bend(seed: np.uint64, z: float, y: float, x: float, pitch: float, amplitude: float, out: Floats) -> None:
    """Add one octave of displacement at a place of the unbent packing to `out` (z, y, x)."""
    iz, iy, ix = math.floor(z / pitch), math.floor(y / pitch), math.floor(x / pitch)
    fz, fy, fx = fade(z / pitch - iz), fade(y / pitch - iy), fade(x / pitch - ix)
    for corner in range(8):
        dz, dy, dx = corner >> 2, corner >> 1 & 1, corner & 1
        weight = (fz if dz else 1.0 - fz) * (fy if dy else 1.0 - fy) * (fx if dx else 1.0 - fx) * amplitude
        bits = hash4(seed, int(pitch), iz + dz, iy + dy, ix + dx)
        for axis in range(3):
            part = (bits >> np.uint64(21 * axis)) & np.uint64(0x1FFFFF)
            out[axis] += weight * (float(part) * (2.0 / 2097152.0) - 1.0)


@jit
def _node(
    seed: np.uint64,
    rotation: Floats,
    axis: int,
    i: int,
    j: int,
    rod: np.uint64,
    lane: int,
    node: int,
    out: Floats,
    across: Floats,
) -> None:
    """Place one skeleton node: z, y, x in nm and the radius."""
    lane_offset(rod, lane, float(node), across)
    unbent = np.empty(3)
    unbent[axis] = PERIOD_NM * node / NODES
    unbent[(axis + 1) % 3] = PERIOD_NM * (i + 0.5) + across[0]
    unbent[(axis + 2) % 3] = PERIOD_NM * j + across[1]
    bent = unbent.copy()
    _bend(seed, unbent[0], unbent[1], unbent[2], BEND_NM[1], BEND_NM[0], bent)
    _bend(seed, unbent[0], unbent[1], unbent[2], BEND_NM[3], BEND_NM[2], bent)
    for k in range(3):
        out[k] = rotation[k, 0] * bent[0] + rotation[k, 1] * bent[1] + rotation[k, 2] * bent[2]
    out[3] = lane_radius(rod, lane, float(node))


@jit
def _is_near(ends: Floats, low: Floats, high: Floats) -> bool:
    """Tell whether a segment can matter to a box; its bounding box stands for it."""
    length2 = 0.0
    for k in range(3):
        least, most = min(ends[0, k], ends[1, k]), max(ends[0, k], ends[1, k])
        if most < low[k] - REACH_NM or least > high[k] + REACH_NM:
            return False
        length2 += (most - least) * (most - least)
    return length2 <= LONGEST_NM * LONGEST_NM


@jit
def _write(
    segments: Floats,
    owners: Ids,
    kinds: Kinds,
    n: int,
    ends: Floats,
    owner: np.uint64,
    kind: int,
) -> int:
    if n < owners.shape[0]:
        segments[n, :4] = ends[0]
        segments[n, 4:] = ends[1]
        owners[n] = owner
        kinds[n] = kind
    return n + 1


@jit
def _connector(
    seed: np.uint64,
    rotation: Floats,
    axis: int,
    i: int,
    j: int,
    node: int,
    side: int,
    end: Floats,
    out: Floats,
    across: Floats,
) -> None:
    """Join a lane's node, whose place is `end`, to the dendrite that passes on one side of its rod."""
    other_axis, other_i, other_j = crossing(axis, i, j, node, side)
    other = hash4(seed, 100 + other_axis, other_i, other_j, 0)
    there = NODES * i + NODES // 2 if other_axis == (axis + 1) % 3 else NODES * j
    out[0] = end
    _node(seed, rotation, other_axis, other_i, other_j, other, 0, there, out[1], across)
    out[1, 3] = end[3]


@jit
def _lane_segments(
    low: Floats,
    high: Floats,
    seed: np.uint64,
    rotation: Floats,
    axis: int,
    i: int,
    j: int,
    rod: np.uint64,
    lane: int,
    first: int,
    last: int,
    segments: Floats,
    owners: Ids,
    kinds: Kinds,
    n: int,
) -> int:
    """Write the segments of one lane between two nodes; returns the number of rows so far."""
    ends, inner, across = np.empty((2, 4)), np.empty((2, 4)), np.empty(2)
    is_shared = is_branch_lane(rod, lane)
    owner = cell(rod, 7, lane, 0)
    piece_end, place, side = first, first - 1, -1
    _node(seed, rotation, axis, i, j, rod, lane, first, ends[1], across)
    for node in range(first, last):
        ends[0] = ends[1]
        _node(seed, rotation, axis, i, j, rod, lane, node + 1, ends[1], across)
        if is_shared:
            if node in (piece_end, first):
                piece = piece_at(rod, lane, node)
                start, piece_end = piece_start(rod, lane, piece), piece_start(rod, lane, piece + 1)
                place, side = dendrite_beside(seed, axis, i, j, rod, lane, start, piece_end, across)
                owner = cell(rod, 8, lane, piece)
                if side >= 0:
                    other_axis, other_i, other_j = crossing(axis, i, j, place, side)
                    owner = cell(hash4(seed, 100 + other_axis, other_i, other_j, 0), 7, 0, 0)
            if node + 1 == piece_end:
                continue  # two neurites end here, tip to tip
            if node == place:
                _connector(seed, rotation, axis, i, j, place, side, ends[0], inner, across)
                if _is_near(inner, low, high):
                    n = _write(segments, owners, kinds, n, inner, owner, NEURITE)
        if _is_near(ends, low, high):
            n = _write(segments, owners, kinds, n, ends, owner, NEURITE)
            if mitochondrion(rod, lane, node):
                inner[:] = ends
                thin = 0.8 * min(ends[0, 3], ends[1, 3])
                for k in range(3):
                    bits = hash4(rod, 13, lane, node // NODES, k)
                    inner[:, k] += (2.0 * uniform(bits) - 1.0) * 0.5 * thin
                inner[:, 3] = min(max(thin, 55.0), 190.0)
                n = _write(segments, owners, kinds, n, inner, owner, MITOCHONDRION)
    return n


@jit
def _all_segments(
    low: Floats,
    high: Floats,
    seed: np.uint64,
    rotation: Floats,
    least: Indices,
    most: Indices,
    segments: Floats,
    owners: Ids,
    kinds: Kinds,
) -> int:
    n = 0
    for axis in range(3):
        b, c = (axis + 1) % 3, (axis + 2) % 3
        for i in range(least[b], most[b]):
            for j in range(least[c], most[c]):
                rod = hash4(seed, 100 + axis, i, j, 0)
                for lane in range(count_lanes(rod)):
                    n = _lane_segments(
                        low, high, seed, rotation, axis, i, j, rod, lane,
                        least[axis] * NODES, most[axis] * NODES, segments, owners, kinds, n,
                    )  # fmt: skip
    return n


@jit
def seed_rotation(seed: np.uint64) -> Floats:
    """Return the rotation matrix (3, 3) that turns the packing of `seed` out of the axes."""
    q = np.empty(4)
    for k in range(4):
        q[k] = 0.25 + 0.5 * uniform(hash4(seed, 14, k, 0, 0))
    q /= math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    out = np.empty((3, 3))
    for k in range(3):
        a, b = (k + 1) % 3, (k + 2) % 3
        out[k, k] = 1.0 - 2.0 * (q[a] * q[a] + q[b] * q[b])
        out[k, a] = 2.0 * (q[k] * q[a] - q[b] * q[3])
        out[a, k] = 2.0 * (q[k] * q[a] + q[b] * q[3])
    return out


def neurite_segments(low_nm: Floats, high_nm: Floats, seed: int) -> tuple[Floats, Ids, Kinds]:
    """Find all skeleton segments that can matter to a box.

    Parameters
    ----------
    low_nm, high_nm
        Corners of the box, zyx, float64 nm.
    seed
        Any integer of 64 bits.

    Returns
    -------
    segments
        (n, 8) float64: z, y, x, radius of one end and of the other, nm, in an order that does not
        depend on the box.
    owners
        (n,) uint64, the cell of each segment, in [1, 2^62].
    kinds
        (n,) int8: `NEURITE` or `MITOCHONDRION`.

    Notes
    -----
    O(volume of the box grown by some 4 um). A segment that matters has a point within `REACH_NM` of the
    box, so its first end is at most `LONGEST_NM` farther, and its lane's axis is where bending and the
    lane's offset can have taken it from.
    """
    bits = as_seed(seed)
    rotation = seed_rotation(bits)
    margin = REACH_NM + LONGEST_NM + BEND_NM[0] + BEND_NM[2] + OFFSET_NM
    corners = np.array([[(low_nm, high_nm)[n >> k & 1][k] for k in range(3)] for n in range(8)])
    unbent = corners @ rotation  # the transpose undoes the rotation
    least = np.floor((unbent.min(axis=0) - margin) / PERIOD_NM).astype(np.int64)
    most = np.ceil((unbent.max(axis=0) + margin) / PERIOD_NM).astype(np.int64) + 1
    capacity = 4096
    while True:
        segments, owners = np.empty((capacity, 8)), np.empty(capacity, np.uint64)
        kinds = np.empty(capacity, np.int8)
        n = _all_segments(low_nm, high_nm, bits, rotation, least, most, segments, owners, kinds)
        if n <= capacity:
            return segments[:n], owners[:n], kinds[:n]
        capacity = n
