"""Smoothed distance to the nearest boundary voxel, in integers.

Every pass runs over contiguous rows (it becomes vector instructions) of one plane or one slab, which stays in
the cache: three trips through memory in all, whatever the cap and the smoothing.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from connectome.geometry import Triple
from connectome.kernels.jit import jit


def capped_squares(
    affinities: npt.NDArray[np.uint8], boundary_sum: int, sizes: Triple, cap: int, lowest: tuple[bool, bool, bool]
) -> tuple[npt.NDArray[np.uint16] | npt.NDArray[np.uint32], int]:
    """Return squared distances within a section to its nearest boundary voxel, and their unit squared.

    Parameters
    ----------
    affinities : uint8 array, shape (3, z, y, x), C order
        Stored at the higher voxel of each pair.
    boundary_sum : int
        A voxel with n edges to lower neighbours is boundary if they sum to less than ``n / 3`` of this.
    sizes : Triple
        Integer voxel size (z, y, x); 0 for z if sections are for themselves.
    cap : int
        Distances above it count as it, in the unit of `sizes`.
    lowest : three bools
        Whether the array begins at the domain's low z, y and x face: edges that leave the domain do not count.

    Returns
    -------
    squares : uint16 or uint32 array, shape (z, y, x)
        In multiples of the unit squared, at most `cap` squared (rounded up); within sections alone:
        `smoothed_roots` goes across.
    unit : int
        The greatest common divisor of the sizes: small numbers make narrow, fast rows.
    """
    unit = math.gcd(*sizes)
    far = -(-cap * cap // unit**2)
    dtype = np.uint16 if 2 * far < 2**16 else np.uint32
    squares = np.empty(affinities.shape[1:], dtype)
    size_y, size_x = sizes[1] // unit, sizes[2] // unit
    reach_x = min(affinities.shape[3], math.isqrt(far - 1) // size_x)
    _spread_sections(affinities, squares, boundary_sum, sizes[0] > 0, size_y, size_x, reach_x, far, lowest)
    return squares, unit


def smoothed_roots(
    squares: npt.NDArray[np.uint16] | npt.NDArray[np.uint32], unit: int, size: int, cap: int, n_smoothing: int
) -> npt.NDArray[np.int32]:
    """Spread squared distances across sections, take roots in sixteenths, and smooth.

    Parameters
    ----------
    squares, unit
        As `capped_squares` returns them.
    size : int
        Voxel size along z; 0 if sections are for themselves.
    cap : int
        Distances above it count as it.
    n_smoothing : int
        Number of [1 2 1] sums along each axis (not z if sections are for themselves); the ends repeat.

    Returns
    -------
    int32 array, shape (z, y, x)
        ``isqrt(256 * d2)`` of squared distances d2, smoothed.
    """
    heights = np.empty(squares.shape, np.int32)
    _spread_across(squares, heights, unit, size // unit, cap, n_smoothing)
    if n_smoothing > 0:
        _smooth_sections(heights, n_smoothing)
    return heights


@jit
def _spread_sections(affinities, squares, boundary_sum, with_z, size_y, size_x, reach_x, far, lowest):
    _, nz, ny, nx = affinities.shape
    plane, nothing = np.empty_like(squares[0]), np.zeros(nx, np.uint8)
    padded = np.full(nx + 2 * reach_x, far, squares.dtype)
    row = padded[reach_x : reach_x + nx]
    for z in range(nz):
        has_z = with_z and not (lowest[0] and z == 0)
        for y in range(ny):
            has_y = not (lowest[1] and y == 0)
            edges_z = affinities[0, z, y] if has_z else nothing
            edges_y = affinities[1, z, y] if has_y else nothing
            n_edges = 1 + (1 if has_z else 0) + (1 if has_y else 0)
            _mark_boundary(row, edges_z, edges_y, affinities[2, z, y], n_edges * boundary_sum, far)
            if lowest[2]:
                total = np.int64(edges_z[0]) + np.int64(edges_y[0])
                row[0] = 0 if 3 * total < (n_edges - 1) * boundary_sum else far
            _spread_row(padded, reach_x, plane, y, size_x)
        _spread_plane(plane, squares, z, size_y, far)


@jit
def _mark_boundary(row, edges_z, edges_y, edges_x, least, far):
    """0 at boundary voxels, `far` elsewhere."""
    far, least = row.dtype.type(far), np.uint16((least + 2) // 3)
    for x in range(row.size):
        total = np.uint16(np.uint16(edges_z[x]) + np.uint16(edges_y[x]) + np.uint16(edges_x[x]))
        row[x] = row.dtype.type(0) if total < least else far


@jit
def _spread_row(padded, reach, plane, y, size):
    """Lower envelope of the parabolas (size * offset)^2 + source, along a row that has a margin of `reach`."""
    for x in range(plane.shape[1]):
        plane[y, x] = padded[reach + x]
    for offset in range(1, reach + 1):
        _lower_to_sides(padded, reach - offset, reach + offset, plane, y, (size * offset) ** 2)


@jit
def _lower_to_sides(padded, left, right, plane, y, rise):
    # Unsigned, an index needs no look at whether it counts from the end, which would stop vectors.
    left, right, rise = np.uint64(left), np.uint64(right), padded.dtype.type(rise)
    for x in range(np.uint64(plane.shape[1])):
        either = min(padded[left + x], padded[right + x])
        plane[y, x] = min(plane[y, x], padded.dtype.type(either + rise))


@jit
def _spread_plane(source, planes, z, size, far):
    """Lower envelope along the first axis of a plane into plane `z` of `planes`; no parabola beyond `far` matters."""
    n = source.shape[0]
    for i in range(n):
        for x in range(source.shape[1]):
            planes[z, i, x] = source[i, x]
        offset = 1
        while (size * offset) ** 2 < far and (offset <= i or i + offset < n):
            below, above = i - offset if offset <= i else i + offset, i + offset if i + offset < n else i - offset
            _lower_to_rows(source, below, above, planes, z, i, (size * offset) ** 2)
            offset += 1


@jit
def _lower_to_rows(source, below, above, planes, z, i, rise):
    rise = source.dtype.type(rise)
    for x in range(source.shape[1]):
        either = min(source[below, x], source[above, x])
        planes[z, i, x] = min(planes[z, i, x], source.dtype.type(either + rise))


@jit
def _spread_across(squares, heights, unit, size, cap, n_smoothing):
    """Finish distances along z, take roots and smooth along z: one slab of constant y at a time."""
    nz, ny, nx = squares.shape
    source, target = np.empty((nz, nx), squares.dtype), np.empty((1, nz, nx), squares.dtype)
    slab, scratch = np.empty((nz, nx), np.int32), np.empty((nz, nx), np.int32)
    far = (cap * cap + unit * unit - 1) // (unit * unit)
    for y in range(ny):
        for z in range(nz):
            for x in range(nx):
                source[z, x] = squares[z, y, x]
        if size > 0:
            _spread_plane(source, target, 0, size, far)
            _fixed_point_roots(target[0], slab, unit * unit, cap * cap)
        else:
            _fixed_point_roots(source, slab, unit * unit, cap * cap)
        for _ in range(n_smoothing if size > 0 else 0):
            _smooth_plane(slab, scratch)
            slab, scratch = scratch, slab
        for z in range(nz):
            for x in range(nx):
                heights[z, y, x] = slab[z, x]


@jit
def _fixed_point_roots(squares, roots, unit, most):
    """Floor of sqrt(256 d2): distances in sixteenths.

    The root of an integer below 2^52 is rounded to a whole number only if it is one: floats are exact here.
    """
    for i in range(roots.shape[0]):
        for x in range(roots.shape[1]):
            roots[i, x] = np.int64(np.sqrt(np.float64(256 * min(np.int64(squares[i, x]) * unit, most))))


@jit
def _smooth_sections(heights, n_smoothing):
    """[1 2 1] sums along x and y, one section at a time."""
    nz, ny, nx = heights.shape
    row, plane = np.empty(nx, np.int32), np.empty((ny, nx), np.int32)
    for z in range(nz):
        section = heights[z]
        for y in range(ny):
            for _ in range(n_smoothing):
                for x in range(nx):
                    row[x] = section[y, x]
                _smooth_row(row, section, y)
        for _ in range(n_smoothing):
            for y in range(ny):
                for x in range(nx):
                    plane[y, x] = section[y, x]
            _smooth_plane(plane, section)


@jit
def _smooth_row(line, sums, y):
    n = line.size
    for x in range(1, n - 1):
        sums[y, x] = line[x - 1] + 2 * line[x] + line[x + 1]
    sums[y, 0] = 3 * line[0] + line[min(1, n - 1)]
    sums[y, n - 1] = line[max(n - 2, 0)] + 3 * line[n - 1]


@jit
def _smooth_plane(source, target):
    """[1 2 1] sums along the first axis of a plane; the ends repeat."""
    n = source.shape[0]
    for i in range(n):
        below, above = max(i - 1, 0), min(i + 1, n - 1)
        for x in range(source.shape[1]):
            target[i, x] = source[below, x] + 2 * source[i, x] + source[above, x]
