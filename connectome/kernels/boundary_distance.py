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
    _spread_sections(affinities, squares, boundary_sum, sizes[0] > 0, sizes[1] // unit, sizes[2] // unit, far, lowest)
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
def _spread_sections(affinities, squares, boundary_sum, with_z, size_y, size_x, far, lowest):
    _, nz, ny, nx = affinities.shape
    plane, row, nothing = np.empty_like(squares[0]), np.empty_like(squares[0, 0]), np.zeros(nx, np.uint8)
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
            _spread_row(row, plane[y], size_x, far)
        _spread_plane(plane, squares[z], size_y, far)


@jit
def _mark_boundary(row, edges_z, edges_y, edges_x, least, far):
    """0 at boundary voxels, `far` elsewhere."""
    for x in range(row.size):
        total = np.int32(edges_z[x]) + np.int32(edges_y[x]) + np.int32(edges_x[x])
        row[x] = 0 if 3 * total < least else far


@jit
def _spread_row(source, target, size, far):
    """Lower envelope of the parabolas (size * offset)^2 + source, along a row; none beyond `far` matters."""
    target[:] = source
    n, offset = source.size, 1
    while (size * offset) ** 2 < far and offset < n:
        rise = (size * offset) ** 2
        _lower(target[offset:], source[: n - offset], rise)
        _lower(target[: n - offset], source[offset:], rise)
        offset += 1


@jit
def _spread_plane(source, target, size, far):
    """Lower envelope along the first axis of a plane, row by row."""
    n = source.shape[0]
    for i in range(n):
        row, offset = target[i], 1
        row[:] = source[i]
        while (size * offset) ** 2 < far and (offset <= i or i + offset < n):
            rise = (size * offset) ** 2
            if i < offset:
                _lower(row, source[i + offset], rise)
            elif i + offset >= n:
                _lower(row, source[i - offset], rise)
            else:
                _lower_to_either(row, source[i - offset], source[i + offset], rise)
            offset += 1


@jit
def _lower(row, other, rise):
    rise = row.dtype.type(rise)
    for x in range(row.size):
        row[x] = min(row[x], row.dtype.type(other[x] + rise))


@jit
def _lower_to_either(row, below, above, rise):
    rise = row.dtype.type(rise)
    for x in range(row.size):
        row[x] = min(row[x], row.dtype.type(min(below[x], above[x]) + rise))


@jit
def _spread_across(squares, heights, unit, size, cap, n_smoothing):
    """Finish distances along z, take roots and smooth along z: one slab of constant y at a time."""
    nz, ny, nx = squares.shape
    source = np.empty((nz, nx), squares.dtype)
    target = np.empty_like(source)
    slab, scratch = np.empty((nz, nx), np.int32), np.empty((nz, nx), np.int32)
    far = (cap * cap + unit * unit - 1) // (unit * unit)
    for y in range(ny):
        for z in range(nz):
            source[z] = squares[z, y]
        if size > 0:
            _spread_plane(source, target, size, far)
        else:
            target, source = source, target
        for z in range(nz):
            _fixed_point_root(target[z], slab[z], unit * unit, cap * cap)
        for _ in range(n_smoothing if size > 0 else 0):
            _smooth_plane(slab, scratch)
            slab, scratch = scratch, slab
        for z in range(nz):
            heights[z, y] = slab[z]


@jit
def _fixed_point_root(squares, roots, unit, most):
    """Floor of sqrt(256 d2): distances in sixteenths.

    The root of an integer below 2^52 is rounded to a whole number only if it is one: floats are exact here.
    """
    for x in range(roots.size):
        roots[x] = np.int64(np.sqrt(np.float64(256 * min(np.int64(squares[x]) * unit, most))))


@jit
def _smooth_sections(heights, n_smoothing):
    """[1 2 1] sums along x and y, one section at a time."""
    nz, ny, nx = heights.shape
    row, plane = np.empty(nx, np.int32), np.empty((ny, nx), np.int32)
    for z in range(nz):
        for y in range(ny):
            sums = heights[z, y]
            for _ in range(n_smoothing):
                row[:] = sums
                _smooth_row(row, sums)
        for _ in range(n_smoothing):
            plane[:] = heights[z]
            _smooth_plane(plane, heights[z])


@jit
def _smooth_row(line, sums):
    n = line.size
    for x in range(1, n - 1):
        sums[x] = line[x - 1] + 2 * line[x] + line[x + 1]
    sums[0] = 3 * line[0] + line[min(1, n - 1)]
    sums[n - 1] = line[max(n - 2, 0)] + 3 * line[n - 1]


@jit
def _smooth_plane(source, target):
    """[1 2 1] sums along the first axis of a plane; the ends repeat."""
    n = source.shape[0]
    for i in range(n):
        _sum_rows(source[max(i - 1, 0)], source[i], source[min(i + 1, n - 1)], target[i])


@jit
def _sum_rows(below, here, above, sums):
    for x in range(sums.size):
        sums[x] = below[x] + 2 * here[x] + above[x]
