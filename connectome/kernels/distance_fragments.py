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
    squared: npt.NDArray[np.int32]
    squared = _boundary(affinities, parameters.boundary_sum, parameters.cap**2, lowest, first_axis)
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
        if n_inner == 1:  # the loop that vectorises is then the one along the axis
            _spread_line(source[outer, :, 0], target[outer, :, 0], size, reach)
            continue
        for i in range(n):
            row = target[outer, i]
            row[:] = source[outer, i]
            for offset in range(1, reach + 1):
                rise = np.int32((size * offset) ** 2)
                if i >= offset:
                    _lower(row, source[outer, i - offset], rise)
                if i + offset < n:
                    _lower(row, source[outer, i + offset], rise)


@jit
def _spread_line(source, target, size, reach):
    target[:] = source
    for offset in range(1, min(reach + 1, source.size)):
        rise = np.int32((size * offset) ** 2)
        _lower(target[offset:], source[: source.size - offset], rise)
        _lower(target[: source.size - offset], source[offset:], rise)


@jit
def _lower(row, other, rise):
    for k in range(row.size):
        row[k] = min(row[k], other[k] + rise)


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
        if n_inner == 1:
            line, sums = source[outer, :, 0], target[outer, :, 0]
            for i in range(1, n - 1):
                sums[i] = line[i - 1] + 2 * line[i] + line[i + 1]
            sums[0] = 3 * line[0] + line[min(1, n - 1)]
            sums[n - 1] = line[max(n - 2, 0)] + 3 * line[n - 1]
            continue
        for i in range(n):
            below, here, above = source[outer, max(i - 1, 0)], source[outer, i], source[outer, min(i + 1, n - 1)]
            row = target[outer, i]
            for k in range(n_inner):
                row[k] = below[k] + 2 * here[k] + above[k]


@jit
def _distance_links(
    heights, read_start, core_start, core_shape, start, shape, domain_start, domain_shape, plateau, first_axis, mask
):
    highest = _highest_neighbours(
        heights, read_start, core_start, core_shape, domain_start, domain_shape, first_axis, mask
    )
    links = np.zeros(shape, np.uint8)
    cz, cy, cx = start[0] - core_start[0], start[1] - core_start[1], start[2] - core_start[2]
    rz, ry, rx = start[0] - read_start[0], start[1] - read_start[1], start[2] - read_start[2]
    has_z = first_axis == 0 and start[0] > domain_start[0]
    has_y, has_x = start[1] > domain_start[1], start[2] > domain_start[2]
    for z in range(shape[0]):
        with_z = first_axis == 0 and (z > 0 or has_z)
        for y in range(shape[1]):
            with_y = y > 0 or has_y
            for x in range(shape[2]):
                here = highest[z + cz, y + cy, x + cx]
                if here == 6:
                    continue
                level = heights[z + rz, y + ry, x + rx] == plateau
                bits = 8
                if with_z and (
                    here == 0
                    or highest[z + cz - 1, y + cy, x + cx] == 3
                    or (level and heights[z + rz - 1, y + ry, x + rx] == plateau)
                ):
                    bits |= 1
                if with_y and (
                    here == 1
                    or highest[z + cz, y + cy - 1, x + cx] == 4
                    or (level and heights[z + rz, y + ry - 1, x + rx] == plateau)
                ):
                    bits |= 2
                if (x > 0 or has_x) and (
                    here == 2
                    or highest[z + cz, y + cy, x + cx - 1] == 5
                    or (level and heights[z + rz, y + ry, x + rx - 1] == plateau)
                ):
                    bits |= 4
                links[z, y, x] = bits
    return links


@jit
def _highest_neighbours(heights, read_start, core_start, core_shape, domain_start, domain_shape, first_axis, mask):
    """Direction of each voxel's highest neighbour: 0-2 lower z, y, x; 3-5 upper; 6 if it and all around are 0."""
    best = np.empty(core_shape, np.uint8)
    nz, ny, nx = heights.shape
    oz, oy, ox = core_start[0] - read_start[0], core_start[1] - read_start[1], core_start[2] - read_start[2]
    step = (domain_shape[1] * domain_shape[2], domain_shape[2], 1)
    values = np.empty(6, np.int32)
    for z in range(core_shape[0]):
        for y in range(core_shape[1]):
            az, ay = z + oz, y + oy
            gz, gy = az + read_start[0] - domain_start[0], ay + read_start[1] - domain_start[1]
            row = (gz * domain_shape[1] + gy) * domain_shape[2] + core_start[2] - domain_start[2]
            low_z, high_z = first_axis == 0 and az > 0, first_axis == 0 and az + 1 < nz
            for x in range(core_shape[2]):
                ax = x + ox
                values[0] = heights[az - 1, ay, ax] if low_z else -1
                values[1] = heights[az, ay - 1, ax] if ay > 0 else -1
                values[2] = heights[az, ay, ax - 1] if ax > 0 else -1
                values[3] = heights[az + 1, ay, ax] if high_z else -1
                values[4] = heights[az, ay + 1, ax] if ay + 1 < ny else -1
                values[5] = heights[az, ay, ax + 1] if ax + 1 < nx else -1
                top = values[0]
                for k in range(1, 6):
                    top = max(top, values[k])
                if top < 0 or (top == 0 and heights[az, ay, ax] == 0):
                    best[z, y, x] = 6
                else:
                    best[z, y, x] = _last_of_equals(values, top, row + x, step, mask)
    return best


@jit
def _last_of_equals(values, top, index, step, mask):
    """Among the neighbours of height `top`, return the one that is last by (hash, index)."""
    chosen, n_equal = 6, 0
    for k in range(6):
        if values[k] == top:
            chosen = k
            n_equal += 1
    if n_equal == 1:
        return chosen
    top_hash, top_index = np.int64(-1), np.int64(-1)
    for k in range(6):
        if values[k] == top:
            other = index - step[k] if k < 3 else index + step[k - 3]
            noise = location_hash(other, 0, mask)
            if noise > top_hash or (noise == top_hash and other > top_index):
                chosen, top_hash, top_index = k, noise, other
    return chosen
