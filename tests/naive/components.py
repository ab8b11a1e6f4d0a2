"""Plain twins of connected pieces and of the consensus of two segmentations."""

import numpy as np


def connected_pieces(labels, box, domain):
    """Spread from each voxel in scan order over the faces of voxels of its label."""
    pieces = np.zeros(labels.shape, np.uint64)
    for start in np.ndindex(labels.shape):
        if labels[start] == 0 or pieces[start]:
            continue
        place = [s + b - d for s, b, d in zip(start, box.start, domain.start, strict=True)]
        name = 1 + np.ravel_multi_index(place, domain.shape)
        edge, pieces[start] = [start], name
        while edge:
            voxel = edge.pop()
            for axis in range(3):
                for step in (-1, 1):
                    next_to = tuple(v + step * (k == axis) for k, v in enumerate(voxel))
                    inside = all(0 <= v < n for v, n in zip(next_to, labels.shape, strict=True))
                    if inside and not pieces[next_to] and labels[next_to] == labels[start]:
                        pieces[next_to] = name
                        edge.append(next_to)
    return pieces


def consensus(first, second):
    """Pieces of pairs of labels, both of which are not 0."""
    from connectome.geometry import Box

    box, numbers = Box.of_shape(first.shape), {}
    pairs = np.zeros(first.shape, np.uint64)
    for voxel in np.ndindex(first.shape):
        if first[voxel] and second[voxel]:
            pairs[voxel] = numbers.setdefault((int(first[voxel]), int(second[voxel])), len(numbers) + 1)
    return connected_pieces(pairs, box, box)
