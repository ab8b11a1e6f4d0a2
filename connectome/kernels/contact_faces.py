"""Every face at which two labels touch, and one of them for each pair to stand for its contact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ContactFaces:
    """Faces between labels of one array.

    Attributes
    ----------
    pairs : uint64 array, shape (n, 2)
        Labels that touch, the lower one first; sorted.
    pair : int64 array, shape (m,)
        For each face the row of its pair.
    axis : int64 array, shape (m,)
        Normal of the face.
    voxel : int64 array, shape (m, 3)
        The face's upper voxel (z, y, x).
    """

    pairs: npt.NDArray[np.uint64]
    pair: npt.NDArray[np.int64]
    axis: npt.NDArray[np.int64]
    voxel: npt.NDArray[np.int64]

    def central_voxels(self) -> npt.NDArray[np.int64]:
        """Return for each pair its voxel nearest to the mean of all, the first in C order if there are several.

        Returns
        -------
        int64 array, shape (n, 3)
            Where the array that the faces are of lies in a volume makes no difference, nor what else is in it.
        """
        n_faces = np.bincount(self.pair, minlength=len(self.pairs))
        distance = np.zeros(self.pair.size, np.int64)
        for places in self.voxel.T:
            sums = np.zeros(len(self.pairs), np.int64)
            np.add.at(sums, self.pair, places)
            distance += (n_faces[self.pair] * places - sums[self.pair]) ** 2
        order = np.lexsort((*self.voxel.T[::-1], distance, self.pair))
        _, first = np.unique(self.pair[order], return_index=True)
        return self.voxel[order[first]]


def contact_faces(labels: npt.NDArray[Any]) -> ContactFaces:
    """Return all faces between two labels.

    Parameters
    ----------
    labels : uint64 array, shape (z, y, x)
        0 is background and touches nothing.

    Notes
    -----
    O(voxels), 8 bytes per voxel, and O(m log m) for m faces, some 200 bytes each. Squares of distances are whole
    numbers: exact for pairs of up to 2^20 faces in arrays of up to 2^10 voxels along an axis.
    """
    rows, axes, voxels = [], [], []
    for axis in range(3):
        moved = np.moveaxis(labels, axis, 0)
        here, below = moved[1:], moved[:-1]
        places = np.argwhere((here != below) & (here != 0) & (below != 0))
        ends = np.stack([array[tuple(places.T)] for array in (below, here)], axis=1)
        rows.append(np.sort(ends.astype(np.uint64), axis=1))
        places[:, 0] += 1
        others = [k for k in range(3) if k != axis]
        back = np.empty_like(places)
        back[:, [axis, *others]] = places
        voxels.append(back)
        axes.append(np.full(len(places), axis, np.int64))
    pairs, pair = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
    return ContactFaces(pairs, pair.reshape(-1).astype(np.int64), np.concatenate(axes), np.concatenate(voxels))
