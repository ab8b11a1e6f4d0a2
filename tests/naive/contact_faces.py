"""Plain twin of the faces between labels."""

import numpy as np


def contact_faces(labels):
    """{(lower label, higher label): [(axis, upper voxel)]} of all faces between two labels."""
    found = {}
    for voxel in np.ndindex(labels.shape):
        for axis in range(3):
            below = tuple(np.subtract(voxel, np.eye(3, dtype=int)[axis]))
            if min(below) >= 0 and labels[voxel] != labels[below] and labels[voxel] and labels[below]:
                pair = tuple(sorted((int(labels[voxel]), int(labels[below]))))
                found.setdefault(pair, []).append((axis, voxel))
    return found


def central_voxel(voxels):
    """The voxel nearest to the mean of all (with repetitions), first in C order."""
    n, sums = len(voxels), np.sum(voxels, axis=0)
    return min(
        voxels, key=lambda voxel: (sum((n * int(p) - int(s)) ** 2 for p, s in zip(voxel, sums, strict=True)), voxel)
    )
