"""Connected pieces of labels, and the finest common cut of two segmentations."""

from __future__ import annotations

from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt

from connectome.geometry import Box
from connectome.kernels.label_numbers import number_labels

Labels = npt.NDArray[np.uint64]


def connected_pieces(labels: npt.NDArray[Any], box: Box, domain: Box) -> Labels:
    """Cut labels into pieces that are connected by faces of voxels.

    Parameters
    ----------
    labels : uint32 or uint64 array, shape of `box`, at most 2^30 voxels
        Any ids; 0 is background.
    box, domain : Box
        Where the labels are, and the whole volume.

    Returns
    -------
    uint64 array of the same shape
        Every piece by its global id: 1 + the C-order index in `domain` of its first voxel.

    Notes
    -----
    O(voxels); 24 bytes per voxel beside the result.
    """
    if labels.size == 0:
        return np.zeros(labels.shape, np.uint64)
    # Numbers, for cc3d takes no ids of 2^63 and above.
    _, _, numbers = number_labels(labels)
    pieces = cc3d.connected_components(numbers, connectivity=6, out_dtype=np.uint32)
    named: Labels = ids_of_voxels(first_voxels(pieces), box, domain)[pieces]
    return named


def first_voxels(numbers: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the C-order index of the first voxel of each number from 1 on, at its place; -1 where there is none."""
    first = np.full(int(numbers.max(initial=0)) + 1, -1, np.int64)
    flat = numbers.reshape(-1)
    # Of several values written to one place the last one stays: backwards, that is the first voxel.
    first[flat[::-1]] = np.arange(flat.size - 1, -1, -1)
    first[0] = -1
    return first


def ids_of_voxels(voxels: npt.NDArray[np.int64], box: Box, domain: Box) -> Labels:
    """Return the global ids of objects by the C-order index of their first voxel in `box`; 0 for -1."""
    places = np.unravel_index(np.maximum(voxels, 0), box.shape)
    origin = box.relative_to(domain.start).start
    index = np.zeros(voxels.shape, np.int64)
    for place, start, size in zip(places, origin, domain.shape, strict=True):
        index = index * size + place + start
    return np.where(voxels < 0, np.uint64(0), index.astype(np.uint64) + np.uint64(1))


def consensus(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Labels:
    """Return the oversegmentation consensus: voxels stay together where both segmentations say so.

    Parameters
    ----------
    first, second : uint32 or uint64 arrays of one shape (z, y, x)
        0 is background; so is what is background in either of them.

    Returns
    -------
    uint64 array of the same shape
        Pieces connected by faces of voxels, each in one object of both; ids are 1 + the index of the first voxel.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    O(voxels), some 40 bytes per voxel. Januszewski et al. 2018 (Nature Methods 15:605): a merge error of one
    segmentation survives only where the other one makes it too.
    """
    if first.shape != second.shape:
        raise ValueError(f"shapes must be equal, got {first.shape} and {second.shape}: cut both to one box")
    box = Box.of_shape(first.shape)
    _, _, one = number_labels(first)
    ids, _, two = number_labels(second)
    pairs = np.where((one > 0) & (two > 0), one.astype(np.uint64) * np.uint64(ids.size + 1) + two.astype(np.uint64), 0)
    return connected_pieces(pairs.astype(np.uint64), box, box)
