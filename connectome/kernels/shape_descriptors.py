"""Local shape descriptors: size, centre, spread and orientation of an object in a window around each voxel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.kernels.jit import jit, jit_bare

N_DESCRIPTORS = 10
WEIGHT_ONE = 256
"""Weights are whole numbers, so that sums are exact in any order, and equal for any box."""
EXACT = 2**53
"""Whole numbers below this are exact in float64."""
WINDOW = 3
"""The window reaches this many sigma."""
VARIANCE_FLOOR = 1e-3
"""Smallest variance in sigma squared; correlations of flat objects are 0, not noise."""

Triple = tuple[int, int, int]
Sigma = tuple[float, float, float]


def window_weights(sigma: float, step: int) -> npt.NDArray[np.float64]:
    """Return the whole-numbered Gaussian weights of a window along one axis; `sigma` and `step` in voxels."""
    radius = max(1, math.ceil(WINDOW * sigma / step))
    places = np.arange(-radius, radius + 1) * step
    return np.asarray(np.rint(WEIGHT_ONE * np.exp(-0.5 * (places / sigma) ** 2)), np.float64)


def descriptor_margin(sigma: Sigma, step: Triple) -> Triple:
    """Return the voxels of labels (z, y, x) that descriptors need on every side."""
    z, y, x = (len(window_weights(s, n)) // 2 * n for s, n in zip(sigma, step, strict=True))
    return z, y, x


def shape_descriptors(labels: npt.NDArray[Any], sigma: Sigma, step: Triple = (1, 1, 1)) -> npt.NDArray[np.float32]:
    """Describe for every voxel the shape of its object nearby.

    Parameters
    ----------
    labels : integer array, shape (z, y, x)
        With `descriptor_margin` voxels on every side; 0 is background.
    sigma : three floats
        Standard deviation of the Gaussian window (z, y, x), voxels.
    step : three ints
        Every how many voxels (z, y, x) of an object are looked at, and the window moves.

    Returns
    -------
    float32 array, shape (10, z, y, x) without the margin, 0 to 1
        Offset of the object's centre along z, y, x (0.5 = here, a sigma = 0.5); variance along z, y, x, in sigma
        squared; correlation of zy, zx, yx (0.5 = none); share of the window that is the object. 0 in background.

    Raises
    ------
    ValueError
        If the labels are no larger than the margin, or the window is so large that sums would not be exact.

    Notes
    -----
    Per object O(box of the object x length of the window), as the window is the product of three. Source: Sheridan et
    al. 2022 (Nature Methods 20:295), Methods, "Local shape descriptors". As in their package ``lsds``, but the
    window's weights are whole numbers, the offset is that of the voxel itself where `step` moves the window, and
    variances have their floor in sigma squared.
    """
    weights = [window_weights(s, n) for s, n in zip(sigma, step, strict=True)]
    margin = descriptor_margin(sigma, step)
    if labels.ndim != 3 or any(n <= 2 * m for n, m in zip(labels.shape, margin, strict=True)):
        raise ValueError(f"labels of shape {labels.shape} leave nothing within the margin {margin}: give a larger box")
    if _largest_sum(weights) >= EXACT:
        raise ValueError(f"a window of sigma {sigma} is too large at step {step} for exact sums: raise the step")
    inner = np.ascontiguousarray(labels[tuple(slice(m, n - m) for m, n in zip(margin, labels.shape, strict=True))])
    sampled = np.ascontiguousarray(labels[tuple(slice(None, None, n) for n in step)])
    ids, numbers = np.unique(inner, return_inverse=True)
    numbers = numbers.reshape(inner.shape).astype(np.int32)
    places = np.searchsorted(ids, sampled)
    found = np.minimum(places, ids.size - 1)
    sampled_numbers = np.where(ids[found] == sampled, found, -1).astype(np.int32)
    result = np.zeros((N_DESCRIPTORS, *inner.shape), np.float32)
    _describe(
        numbers, sampled_numbers, ids == 0, weights[0], weights[1], weights[2], np.array(sigma), np.array(step), result
    )
    return result


def _largest_sum(weights: list[npt.NDArray[np.float64]]) -> float:
    """Bound the sums of weights times a product of two offsets."""
    mass = math.prod(float(w.sum()) for w in weights)
    return max(mass / float(w.sum()) * float(w @ np.square(np.arange(len(w)) - len(w) // 2)) for w in weights)


@jit
def _describe(numbers, sampled, is_background, w_z, w_y, w_x, sigma, step, result):
    """Describe one object after the other, each within the boxes where it is and where it is asked for."""
    whole = w_z.sum() * w_y.sum() * w_x.sum()
    asked = _boxes(numbers, is_background.size)
    there = _boxes(sampled, is_background.size)
    for number in range(is_background.size):
        if is_background[number]:
            continue
        box, wanted = there[number], asked[number] // step
        n_z, n_y, n_x = wanted[1] - wanted[0] + 1
        d_z, d_y, d_x = np.maximum(box[1] - box[0] + 1, 0)
        inside = np.zeros((d_z, d_y, d_x))
        for z in range(d_z):
            for y in range(d_y):
                for x in range(d_x):
                    inside[z, y, x] = sampled[box[0, 0] + z, box[0, 1] + y, box[0, 2] + x] == number
        by_z = np.zeros((3, n_z, d_y, d_x))
        by_y = np.zeros((6, n_z, n_y, d_x))
        moments = np.zeros((10, n_z, n_y, n_x))
        _sum_z(inside, w_z, box[0, 0] - wanted[0, 0], by_z)
        _sum_y(by_z, w_y, box[0, 1] - wanted[0, 1], by_y)
        _sum_x(by_y, w_x, box[0, 2] - wanted[0, 2], moments)
        _write(numbers, number, asked[number], wanted[0], moments, whole, sigma, step, result)


@jit
def _boxes(numbers, n):
    """First and last voxel of every number, inclusive; last below first where it does not occur."""
    boxes = np.zeros((n, 2, 3), np.int64)
    boxes[:, 0], boxes[:, 1] = np.int64(1) << 40, -1
    for z in range(numbers.shape[0]):
        for y in range(numbers.shape[1]):
            for x in range(numbers.shape[2]):
                number = numbers[z, y, x]
                if number >= 0:
                    for axis, place in enumerate((z, y, x)):
                        boxes[number, 0, axis] = min(boxes[number, 0, axis], place)
                        boxes[number, 1, axis] = max(boxes[number, 1, axis], place)
    return boxes


@jit_bare
def _sum_z(inside, weights, shift, by_z):
    """Sum 1, d and d squared along z; a sampled voxel lies `shift` plus its place minus the window's radius away."""
    for out in range(by_z.shape[1]):
        for at in range(max(0, out - shift), min(inside.shape[0], out - shift + weights.size)):
            weight, away = weights[at + shift - out], float(at + shift - out - weights.size // 2)
            for y in range(inside.shape[1]):
                for x in range(inside.shape[2]):
                    value = weight * inside[at, y, x]
                    by_z[0, out, y, x] += value
                    by_z[1, out, y, x] += value * away
                    by_z[2, out, y, x] += value * away * away


@jit_bare
def _sum_y(by_z, weights, shift, by_y):
    """Go on along y: 1, z, zz, y, zy, yy."""
    for z in range(by_z.shape[1]):
        for out in range(by_y.shape[2]):
            for at in range(max(0, out - shift), min(by_z.shape[2], out - shift + weights.size)):
                weight, away = weights[at + shift - out], float(at + shift - out - weights.size // 2)
                for x in range(by_z.shape[3]):
                    none, once = weight * by_z[0, z, at, x], weight * by_z[1, z, at, x]
                    by_y[0, z, out, x] += none
                    by_y[1, z, out, x] += once
                    by_y[2, z, out, x] += weight * by_z[2, z, at, x]
                    by_y[3, z, out, x] += none * away
                    by_y[4, z, out, x] += once * away
                    by_y[5, z, out, x] += none * away * away


@jit_bare
def _sum_x(by_y, weights, shift, moments):
    """Go on along x: 1, z, y, x, zz, yy, xx, zy, zx, yx."""
    for z in range(by_y.shape[1]):
        for y in range(by_y.shape[2]):
            for out in range(moments.shape[3]):
                for at in range(max(0, out - shift), min(by_y.shape[3], out - shift + weights.size)):
                    weight, away = weights[at + shift - out], float(at + shift - out - weights.size // 2)
                    none = weight * by_y[0, z, y, at]
                    moments[0, z, y, out] += none
                    moments[1, z, y, out] += weight * by_y[1, z, y, at]
                    moments[2, z, y, out] += weight * by_y[3, z, y, at]
                    moments[3, z, y, out] += none * away
                    moments[4, z, y, out] += weight * by_y[2, z, y, at]
                    moments[5, z, y, out] += weight * by_y[5, z, y, at]
                    moments[6, z, y, out] += none * away * away
                    moments[7, z, y, out] += weight * by_y[4, z, y, at]
                    moments[8, z, y, out] += weight * by_y[1, z, y, at] * away
                    moments[9, z, y, out] += weight * by_y[3, z, y, at] * away


@jit
def _write(numbers, number, asked, start, moments, whole, sigma, step, result):
    """Turn moments (in steps) into descriptors (in sigma) at the object's own voxels."""
    scale = step / sigma
    mean, variance = np.zeros(3), np.zeros(3)
    for z in range(asked[0, 0], asked[1, 0] + 1):
        for y in range(asked[0, 1], asked[1, 1] + 1):
            for x in range(asked[0, 2], asked[1, 2] + 1):
                if numbers[z, y, x] != number:
                    continue
                place = (z, y, x)
                found = moments[:, z // step[0] - start[0], y // step[1] - start[1], x // step[2] - start[2]]
                total = max(found[0], 1.0)
                for axis in range(3):
                    mean[axis] = found[1 + axis] / total
                    spread = (found[4 + axis] / total - mean[axis] * mean[axis]) * scale[axis] * scale[axis]
                    variance[axis] = max(spread, VARIANCE_FLOOR)
                    moved = (place[axis] % step[axis]) / sigma[axis]
                    offset = mean[axis] * scale[axis] - moved if found[0] > 0 else 0.0
                    result[axis, z, y, x] = min(max(0.5 + 0.5 * offset, 0.0), 1.0)
                    result[3 + axis, z, y, x] = min(variance[axis], 1.0)
                for pair, (a, b) in enumerate(((0, 1), (0, 2), (1, 2))):
                    joint = (found[7 + pair] / total - mean[a] * mean[b]) * scale[a] * scale[b]
                    correlation = joint / math.sqrt(variance[a] * variance[b])
                    result[6 + pair, z, y, x] = min(max(0.5 + 0.5 * correlation, 0.0), 1.0)
                result[9, z, y, x] = found[0] / whole
