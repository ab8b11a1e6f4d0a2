"""Location hash: the deterministic noise that breaks ties between voxel edges.

Two voxel edges of one affinity are ordered by a 24-bit hash of where they are, so that ties fall the
same way whatever the blocks, and chains of best neighbours stay short.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from connectome.kernels.jit import jit

HASH_BITS = 24
_FIRST = np.uint64(0x9E3779B97F4A7C15)
_SECOND = np.uint64(0xBF58476D1CE4E5B9)


@jit
def location_hash(index: int, axis: int, mask: np.uint64) -> np.int64:
    """Hash (global index of the higher voxel, axis) to the bits of `mask`."""
    x = np.uint64(index * 3 + axis + 1) * _FIRST
    x ^= x >> np.uint64(31)
    x *= _SECOND
    x ^= x >> np.uint64(29)
    return np.int64(x & mask)


def location_hashes(indices: npt.NDArray[np.int64], axis: int, hash_bits: int = HASH_BITS) -> npt.NDArray[np.int64]:
    """Hash many voxel edges of one axis.

    Parameters
    ----------
    indices : int64 array
        Global C-order indices of the higher voxels.
    axis : int
        Axis of the edges (0 z, 1 y, 2 x).
    hash_bits : int
        Width of the hash; fewer bits give ties, which tests use.
    """
    x = (indices * 3 + (axis + 1)).astype(np.uint64) * _FIRST
    x ^= x >> np.uint64(31)
    x *= _SECOND
    x ^= x >> np.uint64(29)
    return (x & hash_mask(hash_bits)).astype(np.int64)


def hash_mask(hash_bits: int) -> np.uint64:
    """Return the mask that keeps `hash_bits` bits."""
    return np.uint64((1 << hash_bits) - 1)
