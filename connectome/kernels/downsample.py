"""Pooling by 1 or 2 per axis: the mean for images, the most frequent label for segmentations.

A pooled voxel at the far border averages, or counts, what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.geometry import Triple, as_triple
from connectome.kernels.jit import jit

Array = npt.NDArray[Any]


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
    _mode(source, result, step, np.empty(8, labels.dtype))
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


@jit
def _mode(source, result, step, values):
    fz, fy, fx = step
    channels, depth, height, width = source.shape
    for c in range(channels):
        for z in range(result.shape[1]):
            nz = min(fz, depth - z * fz)
            for y in range(result.shape[2]):
                ny = min(fy, height - y * fy)
                for x in range(result.shape[3]):
                    nx = min(fx, width - x * fx)
                    first = source[c, z * fz, y * fy, x * fx]
                    n = 0
                    differing = 0
                    for dz in range(nz):
                        for dy in range(ny):
                            for dx in range(nx):
                                value = source[c, z * fz + dz, y * fy + dy, x * fx + dx]
                                values[n] = value
                                differing += value != first
                                n += 1
                    result[c, z, y, x] = first if differing == 0 else _most_frequent(values, n)


@jit
def _most_frequent(values, n):
    best = values[0]
    most = 0
    for i in range(n):
        value = values[i]
        count = 0
        for j in range(n):
            count += values[j] == value
        wins_tie = value != 0 and (best == 0 or value < best)
        if count > most or (count == most and wins_tie):
            best, most = value, count
    return best
