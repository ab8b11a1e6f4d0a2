"""Fragments of one block from the distance to the nearest boundary, exact whatever the blocks.

Integers only: squared distances with integer voxel sizes, capped, their fixed-point root, then [1 2 1]
sums. Every voxel links to its highest neighbour; neighbours that both sit at the cap link.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Halo, Triple
from connectome.kernels.fragments import Affinities, FaceLinks, Labels, face_links_of, label_links
from connectome.kernels.jit import jit
from connectome.kernels.location_noise import HASH_BITS, hash_mask, location_hash


@dataclass(frozen=True)
class DistanceParameters:
    """What the distance flavour needs to know.

    Attributes
    ----------
    boundary_sum : int
        A voxel with n edges to lower neighbours is boundary if their affinities sum to less than
        ``n / 3`` of this (0-765).
    voxel_size : Triple
        Integer voxel size (z, y, x); distances are in its unit.
    cap : int
        Distances above it count as it.
    n_smoothing : int
        Number of [1 2 1] sums along each axis.
    per_section : bool
        Treat each section (z) by itself: for strongly anisotropic data.
    hash_bits : int
        Width of the location hash that breaks ties.
    """

    boundary_sum: int
    voxel_size: Triple
    cap: int
    n_smoothing: int
    per_section: bool = False
    hash_bits: int = HASH_BITS

    @property
    def halo(self) -> Halo:
        """Affinities needed around a block; one more on the low side, where links over faces are decided."""
        z, y, x = (-(-self.cap // size) + self.n_smoothing for size in self.voxel_size)
        if self.per_section:
            return Halo((0, y + 1, x + 1), (0, y, x))
        return Halo((z + 1, y + 1, x + 1), (z, y, x))


def fragments_by_distance(
    affinities: Affinities, read_box: Box, write_box: Box, domain: Box, parameters: DistanceParameters
) -> tuple[Labels, FaceLinks]:
    """Cut one block into fragments by linking every voxel to the neighbour farthest from a boundary.

    Parameters
    ----------
    affinities : uint8 array, shape (3, z, y, x)
        Affinities of `read_box`, stored at the higher voxel of each pair.
    read_box : Box
        `write_box` grown by `parameters.halo` and cut by the domain.
    write_box, domain : Box
        Where labels are wanted, and the whole volume.
    parameters : DistanceParameters
        Threshold, cap and smoothing.

    Returns
    -------
    labels : uint64 array, shape of `write_box`
    face_links : bool array
        Both as in `fragments_by_affinity`.

    Notes
    -----
    O(voxels x cap / voxel size). 12 bytes per voxel of the read box. Source: exact segmentation
    recipe, section 2, distance flavour.
    """
    heights = distance_heights(affinities, read_box, domain, parameters)
    start_z, start_y, start_x = (max(a - 1, r) for a, r in zip(write_box.start, read_box.start, strict=True))
    core = Box((write_box.start[0] if parameters.per_section else start_z, start_y, start_x), write_box.stop)
    plateau = 16 * parameters.cap << (2 * (2 if parameters.per_section else 3) * parameters.n_smoothing)
    links = _distance_links(
        heights,
        read_box.start,
        core.start,
        core.shape,
        write_box.start,
        write_box.shape,
        domain.start,
        domain.shape,
        plateau,
        1 if parameters.per_section else 0,
        hash_mask(parameters.hash_bits),
    )
    return label_links(links, write_box.start, domain), face_links_of(links)


def distance_heights(
    affinities: Affinities, read_box: Box, domain: Box, parameters: DistanceParameters
) -> npt.NDArray[np.int32]:
    """Return the smoothed distance to the nearest boundary voxel for every voxel of `read_box`.

    Values are right only at least `parameters.halo` (less one voxel) away from those faces of
    `read_box` that are not faces of the domain.
    """
    sections = parameters.per_section
    first_axis = 1 if sections else 0
    lowest = tuple(a == d for a, d in zip(read_box.start, domain.start, strict=True))
    squared: npt.NDArray[np.int32] = _boundary(affinities, parameters.boundary_sum, parameters.cap**2, lowest, first_axis)
    scratch = np.empty_like(squared)
    for axis in range(first_axis, 3):
        size = parameters.voxel_size[axis]
        reach = -(-parameters.cap // size) - 1
        _spread(_lines(squared, axis), _lines(scratch, axis), size, reach)
        squared, scratch = scratch, squared
    _fixed_point_root(squared.ravel())
    for axis in range(first_axis, 3):
        for _ in range(parameters.n_smoothing):
            _binomial(_lines(squared, axis), _lines(scratch, axis))
            squared, scratch = scratch, squared
    return squared


def _lines(array: npt.NDArray[np.int32], axis: int) -> npt.NDArray[np.int32]:
    """View a contiguous array as (outer, along the axis, inner)."""
    shape = array.shape
    outer = int(np.prod(shape[:axis], dtype=np.int64))
    inner = int(np.prod(shape[axis + 1 :], dtype=np.int64))
    return array.reshape(outer, shape[axis], inner)


@jit
def _boundary(affinities, boundary_sum, far, lowest, first_axis):
    """0 at boundary voxels and the squared cap elsewhere; edges that leave the domain do not count."""
    _, nz, ny, nx = affinities.shape
    squared = np.empty((nz, ny, nx), np.int32)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                total, n = 0, 0
                if first_axis == 0 and not (lowest[0] and z == 0):
                    total += affinities[0, z, y, x]
                    n += 1
                if not (lowest[1] and y == 0):
                    total += affinities[1, z, y, x]
                    n += 1
                if not (lowest[2] and x == 0):
                    total += affinities[2, z, y, x]
                    n += 1
                squared[z, y, x] = 0 if 3 * total < n * boundary_sum else far
    return squared


@jit
def _spread(source, target, size, reach):
    """Lower envelope of the parabolas (size * offset)^2 + source within `reach`, along the middle axis."""
    n_outer, n, n_inner = source.shape
    for outer in range(n_outer):
        for i in range(n):
            row = target[outer, i]
            row[:] = source[outer, i]
            for offset in range(1, reach + 1):
                rise = (size * offset) ** 2
                if i >= offset:
                    below = source[outer, i - offset]
                    for k in range(n_inner):
                        row[k] = min(row[k], below[k] + rise)
                if i + offset < n:
                    above = source[outer, i + offset]
                    for k in range(n_inner):
                        row[k] = min(row[k], above[k] + rise)


@jit
def _fixed_point_root(values):
    """Replace v by floor(sqrt(256 v)): distances in sixteenths."""
    for i in range(values.size):
        wanted = np.int64(values[i]) * 256
        root = np.int64(np.sqrt(np.float64(wanted)))
        while root * root > wanted:
            root -= 1
        while (root + 1) * (root + 1) <= wanted:
            root += 1
        values[i] = root


@jit
def _binomial(source, target):
    """[1 2 1] sums along the middle axis; the ends repeat."""
    n_outer, n, n_inner = source.shape
    for outer in range(n_outer):
        for i in range(n):
            below, here, above = (
                source[outer, max(i - 1, 0)],
                source[outer, i],
                source[outer, min(i + 1, n - 1)],
            )
            row = target[outer, i]
            for k in range(n_inner):
                row[k] = below[k] + 2 * here[k] + above[k]


@jit
def _distance_links(
    heights,
    read_start,
    core_start,
    core_shape,
    start,
    shape,
    domain_start,
    domain_shape,
    plateau,
    first_axis,
    mask,
):
    highest = _highest_neighbours(
        heights, read_start, core_start, core_shape, domain_start, domain_shape, first_axis, mask
    )
    links = np.zeros(shape, np.uint8)
    offset = (start[0] - core_start[0], start[1] - core_start[1], start[2] - core_start[2])
    origin = (start[0] - read_start[0], start[1] - read_start[1], start[2] - read_start[2])
    for z in range(shape[0]):
        for y in range(shape[1]):
            for x in range(shape[2]):
                cz, cy, cx = z + offset[0], y + offset[1], x + offset[2]
                here = highest[cz, cy, cx]
                if here == 6:
                    continue
                bits = 8
                at_plateau = heights[z + origin[0], y + origin[1], x + origin[2]] == plateau
                for axis in range(first_axis, 3):
                    step = (1 if axis == 0 else 0, 1 if axis == 1 else 0, 1 if axis == 2 else 0)
                    at = start[0] + z if axis == 0 else (start[1] + y if axis == 1 else start[2] + x)
                    if at == domain_start[axis]:
                        continue
                    below = highest[cz - step[0], cy - step[1], cx - step[2]]
                    level = at_plateau and (
                        heights[z + origin[0] - step[0], y + origin[1] - step[1], x + origin[2] - step[2]]
                        == plateau
                    )
                    if level or here == axis or below == axis + 3:
                        bits |= 1 << axis
                links[z, y, x] = bits
    return links


@jit
def _highest_neighbours(
    heights, read_start, core_start, core_shape, domain_start, domain_shape, first_axis, mask
):
    """Direction of each voxel's highest neighbour: 0-2 lower z, y, x; 3-5 upper; 6 if it and all around are 0."""
    best = np.empty(core_shape, np.uint8)
    extent = heights.shape
    step = (domain_shape[1] * domain_shape[2], domain_shape[2], 1)
    origin = (core_start[0] - read_start[0], core_start[1] - read_start[1], core_start[2] - read_start[2])
    for z in range(core_shape[0]):
        for y in range(core_shape[1]):
            for x in range(core_shape[2]):
                at = (z + origin[0], y + origin[1], x + origin[2])
                index = 0
                for k in range(3):
                    index = index * domain_shape[k] + (at[k] + read_start[k] - domain_start[k])
                top, top_hash, chosen = np.int64(-1), np.int64(-1), 6
                for k in range(first_axis, 3):
                    for upper in range(2):
                        place = at[k] + (1 if upper else -1)
                        if place < 0 or place >= extent[k]:
                            continue
                        nz = place if k == 0 else at[0]
                        ny = place if k == 1 else at[1]
                        nx = place if k == 2 else at[2]
                        value = np.int64(heights[nz, ny, nx])
                        if value < top:
                            continue
                        other = index + step[k] if upper else index - step[k]
                        noise = location_hash(other, 0, mask)
                        later = chosen == 6 or other > index + (
                            step[chosen % 3] if chosen >= 3 else -step[chosen % 3]
                        )
                        if value > top or noise > top_hash or (noise == top_hash and later):
                            top, top_hash, chosen = np.int64(value), noise, k + 3 * upper
                if top <= 0 and heights[at] == 0:
                    chosen = 6
                best[z, y, x] = chosen
    return best
