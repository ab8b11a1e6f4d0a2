"""The rod packing under synthetic neurites: kinds of rods, their lanes, and who owns a lane.

Three families of straight rods fill space without ever meeting: the A15 (beta-tungsten) packing of
O'Keeffe and Andersson, Acta Cryst. A33 (1977) 914. A rod (axis, i, j) runs along `axis` at (i + 1/2, j)
periods on the next two axes. It is one thick dendrite, a trunk with a ring of thin axons, or a bundle of
thin axons; each of its neurites keeps to a lane. Dendrites send branches into lanes of the rods that
they pass. Who owns a lane is decided within a bounded stretch of it, so that ids need no search.
"""

from __future__ import annotations

import math

import numpy as np

from connectome.kernels.jit import jit
from connectome.kernels.phantom_noise import Floats, hash4, mix, noise_along, uniform

PERIOD_NM = 1300.0
NODES = 8  # skeleton nodes per period of a rod; crossings with other rods fall on nodes
OFFSET_NM = 310.0  # no lane is farther from its rod's axis
DENDRITE, TRUNK, BUNDLE = 0, 1, 2
TURN = 256
COSINE = np.round(np.cos(np.arange(TURN) * (2 * np.pi / TURN)), 6)
SINE = np.round(np.sin(np.arange(TURN) * (2 * np.pi / TURN)), 6)


@jit
def rod_kind(rod: np.uint64) -> int:
    """Return `DENDRITE`, `TRUNK` or `BUNDLE`."""
    chance = uniform(mix(rod + np.uint64(1)))
    if chance < 0.30:
        return DENDRITE
    return TRUNK if chance < 0.55 else BUNDLE


@jit
def count_lanes(rod: np.uint64) -> int:
    """Return the number of lanes of a rod."""
    chance = uniform(mix(rod + np.uint64(2)))
    kind = rod_kind(rod)
    if kind == DENDRITE:
        return 1
    return 6 + int(chance * 3.0) if kind == TRUNK else 8 + int(chance * 12.0)


@jit
def lane_offset(rod: np.uint64, lane: int, place: float, out: Floats) -> None:
    """Give a lane's distance from its rod's axis, in nm, along the two axes across the rod."""
    n_lanes, kind = count_lanes(rod), rod_kind(rod)
    first = int(rod & np.uint64(TURN - 1))
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
def lane_radius(rod: np.uint64, lane: int, place: float) -> float:
    """Give the weight of a lane, in nm: the thickness it would have in free space."""
    chance = uniform(hash4(rod, 3, lane, 0, 0))
    swell = noise_along(rod, 80 + lane, place / 4.3)
    kind = rod_kind(rod)
    if kind == DENDRITE:
        return (200.0 + 90.0 * chance) * (1.0 + 0.25 * swell)
    if kind == TRUNK and lane == 0:
        return (90.0 + 80.0 * chance) * (1.0 + 0.3 * swell)
    bouton = max(0.0, noise_along(rod, 110 + lane, place / 5.0) - 0.35) * 60.0
    return (30.0 + 45.0 * chance) * (1.0 + 0.35 * swell) + bouton


@jit
def crossing(axis: int, i: int, j: int, node: int, side: int) -> tuple[int, int, int]:
    """Name the rod (axis, i, j) that passes a rod at a node, half a period away on one side."""
    half = NODES // 2
    if node % NODES == 0:
        return (axis + 1) % 3, j - 1 + side, node // NODES
    return (axis + 2) % 3, (node - half) // NODES, i + side


@jit
def faces(rod: np.uint64, lane: int, node: int, axis_of_other: int, axis: int, side: int, across: Floats) -> bool:
    """Tell whether `lane` is the lane of its rod that is nearest to the other rod at a crossing."""
    k = 0 if axis_of_other == (axis + 2) % 3 else 1
    best, found = -1e9, -1
    for other in range(count_lanes(rod)):
        lane_offset(rod, other, float(node), across)
        toward = across[k] if side == 1 else -across[k]
        if toward > best:
            best, found = toward, other
    return found == lane


@jit
def is_branch_lane(rod: np.uint64, lane: int) -> bool:
    """Tell whether a lane is cut into pieces that dendrites may branch into."""
    return rod_kind(rod) != DENDRITE and lane > 0 and uniform(hash4(rod, 4, lane, 0, 0)) < 0.6


@jit
def piece_start(rod: np.uint64, lane: int, piece: int) -> int:
    """Return the node at which a piece of a branch lane starts: one to three periods from the next."""
    return 2 * NODES * piece + int(uniform(hash4(rod, 5, lane, piece, 0)) * NODES)


@jit
def piece_at(rod: np.uint64, lane: int, node: int) -> int:
    """Return the piece of a branch lane that holds a node."""
    piece = node // (2 * NODES)
    return piece if node >= piece_start(rod, lane, piece) else piece - 1


@jit
def dendrite_beside(
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
    for node in range(-(-(first + 1) // half) * half, last - 1, half):
        for side in range(2):
            other_axis, other_i, other_j = crossing(axis, i, j, node, side)
            other = hash4(seed, 100 + other_axis, other_i, other_j, 0)
            chance = uniform(hash4(rod, 6, node, side, 0))
            if chance < best and rod_kind(other) == DENDRITE and faces(rod, lane, node, other_axis, axis, side, across):
                best, place, on_side = chance, node, side
    return place, on_side


@jit
def mitochondrion(rod: np.uint64, lane: int, node: int) -> bool:
    """Tell whether a mitochondrion lies along the segment that starts at `node`."""
    stretch = node // NODES
    chance = uniform(hash4(rod, 9, lane, stretch, 0))
    kind = rod_kind(rod)
    wanted = 0.8 if kind == DENDRITE or (lane == 0 and kind == TRUNK) else 0.22
    start = int(uniform(hash4(rod, 10, lane, stretch, 0)) * 3.0)
    length = 2 + int(uniform(hash4(rod, 12, lane, stretch, 0)) * 5.0)
    return chance < wanted and start <= node - NODES * stretch < start + length


@jit
def cell(rod: np.uint64, kind: int, lane: int, piece: int) -> np.uint64:
    """Give a cell its id, in [1, 2^62]."""
    return (hash4(rod, kind, lane, piece, 0) >> np.uint64(2)) + np.uint64(1)
