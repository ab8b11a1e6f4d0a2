"""Plain twin of local shape descriptors: every voxel looks through its window."""

import itertools

import numpy as np

from connectome.kernels.shape_descriptors import VARIANCE_FLOOR, window_weights


def shape_descriptors(labels, sigma, step=(1, 1, 1)):
    """Sum weight, offset and product of offsets over the sampled voxels of a voxel's own object."""
    weights = [window_weights(s, n) for s, n in zip(sigma, step, strict=True)]
    radius = [len(w) // 2 for w in weights]
    margin = [r * n for r, n in zip(radius, step, strict=True)]
    shape = [n - 2 * m for n, m in zip(labels.shape, margin, strict=True)]
    largest = np.prod([w.sum() for w in weights])
    result = np.zeros((10, *shape), np.float32)
    for place in np.ndindex(*shape):
        here = [p + m for p, m in zip(place, margin, strict=True)]
        if labels[tuple(here)] == 0:
            continue
        middle = [m + p // n * n for m, p, n in zip(margin, place, step, strict=True)]
        moved = np.array([(m - h) / s for m, h, s in zip(middle, here, sigma, strict=True)])
        total, first, second = 0.0, np.zeros(3), np.zeros((3, 3))
        for offset in itertools.product(*(range(-r, r + 1) for r in radius)):
            away = np.array([o * n for o, n in zip(offset, step, strict=True)])
            if labels[tuple(middle + away)] == labels[tuple(here)]:
                weight = np.prod([w[o + r] for w, o, r in zip(weights, offset, radius, strict=True)])
                away = away / np.array(sigma)
                total += weight
                first += weight * away
                second += weight * np.outer(away, away)
        mean = first / max(total, 1)
        covariance = second / max(total, 1) - np.outer(mean, mean)
        offset = mean + moved if total else np.zeros(3)
        variance = np.maximum(np.diag(covariance), VARIANCE_FLOOR)
        pairs = ((0, 1), (0, 2), (1, 2))
        pearson = [covariance[a, b] / np.sqrt(variance[a] * variance[b]) for a, b in pairs]
        values = [*(0.5 + 0.5 * offset), *variance, *(0.5 + 0.5 * np.array(pearson)), total / largest]
        result[(slice(None), *place)] = np.clip(values, 0, 1)
    return result
