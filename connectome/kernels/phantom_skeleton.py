"""Skeletons of synthetic neurites: which tubes come near a box, as a pure function of place and seed.

Neurites run along the rods of a cubic rod packing (three families of straight lines that never meet),
and the whole packing is rotated and bent by a smooth displacement. Bending keeps apart what was apart,
so neurites run for ever, in all directions, without crossing. A rod is one thick dendrite, a trunk with
a ring of thin axons, or a bundle of thin axons; dendrites send branches into lanes of the rods that
they pass. Who owns a lane is decided within a bounded stretch of it, so that ids need no search.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from connectome.kernels.jit import jit
from connectome.kernels.phantom_noise import as_seed, fade, hash4, mix, noise_along, uniform

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Ids = npt.NDArray[np.uint64]
Kinds = npt.NDArray[np.int8]

NEURITE, MITOCHONDRION = 0, 1
REACH_NM = 1000.0
"""A skeleton farther away than this from a voxel has no say in it."""

PERIOD_NM = 1300.0
NODES = 8  # skeleton nodes per period of a rod; crossings with other rods fall on nodes
BEND_NM = (1200.0, 5000.0, 230.0, 1600.0)  # amplitude and pitch of two octaves
DENDRITE, TRUNK, BUNDLE = 0, 1, 2
TURN = 256
COSINE = np.round(np.cos(np.arange(TURN) * (2 * np.pi / TURN)), 6)
SINE = np.round(np.sin(np.arange(TURN) * (2 * np.pi / TURN)), 6)


@jit
def _bend(seed: np.uint64, z: float, y: float, x: float, pitch: float, amplitude: float, out: Floats) -> None:
    """Add one octave of displacement at a place of the unbent packing to `out` (z, y, x)."""
    iz, iy, ix = math.floor(z / pitch), math.floor(y / pitch), math.floor(x / pitch)
    fz, fy, fx = fade(z / pitch - iz), fade(y / pitch - iy), fade(x / pitch - ix)
    for corner in range(8):
        dz, dy, dx = corner >> 2, corner >> 1 & 1, corner & 1
        weight = (fz if dz else 1.0 - fz) * (fy if dy else 1.0 - fy) * (fx if dx else 1.0 - fx) * amplitude
        bits = hash4(seed, int(pitch), int(iz) + dz, int(iy) + dy, int(ix) + dx)
        for axis in range(3):
            part = (np.uint64(bits) >> np.uint64(21 * axis)) & np.uint64(0x1FFFFF)
            out[axis] += weight * (float(part) * (2.0 / 2097152.0) - 1.0)


@jit
def _rod_kind(rod: np.uint64) -> int:
    chance = uniform(mix(rod + np.uint64(1)))
    if chance < 0.30:
        return DENDRITE
    return TRUNK if chance < 0.55 else BUNDLE


@jit
def _n_lanes(rod: np.uint64) -> int:
    chance = uniform(mix(rod + np.uint64(2)))
    kind = _rod_kind(rod)
    if kind == DENDRITE:
        return 1
    return 6 + int(chance * 3.0) if kind == TRUNK else 8 + int(chance * 12.0)


@jit
def _lane_offset(rod: np.uint64, lane: int, place: float, out: Floats) -> None:
    """Give a lane's distance from its rod's axis, in nm, along the two axes across the rod."""
    n_lanes, kind = _n_lanes(rod), _rod_kind(rod)
    first = int(np.uint64(rod) & np.uint64(TURN - 1))
    if kind == BUNDLE:
        radius, angle = 275.0 * math.sqrt((lane + 0.5) / n_lanes), (lane * 98 + first) % TURN
    elif lane == 0:
        radius, angle = 0.0, 0
    else:
        radius, angle = 255.0, ((lane - 1) * TURN // (n_lanes - 1) + first) % TURN
    tangent = 0.8 * noise_along(rod, 11, place / (3.1 * NODES))  # of half the angle of the bundle's twist
    cosine = (1.0 - tangent * tangent) / (1.0 + tangent * tangent)
    sine = 2.0 * tangent / (1.0 + tangent * tangent)
    u, v = radius * COSINE[angle], radius * SINE[angle]
    shake = 14.0 if kind == BUNDLE else 22.0
    out[0] = u * cosine - v * sine + shake * noise_along(rod, 20 + lane, place / 3.3)
    out[1] = u * sine + v * cosine + shake * noise_along(rod, 50 + lane, place / 3.7)


@jit
def _lane_radius(rod: np.uint64, lane: int, place: float) -> float:
    """Give the weight of a lane, in nm: the thickness it would have in free space."""
    chance = uniform(hash4(rod, 3, lane, 0, 0))
    swell = noise_along(rod, 80 + lane, place / 4.3)
    kind = _rod_kind(rod)
    if kind == DENDRITE:
        return (200.0 + 90.0 * chance) * (1.0 + 0.25 * swell)
    if kind == TRUNK and lane == 0:
        return (90.0 + 80.0 * chance) * (1.0 + 0.3 * swell)
    bouton = max(0.0, noise_along(rod, 110 + lane, place / 5.0) - 0.35) * 60.0
    return (30.0 + 45.0 * chance) * (1.0 + 0.35 * swell) + bouton


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
    _lane_offset(rod, lane, float(node), across)
    unbent = np.empty(3)
    unbent[axis] = PERIOD_NM * node / NODES
    unbent[(axis + 1) % 3] = PERIOD_NM * (i + 0.5) + across[0]
    unbent[(axis + 2) % 3] = PERIOD_NM * j + across[1]
    bent = unbent.copy()
    _bend(seed, unbent[0], unbent[1], unbent[2], BEND_NM[1], BEND_NM[0], bent)
    _bend(seed, unbent[0], unbent[1], unbent[2], BEND_NM[3], BEND_NM[2], bent)
    for k in range(3):
        out[k] = rotation[k, 0] * bent[0] + rotation[k, 1] * bent[1] + rotation[k, 2] * bent[2]
    out[3] = _lane_radius(rod, lane, float(node))


@jit
def _crossing(axis: int, i: int, j: int, node: int, side: int) -> tuple[int, int, int]:
    """Name the rod (axis, i, j) that passes a rod at a node, half a period away on one side."""
    half = NODES // 2
    if node % NODES == 0:
        return (axis + 1) % 3, j - 1 + side, node // NODES
    return (axis + 2) % 3, (node - half) // NODES, i + side


@jit
def _faces(
    rod: np.uint64, lane: int, node: int, axis_of_other: int, axis: int, side: int, across: Floats
) -> bool:
    """Tell whether `lane` is the lane of its rod that is nearest to the other rod at a crossing."""
    k = 0 if axis_of_other == (axis + 2) % 3 else 1
    best, found = -1e9, -1
    for other in range(_n_lanes(rod)):
        _lane_offset(rod, other, float(node), across)
        toward = across[k] if side == 1 else -across[k]
        if toward > best:
            best, found = toward, other
    return found == lane


@jit
def _is_branch_lane(rod: np.uint64, lane: int) -> bool:
    return _rod_kind(rod) != DENDRITE and lane > 0 and uniform(hash4(rod, 4, lane, 0, 0)) < 0.6


@jit
def _piece_start(rod: np.uint64, lane: int, piece: int) -> int:
    """Return the node at which a piece of a branch lane starts: one to three periods from the next."""
    return 2 * NODES * piece + int(uniform(hash4(rod, 5, lane, piece, 0)) * NODES)


@jit
def _dendrite_beside(
    seed: np.uint64,
    axis: int,
    i: int,
    j: int,
    rod: np.uint64,
    lane: int,
    first: int,
    last: int,
    across: Floats,
) -> tuple[int, int]:
    """Find the dendrite that branches into nodes first..last of a lane: (node, side), or (0, -1)."""
    best, place, on_side = 0.7, 0, -1
    half = NODES // 2
    for node in range(-(-(first + 1) // half) * half, last, half):
        for side in range(2):
            other_axis, other_i, other_j = _crossing(axis, i, j, node, side)
            other = hash4(seed, 100 + other_axis, other_i, other_j, 0)
            chance = uniform(hash4(rod, 6, node, side, 0))
            if (
                chance < best
                and _rod_kind(other) == DENDRITE
                and _faces(rod, lane, node, other_axis, axis, side, across)
            ):
                best, place, on_side = chance, node, side
    return place, on_side


@jit
def _mitochondrion(rod: np.uint64, lane: int, node: int) -> bool:
    """Tell whether a mitochondrion lies along the segment that starts at `node`."""
    stretch = node // NODES
    chance = uniform(hash4(rod, 9, lane, stretch, 0))
    kind = _rod_kind(rod)
    wanted = 0.8 if kind == DENDRITE or (lane == 0 and kind == TRUNK) else 0.22
    start = int(uniform(hash4(rod, 10, lane, stretch, 0)) * 3.0)
    length = 2 + int(uniform(hash4(rod, 12, lane, stretch, 0)) * 5.0)
    return chance < wanted and start <= node - NODES * stretch < start + length


@jit
def _is_near(ends: Floats, low: Floats, high: Floats) -> bool:
    for k in range(3):
        least, most = min(ends[0, k], ends[1, k]), max(ends[0, k], ends[1, k])
        if most < low[k] - REACH_NM or least > high[k] + REACH_NM:
            return False
    return True


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
    is_branch_lane = _is_branch_lane(rod, lane)
    identity = hash4(rod, 7, lane, 0, 0)
    piece_end = first
    _node(seed, rotation, axis, i, j, rod, lane, first, ends[1], across)
    for node in range(first, last):
        ends[0] = ends[1]
        _node(seed, rotation, axis, i, j, rod, lane, node + 1, ends[1], across)
        if is_branch_lane:
            piece = node // (2 * NODES)
            if node < _piece_start(rod, lane, piece):
                piece -= 1
            piece_end = _piece_start(rod, lane, piece + 1)
            if node + 1 == piece_end:
                continue  # two neurites end here, tip to tip
            start = _piece_start(rod, lane, piece)
            place, side = _dendrite_beside(seed, axis, i, j, rod, lane, start, piece_end, across)
            identity = hash4(rod, 8, lane, piece, 0)
            if side >= 0:
                other_axis, other_i, other_j = _crossing(axis, i, j, place, side)
                other = hash4(seed, 100 + other_axis, other_i, other_j, 0)
                identity = hash4(other, 7, 0, 0, 0)
                if node == place:
                    there = NODES * i + NODES // 2 if other_axis == (axis + 1) % 3 else NODES * j
                    inner[0] = ends[0]
                    _node(seed, rotation, other_axis, other_i, other_j, other, 0, there, inner[1], across)
                    inner[1, 3] = inner[0, 3]
                    if _is_near(inner, low, high):
                        owner = (identity >> np.uint64(2)) + np.uint64(1)
                        n = _write(segments, owners, kinds, n, inner, owner, NEURITE)
        if _is_near(ends, low, high):
            owner = (identity >> np.uint64(2)) + np.uint64(1)
            n = _write(segments, owners, kinds, n, ends, owner, NEURITE)
            if _mitochondrion(rod, lane, node):
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
                for lane in range(_n_lanes(rod)):
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
    O(volume of the box grown by some 2.5 um). The rods are those of the A15 (beta-tungsten) packing;
    see O'Keeffe and Andersson, Acta Cryst. A33 (1977) 914.
    """
    bits = as_seed(seed)
    rotation = seed_rotation(bits)
    margin = REACH_NM + math.sqrt(3.0) * (BEND_NM[0] + BEND_NM[2])
    corners = np.array([[(low_nm, high_nm)[n >> k & 1][k] for k in range(3)] for n in range(8)])
    unbent = corners @ rotation  # the transpose undoes the rotation
    slack = PERIOD_NM * 0.75  # lanes and connectors beside the axis, and the node after the last
    least = np.floor((unbent.min(axis=0) - margin - slack) / PERIOD_NM).astype(np.int64)
    most = np.ceil((unbent.max(axis=0) + margin + slack) / PERIOD_NM).astype(np.int64) + 1
    capacity = 4096
    while True:
        segments, owners = np.empty((capacity, 8)), np.empty(capacity, np.uint64)
        kinds = np.empty(capacity, np.int8)
        n = _all_segments(low_nm, high_nm, bits, rotation, least, most, segments, owners, kinds)
        if n <= capacity:
            return segments[:n], owners[:n], kinds[:n]
        capacity = n
