"""What a network is taught: affinities of a label volume, and labels made fit for teaching."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from connectome.geometry import Triple

Labels = npt.NDArray[np.int64]
UNKNOWN = 2
"""Of a class mask: where nobody has looked."""


def offsets_of(long_range: Sequence[int]) -> list[Triple]:
    """Return the offset (z, y, x) of every channel: nearest neighbours, then each long range."""
    offsets = []
    for distance in (1, *long_range):
        offsets += [(distance, 0, 0), (0, distance, 0), (0, 0, distance)]
    return offsets


def affinity_targets(
    labels: Labels, offsets: Sequence[Triple], margin: Triple
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Tell for every voxel whether it belongs to the same object as the voxel `offset` below it.

    Parameters
    ----------
    labels
        Labels with `margin` extra voxels (z, y, x) on every side; 0 is unlabelled.
    offsets
        Offset of each channel in voxels; an affinity is stored at the higher-index voxel.
    margin
        Extra voxels, at least the largest offset.

    Returns
    -------
    same, known
        Two arrays (channel, z, y, x): the target, and whether both ends are labelled.
    """
    inner = tuple(slice(m, n - m) for m, n in zip(margin, labels.shape, strict=True))
    here = labels[inner]
    same = np.empty((len(offsets), *here.shape), np.bool_)
    known = np.empty_like(same)
    for channel, offset in enumerate(offsets):
        there = labels[tuple(slice(c.start - d, c.stop - d) for c, d in zip(inner, offset, strict=True))]
        same[channel] = here == there
        known[channel] = (here != 0) & (there != 0)
    return same, known


def class_targets(
    masks: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return target and mask of classes from masks (class, z, y, x) that hold 0, 1 or `UNKNOWN`."""
    return masks == 1, masks != UNKNOWN


def absorb_enclosed(labels: Labels, max_voxels: int, min_share: float) -> Labels:
    """Give small objects that lie inside another one its label.

    Ground truth often holds organelles as objects of their own; their outlines would teach boundaries
    where no cell ends. An object of at most `max_voxels` is absorbed by the neighbour that has at least
    `min_share` of its contact (in voxel faces), if that neighbour is larger. Chains (a granule in a
    mitochondrion in a cell) are followed to their end.
    """
    ids, flat = np.unique(labels, return_inverse=True)
    compact = flat.reshape(labels.shape)
    sizes = np.bincount(compact.ravel())
    first, second, contact = _contacts(compact)
    total = np.bincount(first, contact, minlength=len(ids))
    parent = np.arange(len(ids))
    for one, other, faces in zip(first, second, contact, strict=True):
        enclosed = faces >= min_share * total[one] and sizes[one] <= max_voxels
        if enclosed and sizes[other] > sizes[one] and ids[one] != 0 and ids[other] != 0:
            parent[one] = other
    for _ in range(len(ids)):
        above = parent[parent]
        if np.array_equal(above, parent):
            break
        parent = above
    return ids[parent][compact]


def _contacts(
    compact: npt.NDArray[np.intp],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count voxel faces between every ordered pair of touching objects."""
    n = np.int64(compact.max() + 1)
    keys = []
    for axis in range(3):
        moved = np.moveaxis(compact, axis, 0)
        low, high = moved[:-1], moved[1:]
        differ = low != high
        keys += [low[differ] * n + high[differ], high[differ] * n + low[differ]]
    pairs, faces = np.unique(np.concatenate(keys), return_counts=True)
    return pairs // n, pairs % n, faces.astype(np.int64)
