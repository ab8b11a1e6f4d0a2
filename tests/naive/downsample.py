"""Slow twins of connectome.kernels.downsample."""

import itertools

import numpy as np


def pooled_voxels(array, factor):
    """Yield (position, the values that become this voxel) of a zyx array."""
    shape = [-(-n // f) for n, f in zip(array.shape, factor, strict=True)]
    for position in itertools.product(*map(range, shape)):
        window = tuple(slice(p * f, p * f + f) for p, f in zip(position, factor, strict=True))
        yield position, array[window].ravel().tolist()


def downsample_mean(array, factor):
    if array.ndim == 4:
        return np.stack([downsample_mean(channel, factor) for channel in array])
    result = np.empty([-(-n // f) for n, f in zip(array.shape, factor, strict=True)], array.dtype)
    for position, values in pooled_voxels(array, factor):
        n = len(values)
        is_float = array.dtype.kind == "f"
        result[position] = sum(values) / n if is_float else (2 * sum(values) + n) // (2 * n)
    return result


def downsample_mode(labels, factor):
    if labels.ndim == 4:
        return np.stack([downsample_mode(channel, factor) for channel in labels])
    result = np.empty([-(-n // f) for n, f in zip(labels.shape, factor, strict=True)], labels.dtype)
    for position, values in pooled_voxels(labels, factor):
        result[position] = min(values, key=lambda v: (-values.count(v), v == 0, v))
    return result
