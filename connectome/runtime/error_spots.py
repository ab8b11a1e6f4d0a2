"""Where the worst errors of a segmentation are, so that a person can look at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Grid, Halo, Triple, as_triple
from connectome.kernels.contingency import contingency
from connectome.metrics.worst_errors import WorstError
from connectome.runtime.evaluation import BLOCK, Beside, Progress

Mask = npt.NDArray[np.bool_]
BELOW = Halo(low=(1, 1, 1))
"""A face belongs to the block of its upper voxel."""


@dataclass(frozen=True)
class Spot:
    """A place to look at.

    Attributes
    ----------
    voxel : Triple
        Voxel (z, y, x) of the segmentation.
    normal : int
        Axis of the plane to look at: what meets there crosses it rather than lying in it.
    n_faces : int
        Faces of voxels over which the two parts touch in the block that has most of them; 0 where they do not touch.
    """

    voxel: Triple
    normal: int
    n_faces: int


def find_spots(beside: Beside, errors: Sequence[WorstError], progress: Progress | None = None) -> list[Spot]:
    """Find for each error where its two first parts touch most, or where the second one is if they never do.

    Parameters
    ----------
    beside : Beside
        As the errors were measured.
    errors : sequence of WorstError
    progress : callable, optional

    Notes
    -----
    Reads both volumes once; a block is looked through only for errors whose parts it holds. Memory is that of a block.
    """
    best: list[tuple[int, int, Spot] | None] = [None] * len(errors)
    grid = Grid(beside.part, BLOCK)
    for n, index in enumerate(grid.indices()):
        box = grid.box_at(index)
        read = box.grow(BELOW).intersect(beside.part)
        segments, truth = beside.read_known(read)
        pairs, counts = contingency(truth, segments)
        there = {(int(t), int(s)): int(count) for (t, s), count in zip(pairs, counts, strict=True)}
        for place, error in enumerate(errors):
            if error.pair[1] not in there:
                continue
            first, second = ((truth == cell) & (segments == segment) for cell, segment in error.pair)
            spot = _spot(first, second, read, box) if error.pair[0] in there else None
            found = spot or _inside(second, read)
            rank = (found.n_faces, there[error.pair[1]])
            held = best[place]
            if held is None or rank > held[:2]:
                best[place] = (*rank, found)
        if progress is not None:
            progress(n + 1, len(grid))
    return [held[2] for held in best if held is not None]


def _spot(first: Mask, second: Mask, read: Box, box: Box) -> Spot | None:
    """Return where two masks touch in a box, if they do."""
    faces = []
    inside = box.relative_to(read.start)
    for axis in range(3):
        upper, lower = [slice(None)] * 3, [slice(None)] * 3
        upper[axis], lower[axis] = slice(1, None), slice(None, -1)
        one, two = tuple(upper), tuple(lower)
        touching = np.argwhere((first[one] & second[two]) | (second[one] & first[two]))
        touching[:, axis] += 1
        faces.append(touching[(touching >= inside.start).all(axis=1)])
    n_faces = [len(each) for each in faces]
    if not sum(n_faces):
        return None
    voxel = _nearest_to_mean(np.concatenate(faces), read)
    return Spot(voxel, int(np.argmin(n_faces)), sum(n_faces))


def _inside(mask: Mask, read: Box) -> Spot:
    return Spot(_nearest_to_mean(np.argwhere(mask), read), 0, 0)


def _nearest_to_mean(voxels: npt.NDArray[np.int64], read: Box) -> Triple:
    squared = ((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1)
    nearest = voxels[int(np.argmin(squared))] + np.array(read.start)
    return as_triple([int(n) for n in nearest])
