"""Contact areas in plain Python."""

import itertools


def contacts(labels, margin=(0, 0, 0)):
    """Return [z, y, x] faces by pair of labels, without those between voxels of the low margin."""
    faces = {}
    for voxel in itertools.product(*map(range, margin, labels.shape)):
        for axis in range(3):
            if voxel[axis] == 0:
                continue
            here = int(labels[voxel])
            below = int(labels[tuple(c - (k == axis) for k, c in enumerate(voxel))])
            if here and below and here != below:
                faces.setdefault((min(here, below), max(here, below)), [0, 0, 0])[axis] += 1
    return faces
