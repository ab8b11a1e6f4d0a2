"""Smoothed distance to the nearest boundary voxel, in integers.

Every pass runs over many rows as one (it becomes vector instructions, and rows are too short for these to pay) of
one plane or one slab, which stays in the cache: three trips through memory in all, whatever the cap and the smoothing.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from connectome.geometry import Triple
from connectome.kernels.jit import jit, jit_bare

Squares = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
Heights = npt.NDArray[np.int16] | npt.NDArray[np.int32]

_STRIP = 1 << 14
"""So many squares are spread at once: with those around them they stay in the first-level cache, or the second."""


def capped_squares(
    affinities: npt.NDArray[np.uint8], boundary_sum: int, sizes: Triple, cap: int, lowest: tuple[bool, bool, bool]
) -> tuple[Squares, int]:
    """Return squared distances within a section to its nearest boundary voxel, and their unit squared.

    Parameters
    ----------
    affinities : uint8 array, shape (3, z, y, x)
        Stored at the higher voxel of each pair; copied unless each channel is in C order.
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
    squares : uint8, uint16 or uint32 array, shape (z, y, x)
        In multiples of the unit squared, at most `cap` squared (rounded up); within sections alone:
        `smoothed_roots` goes across.
    unit : int
        The greatest common divisor of the sizes: small numbers make narrow, fast rows. Ten voxels to the cap fit
        a byte.
    """
    unit = math.gcd(*sizes)
    far = -(-cap * cap // unit**2)
    dtype = next(t for t in (np.uint8, np.uint16, np.uint32) if 2 * far <= np.iinfo(t).max)
    squares: Squares = np.empty(affinities.shape[1:], dtype)
    channels = tuple(np.ascontiguousarray(channel) for channel in affinities)
    size_y, size_x = sizes[1] // unit, sizes[2] // unit
    _spread_sections(channels, squares, boundary_sum, sizes[0] > 0, size_y, size_x, far, lowest)
    return squares, unit


def smoothed_roots(squares: Squares, unit: int, size: int, cap: int, n_smoothing: int) -> Heights:
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
    int16 array, shape (z, y, x), or int32 where the heights do not fit
        ``isqrt(256 * d2)`` of squared distances d2, smoothed.
    """
    is_narrow = highest(cap, n_smoothing, across_sections=size > 0) < 2**15
    heights: Heights = np.empty(squares.shape, np.int16) if is_narrow else np.empty(squares.shape, np.int32)
    far = -(-cap * cap // unit**2)
    # The root of an integer is rounded to a whole number only if it is one, as long as integers are exact.
    real = np.float32 if 256 * far * unit**2 < 2**24 else np.float64
    scale_and_most = np.array([256 * unit**2, 256 * cap**2], real)
    _spread_across(squares, heights, size // unit, far, scale_and_most, n_smoothing)
    if n_smoothing > 0:
        _smooth_sections(heights, n_smoothing)
    return heights


def highest(cap: int, n_smoothing: int, *, across_sections: bool) -> int:
    """Return the height of a voxel that is, with all its neighbours, at the cap."""
    return 16 * cap << (2 * (3 if across_sections else 2) * n_smoothing)


@jit
def _spread_sections(channels, squares, boundary_sum, with_z, size_y, size_x, far, lowest):
    """Spread along x and y; rows lie apart by a margin, as if there were no boundary beyond their ends."""
    nz, ny, nx = squares.shape
    reach_y, reach_x = _reach(size_y, far, ny), _reach(size_x, far, nx)
    step = nx + reach_x
    begin = reach_y * step + reach_x  # of the first row
    marked = np.full(begin + (ny + reach_y) * step + reach_x, far, squares.dtype)
    wide = np.full_like(marked, far)
    n_rows = max(1, _STRIP // step)
    spread, nothing = np.empty(n_rows * step, squares.dtype), np.zeros(nx, np.uint8)
    for z in range(nz):
        has_z = with_z and not (lowest[0] and z == 0)
        for y in range(ny):
            has_y = not (lowest[1] and y == 0)
            edges_z = channels[0][z, y] if has_z else nothing
            edges_y = channels[1][z, y] if has_y else nothing
            n_edges = 1 + (1 if has_z else 0) + (1 if has_y else 0)
            row = marked[begin + y * step : begin + y * step + nx]
            _mark_boundary(row, edges_z, edges_y, channels[2][z, y], n_edges * boundary_sum, far)
            if lowest[2]:
                total = np.int64(edges_z[0]) + np.int64(edges_y[0])
                row[0] = 0 if 3 * total < (n_edges - 1) * boundary_sum else far
        for y in range(0, ny, n_rows):
            n = min(n_rows, ny - y) * step
            _spread(marked, begin + y * step, wide, begin + y * step, n, 1, reach_x, size_x)
        for y in range(0, ny, n_rows):
            n = min(n_rows, ny - y) * step
            _spread(wide, begin + y * step, spread, 0, n, step, reach_y, size_y)
            for k in range(min(n_rows, ny - y)):
                _copy(spread, k * step, squares[z, y + k])


@jit_bare
def _reach(size, far, n):
    """How many voxels off a boundary voxel still counts."""
    offset = 0
    while offset < n - 1 and (size * (offset + 1)) ** 2 < far:
        offset += 1
    return offset


@jit_bare
def _mark_boundary(row, edges_z, edges_y, edges_x, least, far):
    """0 at boundary voxels, `far` elsewhere."""
    far, least = row.dtype.type(far), np.uint16((least + 2) // 3)
    for x in range(row.size):
        total = np.uint16(np.uint16(edges_z[x]) + np.uint16(edges_y[x]) + np.uint16(edges_x[x]))
        row[x] = row.dtype.type(0) if total < least else far


@jit_bare
def _spread(source, at, target, to, n, step, reach, size):
    """Lower envelope of the parabolas (size * offset)^2 + source for `n` voxels; their neighbours lie `step` apart.

    There are `reach` neighbours to both sides of each, or `far` stands for them: no parabola beyond matters.
    """
    at, to = np.uint64(at), np.uint64(to)
    for i in range(np.uint64(n)):
        target[to + i] = source[at + i]
    for offset in range(1, reach + 1):
        _lower_to_sides(source, at, target, to, n, np.uint64(offset * step), (size * offset) ** 2)


@jit_bare
def _lower_to_sides(source, at, target, to, n, offset, rise):
    # Unsigned, an index needs no look at whether it counts from the end, which would stop vectors.
    below, above, rise = at - offset, at + offset, source.dtype.type(rise)
    for i in range(np.uint64(n)):
        either = min(source[below + i], source[above + i])
        target[to + i] = min(target[to + i], source.dtype.type(either + rise))


@jit_bare
def _copy(source, at, row):
    at = np.uint64(at)
    for x in range(np.uint64(row.size)):
        row[x] = source[at + x]


@jit
def _spread_across(squares, heights, size, far, scale_and_most, n_smoothing):
    """Finish distances along z, take roots and smooth along z: one slab of constant y at a time."""
    nz, ny, nx = squares.shape
    reach = _reach(size, far, nz) if size > 0 else 0
    source, target = np.full((nz + 2 * reach) * nx, far, squares.dtype), np.empty((nz, nx), squares.dtype)
    slab, scratch = np.empty((nz, nx), heights.dtype), np.empty((nz, nx), heights.dtype)
    for y in range(ny):
        for z in range(nz):
            _copy(squares[z, y], 0, source[(z + reach) * nx : (z + reach + 1) * nx])
        _spread(source, reach * nx, target.reshape(nz * nx), 0, nz * nx, nx, reach, size)
        _fixed_point_roots(target, slab, scale_and_most)
        for _ in range(n_smoothing if size > 0 else 0):
            _smooth_plane(slab, scratch)
            slab, scratch = scratch, slab
        for z in range(nz):
            for x in range(nx):
                heights[z, y, x] = slab[z, x]


@jit_bare
def _fixed_point_roots(squares, roots, scale_and_most):
    """Floor of sqrt(256 d2): distances in sixteenths, in reals that hold every 256 d2 exactly."""
    scale, most, real = scale_and_most[0], scale_and_most[1], scale_and_most.dtype.type
    for i in range(roots.shape[0]):
        for x in range(roots.shape[1]):
            roots[i, x] = np.int32(np.sqrt(min(real(squares[i, x]) * scale, most)))


@jit
def _smooth_sections(heights, n_smoothing):
    """[1 2 1] sums along x and y, one section at a time."""
    nz, ny, nx = heights.shape
    row, plane = np.empty(nx, heights.dtype), np.empty((ny, nx), heights.dtype)
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


@jit_bare
def _smooth_row(line, sums, y):
    n = line.size
    for x in range(1, n - 1):
        sums[y, x] = line[x - 1] + 2 * line[x] + line[x + 1]
    sums[y, 0] = 3 * line[0] + line[min(1, n - 1)]
    sums[y, n - 1] = line[max(n - 2, 0)] + 3 * line[n - 1]


@jit_bare
def _smooth_plane(source, target):
    """[1 2 1] sums along the first axis of a plane; the ends repeat."""
    n = source.shape[0]
    for i in range(n):
        below, above = max(i - 1, 0), min(i + 1, n - 1)
        for x in range(source.shape[1]):
            target[i, x] = source[below, x] + 2 * source[i, x] + source[above, x]
