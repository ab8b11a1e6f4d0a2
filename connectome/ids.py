"""Global ids from voxel positions, and back.

An object's id is ``1 + the global C-order index of its first voxel`` (uint64). Ids are unique without
a counter, the same whatever the blocks, and decode to a place inside the object. 0 is background.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from connectome.geometry import Triple


def id_of_voxel(voxel: Sequence[int], shape: Sequence[int]) -> int:
    """Return the id of an object whose first voxel is `voxel` in a volume of `shape` (both zyx)."""
    return (voxel[0] * shape[1] + voxel[1]) * shape[2] + voxel[2] + 1


def voxel_of_id(identifier: int, shape: Sequence[int]) -> Triple:
    """Return the first voxel (zyx) of the object `identifier`."""
    index = identifier - 1
    return index // (shape[1] * shape[2]), index // shape[2] % shape[1], index % shape[2]


def voxels_of_ids(
    ids: npt.NDArray[np.uint64], shape: Sequence[int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the first voxels of many objects as three arrays (z, y, x), each of shape (n,)."""
    index = (ids - np.uint64(1)).astype(np.int64)
    return index // (shape[1] * shape[2]), index // shape[2] % shape[1], index % shape[2]
