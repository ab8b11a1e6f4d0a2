"""Final labels of a block: fragments under the names that agglomeration gave them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from connectome.kernels.jit import jit

Labels = npt.NDArray[np.uint64]


def relabel(labels: Labels, old: Labels, new: Labels) -> Labels:
    """Replace labels that have a row in (old, new); the others keep themselves.

    Parameters
    ----------
    labels : uint64 array, any shape
    old, new : uint64 arrays, shape (n,)
        Names, sorted by `old`.

    Returns
    -------
    uint64 array of the same shape.

    Notes
    -----
    O(voxels + runs log n): labels come in runs along x, and only a change is looked up.
    """
    renamed = np.empty(labels.shape, np.uint64)
    _relabel(np.ascontiguousarray(labels).ravel(), old, new, renamed.ravel())
    return renamed


@jit
def _relabel(labels, old, new, renamed):
    last, name = np.uint64(0), np.uint64(0)
    first = np.searchsorted(old, np.uint64(0))
    if first < old.size and old[first] == np.uint64(0):
        name = new[first]
    for voxel in range(labels.size):
        label = labels[voxel]
        if label != last:
            last = label
            place = np.searchsorted(old, label)
            name = new[place] if place < old.size and old[place] == label else label
        renamed[voxel] = name
