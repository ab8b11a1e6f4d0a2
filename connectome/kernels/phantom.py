"""Voxels of synthetic tissue: who owns each voxel, and how far the next cell and the organelles are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from connectome.kernels.jit import jit
from connectome.kernels.phantom_noise import Floats, Ids, Indices, Kinds, Volume
from connectome.kernels.phantom_skeleton import NEURITE, REACH_NM

TILE_NM = 80.0
"""Voxels share a list of candidate segments in tiles of about this size; no result depends on it."""
GROUP = 4  # tiles per side of a group, whose own list is culled once for all of them
FAR_NM = 1e9
FARTHEST_MARGIN_NM = 1000.0
FARTHEST_DEPTH_NM = 200.0


@jit
def _distance(p: Floats, segments: Floats, n: int) -> tuple[float, float, float, float, float]:
    """Return the square of the distance, the place along the segment (0 to 1) and the offset's parts."""
    dz, dy, dx = (
        segments[n, 4] - segments[n, 0],
        segments[n, 5] - segments[n, 1],
        segments[n, 6] - segments[n, 2],
    )
    rz, ry, rx = p[0] - segments[n, 0], p[1] - segments[n, 1], p[2] - segments[n, 2]
    length2 = dz * dz + dy * dy + dx * dx
    t = 0.0
    if length2 > 0.0:
        t = min(1.0, max(0.0, (rz * dz + ry * dy + rx * dx) / length2))
    rz -= t * dz
    ry -= t * dy
    rx -= t * dx
    return rz * rz + ry * ry + rx * rx, t, rz, ry, rx


@jit
def _cull(
    center: Floats,
    reach: float,
    segments: Floats,
    owners: Ids,
    kinds: Kinds,
    slopes: Floats,
    candidates: Indices,
    n_candidates: int,
    out: Indices,
) -> int:
    """Keep the segments that can come first or second, or be inside, within `reach` nm of `center`."""
    first, second, owner = FAR_NM, FAR_NM, np.uint64(0)
    for q in range(n_candidates):
        n = candidates[q]
        if kinds[n] == NEURITE:
            d2, t, _, _, _ = _distance(center, segments, n)
            d = math.sqrt(d2)
            if d + reach > REACH_NM:
                continue
            bound = d - segments[n, 3] - t * (segments[n, 7] - segments[n, 3]) + slopes[n] * reach
            if owners[n] == owner:
                first = min(first, bound)
            elif bound < first:
                first, second, owner = bound, first, owners[n]
            else:
                second = min(second, bound)
    kept = 0
    for q in range(n_candidates):
        n = candidates[q]
        d2, t, _, _, _ = _distance(center, segments, n)
        least = math.sqrt(d2) - segments[n, 3] - t * (segments[n, 7] - segments[n, 3]) - slopes[n] * reach
        if least <= (second if kinds[n] == NEURITE else FARTHEST_DEPTH_NM):
            out[kept] = n
            kept += 1
    return kept


@jit
def _own_voxel(
    p: Floats,
    spacing: Floats,
    segments: Floats,
    owners: Ids,
    kinds: Kinds,
    candidates: Indices,
    n_candidates: int,
) -> tuple[np.uint64, float, float, float]:
    """Return owner, distance to the interface, smear of the interface, and depth of mitochondria."""
    f1 = f2 = FAR_NM
    o1 = np.uint64(0)
    z1 = y1 = x1 = z2 = y2 = x2 = 0.0
    for q in range(n_candidates):
        n = candidates[q]
        if kinds[n] != NEURITE:
            continue
        d2, t, z, y, x = _distance(p, segments, n)
        if d2 > REACH_NM * REACH_NM:
            continue
        d = math.sqrt(d2)
        f = d - segments[n, 3] - t * (segments[n, 7] - segments[n, 3])
        if f >= f2:
            continue
        scale = 1.0 / d if d > 0.0 else 0.0
        z, y, x = z * scale, y * scale, x * scale
        if owners[n] == o1:
            if f < f1:
                f1, z1, y1, x1 = f, z, y, x
        elif f < f1:
            f2, z2, y2, x2 = f1, z1, y1, x1
            f1, o1, z1, y1, x1 = f, owners[n], z, y, x
        else:
            f2, z2, y2, x2 = f, z, y, x
    dz, dy, dx = z1 - z2, y1 - y2, x1 - x2
    steep = math.sqrt(dz * dz + dy * dy + dx * dx)
    margin = min(FARTHEST_MARGIN_NM, (f2 - f1) / max(steep, 0.4))
    sz, sy, sx = dz * spacing[0], dy * spacing[1], dx * spacing[2]
    smear = math.sqrt(sz * sz + sy * sy + sx * sx) / max(steep, 0.4)
    depth = FARTHEST_DEPTH_NM
    for q in range(n_candidates):
        n = candidates[q]
        if kinds[n] != NEURITE and owners[n] == o1:
            d2, t, _, _, _ = _distance(p, segments, n)
            depth = min(depth, math.sqrt(d2) - segments[n, 3])
    return o1, margin, smear, max(depth, 40.0 - margin)


@jit
def _ball(start: Indices, spacing: Floats, wobble: Volume, low: Indices, high: Indices, center: Floats) -> float:
    """Put the middle of the wobbled places of voxels low..high into `center`; returns the radius."""
    reach = 0.0
    for k in range(3):
        least, most = wobble[k, low[0], low[1], low[2]], wobble[k, low[0], low[1], low[2]]
        for z in range(low[0], high[0]):
            for y in range(low[1], high[1]):
                for x in range(low[2], high[2]):
                    least, most = min(least, wobble[k, z, y, x]), max(most, wobble[k, z, y, x])
        a = (start[k] + low[k] + 0.5) * spacing[k] + least
        b = (start[k] + high[k] - 0.5) * spacing[k] + most
        center[k] = 0.5 * (a + b)
        reach += 0.25 * (b - a) * (b - a)
    return math.sqrt(reach) + 0.01  # more than all rounding


@jit
def _own_tile(
    start: Indices,
    spacing: Floats,
    wobble: Volume,
    low: Indices,
    high: Indices,
    segments: Floats,
    owners: Ids,
    kinds: Kinds,
    candidates: Indices,
    n_candidates: int,
    truth: Ids,
    margin: Volume,
    smear: Volume,
    depth: Volume,
) -> None:
    p = np.empty(3)
    for z in range(low[0], high[0]):
        for y in range(low[1], high[1]):
            for x in range(low[2], high[2]):
                p[0] = (start[0] + z + 0.5) * spacing[0] + wobble[0, z, y, x]
                p[1] = (start[1] + y + 0.5) * spacing[1] + wobble[1, z, y, x]
                p[2] = (start[2] + x + 0.5) * spacing[2] + wobble[2, z, y, x]
                owner, m, s, d = _own_voxel(p, spacing, segments, owners, kinds, candidates, n_candidates)
                truth[z, y, x] = owner
                margin[z, y, x] = m
                smear[z, y, x] = s
                depth[z, y, x] = d


@jit
def _own(
    start: Indices,
    spacing: Floats,
    tile: Indices,
    wobble: Volume,
    segments: Floats,
    owners: Ids,
    kinds: Kinds,
    slopes: Floats,
    truth: Ids,
    margin: Volume,
    smear: Volume,
    depth: Volume,
) -> None:
    everything = np.arange(owners.shape[0])
    coarse, fine = np.empty(owners.shape[0], np.int64), np.empty(owners.shape[0], np.int64)
    center, shape = np.empty(3), np.array(truth.shape)
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    groups = -(-shape // (GROUP * tile))
    for group in range(groups[0] * groups[1] * groups[2]):
        corner = np.array([group // (groups[1] * groups[2]), group // groups[2] % groups[1], group % groups[2]])
        corner *= GROUP * tile
        high[:] = np.minimum(shape, corner + GROUP * tile)
        reach = _ball(start, spacing, wobble, corner, high, center)
        n_coarse = _cull(
            center, reach, segments, owners, kinds, slopes, everything, owners.shape[0], coarse
        )  # fmt: skip
        for number in range(GROUP**3):
            low[0] = corner[0] + number // (GROUP * GROUP) * tile[0]
            low[1] = corner[1] + number // GROUP % GROUP * tile[1]
            low[2] = corner[2] + number % GROUP * tile[2]
            high[:] = np.minimum(shape, low + tile)
            if np.any(high <= low):
                continue
            reach = _ball(start, spacing, wobble, low, high, center)
            n_fine = _cull(center, reach, segments, owners, kinds, slopes, coarse, n_coarse, fine)
            _own_tile(
                start, spacing, wobble, low, high, segments, owners, kinds, fine, n_fine,
                truth, margin, smear, depth,
            )  # fmt: skip


def own_voxels(
    start: Sequence[int],
    voxel_size_nm: Sequence[float],
    wobble: Volume,
    segments: Floats,
    owners: Ids,
    kinds: Kinds,
) -> tuple[Ids, Volume, Volume, Volume]:
    """Give every voxel to the cell whose skeleton, less its radius, is nearest.

    Parameters
    ----------
    start
        Global coordinates of the first voxel, zyx.
    voxel_size_nm
        Voxel size, zyx.
    wobble
        (3, z, y, x) float32: by how many nm to shift a voxel before measuring, which makes walls uneven.
    segments, owners, kinds
        From `neurite_segments`, for a box that holds all shifted voxels.

    Returns
    -------
    truth
        uint64 (z, y, x): owner; 0 only where no skeleton is within `REACH_NM`.
    margin
        float32 nm: distance to the interface with the next cell.
    smear
        float32 nm: how far a voxel reaches across that interface.
    depth
        float32 nm: distance to the surface of a mitochondrion, negative inside.

    Notes
    -----
    An additively weighted Voronoi diagram of line segments. O(voxels x segments near a tile): a segment is
    skipped only where it provably is neither first nor second. Ties go to the earlier segment.
    """
    if wobble.ndim != 4 or wobble.shape[0] != 3:
        raise ValueError(f"wobble has shape {wobble.shape}; wanted (3, z, y, x)")
    shape = wobble.shape[1:]
    truth = np.zeros(shape, np.uint64)
    margin, smear, depth = (np.empty(shape, np.float32) for _ in range(3))
    if truth.size:
        spacing = np.array(voxel_size_nm, np.float64)
        tile = np.maximum(1, np.round(TILE_NM / spacing)).astype(np.int64)
        length = np.sqrt(((segments[:, 4:7] - segments[:, :3]) ** 2).sum(axis=1))
        # `distance - radius` changes at most this fast: the radius grows along the axis, across the distance
        slopes = np.sqrt(1.0 + ((segments[:, 7] - segments[:, 3]) / np.maximum(length, 1e-6)) ** 2) + 1e-9
        corner = np.array(start, np.int64)
        wobble = np.ascontiguousarray(wobble)
        _own(corner, spacing, tile, wobble, segments, owners, kinds, slopes, truth, margin, smear, depth)
    return truth, margin, smear, depth
