"""Pooling by 1 or 2 per axis: the mean for images, the most frequent label for segmentations.

A pooled voxel at the far border averages, or counts, what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.geometry import Triple, as_triple
from connectome.kernels.jit import jit, jit_bare

Array = npt.NDArray[Any]
NOISY_ROWS = 7
"""So many rows after one of noise are taken for noise too."""
MANY_UNSURE = 8
"""A row of labels with more than one unsure cell in this many is pooled again as a whole, in vectors."""


def downsample_mean(array: Array, factor: Sequence[int]) -> Array:
    """Pool an image by its mean.

    Parameters
    ----------
    array : (z, y, x) or (c, z, y, x), integer or floating
        Voxels; channels are pooled apart.
    factor : three of 1 or 2
        How many voxels become one along z, y and x.

    Returns
    -------
    (..., ceil(z / factor), ...), dtype of `array`
        Integers are rounded exactly, halves upwards; floats are summed in double precision.

    Notes
    -----
    One pass, O(voxels). A count of voxels is a power of two, so that the division is a shift.
    """
    source, result, step = _prepare(array, factor)
    if array.dtype.kind == "f":
        _mean_of_floats(source, result, step, np.empty(source.shape[3], np.float64))
    elif array.dtype.itemsize == 8:
        _mean_of_wide_integers(source, result, step)
    else:
        _mean_of_integers(source, result, step, np.empty(source.shape[3], np.int64))
    return result if array.ndim == 4 else result[0]


def downsample_mode(labels: Array, factor: Sequence[int]) -> Array:
    """Pool labels by the most frequent one.

    Among equally frequent labels, one other than zero wins, and the smallest of those: thin objects
    survive, and the result does not depend on the order of voxels.

    Parameters
    ----------
    labels : (z, y, x) or (c, z, y, x), integer
        Labels; 0 is background.
    factor : three of 1 or 2
        How many voxels become one along z, y and x.

    Returns
    -------
    (..., ceil(z / factor), ...), dtype of `labels`
        Labels of the pooled voxels. One pass, O(voxels).
    """
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels are integers, got {labels.dtype}; pool images with downsample_mean")
    source, result, step = _prepare(labels, factor)
    is_unsure = np.empty(result.shape[3], np.bool_)
    for labels_in, labels_out in zip(source, result, strict=True):
        mode_sections(labels_in, labels_out, step, is_unsure)
    return result if labels.ndim == 4 else result[0]


def _prepare(array: Array, factor: Sequence[int]) -> tuple[Array, Array, Triple]:
    step = as_triple(factor)
    if not set(step) <= {1, 2}:
        raise ValueError(f"pooling factors are 1 or 2 per axis, got {step}; pool several times")
    if array.ndim not in (3, 4) or array.dtype.kind not in "iuf" or array.dtype.itemsize not in (1, 2, 4, 8):
        raise ValueError(f"wanted is an array z y x or c z y x of integers or floats, got {array.dtype} {array.shape}")
    if array.dtype == np.float16:
        raise ValueError("float16 cannot be pooled; convert it to float32")
    source = array if array.ndim == 4 else array[np.newaxis]
    shape = [-(-n // f) for n, f in zip(source.shape[1:], step, strict=True)]
    return np.ascontiguousarray(source), np.empty((source.shape[0], *shape), array.dtype), step


@jit
def _mean_of_integers(source, result, step, sums):
    fz, fy, fx = step
    channels, depth, height, width = source.shape
    whole = width // fx
    for c in range(channels):
        for z in range(result.shape[1]):
            nz = min(fz, depth - z * fz)
            for y in range(result.shape[2]):
                ny = min(fy, height - y * fy)
                sums[:] = 0
                for dz in range(nz):
                    for dy in range(ny):
                        row = source[c, z * fz + dz, y * fy + dy]
                        if fx == 1:
                            for x in range(width):
                                sums[x] += row[x]
                        else:
                            for x in range(whole):
                                sums[x] += np.int64(row[2 * x]) + np.int64(row[2 * x + 1])
                            if width % 2:
                                sums[whole] += row[width - 1]
                bits = nz // 2 + ny // 2  # log2 of the count, each factor being 1 or 2
                target = result[c, z, y]
                half = (1 << (bits + fx // 2)) >> 1
                for x in range(whole):
                    target[x] = (sums[x] + half) >> (bits + fx // 2)
                if width % fx:
                    target[whole] = (sums[whole] + ((1 << bits) >> 1)) >> bits


@jit
def _mean_of_wide_integers(source, result, step):
    # Eight 64-bit values overflow their sum: quotients and remainders are summed apart.
    number = source.dtype.type
    fz, fy, fx = step
    channels, depth, height, width = source.shape
    for c in range(channels):
        for z in range(result.shape[1]):
            nz = min(fz, depth - z * fz)
            for y in range(result.shape[2]):
                ny = min(fy, height - y * fy)
                for x in range(result.shape[3]):
                    nx = min(fx, width - x * fx)
                    bits = number(nz // 2 + ny // 2 + nx // 2)
                    mask = number(nz * ny * nx - 1)
                    quotients = number(0)
                    remainders = number(nz * ny * nx // 2)
                    for dz in range(nz):
                        for dy in range(ny):
                            for dx in range(nx):
                                value = source[c, z * fz + dz, y * fy + dy, x * fx + dx]
                                quotients += value >> bits
                                remainders += value & mask
                    result[c, z, y, x] = quotients + (remainders >> bits)


@jit
def _mean_of_floats(source, result, step, sums):
    fz, fy, fx = step
    channels, depth, height, width = source.shape
    for c in range(channels):
        for z in range(result.shape[1]):
            nz = min(fz, depth - z * fz)
            for y in range(result.shape[2]):
                ny = min(fy, height - y * fy)
                sums[:] = 0.0
                for dz in range(nz):
                    for dy in range(ny):
                        row = source[c, z * fz + dz, y * fy + dy]
                        for x in range(width):
                            sums[x // fx] += row[x]
                for x in range(result.shape[3]):
                    result[c, z, y, x] = sums[x] / (nz * ny * min(fx, width - x * fx))


@jit_bare
def mode_sections(source, result, step, is_unsure):
    """Pool labels z y x into `result`; `is_unsure` is room for one row of it."""
    n_noisy = 0
    for z in range(result.shape[0]):
        n_noisy = mode_strip(source, result, step, z, 0, result.shape[1], is_unsure, n_noisy)


@jit_bare
def mode_strip(source, result, step, z, start, stop, is_unsure, n_noisy):
    """Pool rows `start` to `stop` of section `z` of `result`; `n_noisy` is what the strip before returned, or 0."""
    fz, fy, _ = step
    near, far = source[z * fz], source[min(z * fz + fz, source.shape[0]) - 1]
    for y in range(start, stop):
        up, down = y * fy, min(y * fy + fy, source.shape[1]) - 1
        n_noisy = _mode_of_rows(near[up], near[down], far[up], far[down], step, result[z, y], is_unsure, n_noisy)
    return n_noisy


@jit_bare
def _mode_of_rows(a, b, c, d, step, result, is_unsure, n_noisy):
    """Pool near rows `a`, `b` and far rows `c`, `d` into one; a row that does not exist is another once more.

    Counting every voxel twice changes no winner, so that borders need no case of their own. Straight code
    compiles to vectors: it finds the winner among two labels, and the few cells with three and more come
    after it. Where they are many, as in noise, all cells of this and of the next rows are counted in vectors.
    Returns how many more rows are to be taken for noise, which is what `n_noisy` is.
    """
    fz, fy, fx = step
    whole = a.size // fx
    last = a.size - 1
    if fx == 1:
        for x in range(whole):
            result[x] = _mode_of_four(a[x], b[x], c[x], d[x])
    elif fz * fy < 4:
        for x in range(whole):
            result[x] = _mode_of_four(a[2 * x], a[2 * x + 1], d[2 * x], d[2 * x + 1])
    elif n_noisy > 0:
        _mode_of_eights(a, b, c, d, 0, whole, result)
        n_noisy -= 1
    else:
        n_unsure = 0
        for x in range(whole):
            cell = (a[2 * x], a[2 * x + 1], b[2 * x], b[2 * x + 1], c[2 * x], c[2 * x + 1], d[2 * x], d[2 * x + 1])
            result[x], is_unsure[x] = _mode_of_two(cell)
            n_unsure += is_unsure[x]
        if n_unsure * MANY_UNSURE > whole:
            _mode_of_eights(a, b, c, d, 0, whole, result)
            n_noisy = NOISY_ROWS
        elif n_unsure:
            for x in range(whole):
                if is_unsure[x]:
                    _mode_of_eights(a, b, c, d, x, x + 1, result)
    if whole < result.size:
        result[whole] = _mode_of_four(a[last], b[last], c[last], d[last])
    return n_noisy


@jit_bare
def _mode_of_two(cell):
    """Return the mode, and whether it may be wrong: where a third label may have as many voxels."""
    p, q, r, s, t, u, v, w = cell
    low = min(p, q, r, s, t, u, v, w)
    high = max(p, q, r, s, t, u, v, w)
    n_low, n_high = _copies(low, cell), _copies(high, cell)
    takes_low = (n_low > n_high) | ((n_low == n_high) & (low != 0))
    return (low if takes_low else high), max(n_low, n_high) + n_low + n_high <= 8


@jit_bare
def _mode_of_eights(a, b, c, d, start, stop, result):
    """Pool cells `start` to `stop` of four rows, whatever they hold.

    Each pair is compared once, in words as wide as labels, in the loop itself: only so are there vectors.
    """
    number = np.uint64
    for x in range(start, stop):
        p, q, r, s = a[2 * x], a[2 * x + 1], b[2 * x], b[2 * x + 1]
        t, u, v, w = c[2 * x], c[2 * x + 1], d[2 * x], d[2 * x + 1]
        pq, pr, ps, pt = number(p == q), number(p == r), number(p == s), number(p == t)
        pu, pv, pw, qr = number(p == u), number(p == v), number(p == w), number(q == r)
        qs, qt, qu, qv = number(q == s), number(q == t), number(q == u), number(q == v)
        qw, rs, rt, ru = number(q == w), number(r == s), number(r == t), number(r == u)
        rv, rw, st, su = number(r == v), number(r == w), number(s == t), number(s == u)
        sv, sw, tu, tv = number(s == v), number(s == w), number(t == u), number(t == v)
        tw, uv, uw, vw = number(t == w), number(u == v), number(u == w), number(v == w)
        first = _winner((p, pq + pr + ps + pt + pu + pv + pw), (q, pq + qr + qs + qt + qu + qv + qw))
        second = _winner((r, pr + qr + rs + rt + ru + rv + rw), (s, ps + qs + rs + st + su + sv + sw))
        third = _winner((t, pt + qt + rt + st + tu + tv + tw), (u, pu + qu + ru + su + tu + uv + uw))
        fourth = _winner((v, pv + qv + rv + sv + tv + uv + vw), (w, pw + qw + rw + sw + tw + uw + vw))
        result[x] = _winner(_winner(first, second), _winner(third, fourth))[0]


@jit_bare
def _mode_of_four(p, q, r, s):
    pq, pr, ps, qr, qs, rs = p == q, p == r, p == s, q == r, q == s, r == s
    first = _winner((p, pq + pr + ps), (q, pq + qr + qs))
    return _winner(first, _winner((r, pr + qr + rs), (s, ps + qs + rs)))[0]


@jit_bare
def _copies(value, cell):
    p, q, r, s, t, u, v, w = cell
    near = (value == p) + (value == q) + (value == r) + (value == s)
    return near + (value == t) + (value == u) + (value == v) + (value == w)


@jit_bare
def _winner(one, other):
    """Of two (label, count), the more frequent; of equals one that is not 0, and the smaller."""
    (a, n), (b, m) = one, other
    is_one = (n > m) | ((n == m) & (a != 0) & ((b == 0) | (a < b)))
    return (a if is_one else b), (n if is_one else m)
