"""Skeletons of the true cells of a volume and what a segmentation says at their nodes, block by block."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.geometry import Box, Grid, Halo, Triple, as_triple
from connectome.metrics.skeletons import Pieces, Skeletons, find_pieces, join_pieces
from connectome.runtime.evaluation import BLOCK, Beside, Progress

Labels = npt.NDArray[np.uint64]
MOST_CUBE_VOXELS = 1 << 24
"""Voxels of a cube at most: a block holds whole cubes, and beside it those below."""


def skeletonise(beside: Beside, spacing_nm: float, progress: Progress | None = None) -> tuple[Skeletons, Labels]:
    """Return the skeletons of the cells that count, and the segment at each node.

    Parameters
    ----------
    beside : Beside
        Truth is skeletonised where it and the mask are not 0; rename is applied to the segments.
    spacing_nm : float
        Edge of the cubes that hold one node of each piece of a cell.
    progress : callable, optional

    Notes
    -----
    Reads both volumes once, and some cubes twice. Memory is that of a block, and of the nodes.
    """
    size = beside.voxel_size_nm
    cube = as_triple([min(max(1, round(spacing_nm / nm)), n) for nm, n in zip(size, beside.part.shape, strict=True)])
    if not spacing_nm > 0 or math.prod(cube) > MOST_CUBE_VOXELS:
        raise InputError(
            f"nodes of skeletons at {spacing_nm:g} nm make cubes of {cube} voxels (z, y, x): give a length above 0 "
            f"whose cubes have at most {MOST_CUBE_VOXELS:,} voxels"
        )
    grid = Grid(beside.part, _whole_cubes(cube))
    parts: list[Pieces] = []
    segments = [np.zeros(0, np.uint64)]
    for n, index in enumerate(grid.indices()):
        box = grid.box_at(index)
        read = box.grow(Halo(low=cube)).intersect(beside.part)
        labels, truth = beside.read_known(read)
        pieces = find_pieces(truth, read, box, beside.part, cube)
        parts.append(pieces)
        segments.append(_labels_at(labels, read, pieces))
        if progress is not None:
            progress(n + 1, len(grid))
    order = np.argsort(np.concatenate([part.ids for part in parts]))
    return join_pieces(parts, size), np.concatenate(segments)[order]


def _labels_at(labels: Labels, read: Box, pieces: Pieces) -> Labels:
    z, y, x = (pieces.voxels - np.array(read.start)).T
    found: Labels = labels[z, y, x]
    return found


def _whole_cubes(cube: Triple) -> Triple:
    """Return a block of whole cubes, at most of `BLOCK` where that holds one."""
    return as_triple([max(1, n // c) * c for n, c in zip(BLOCK, cube, strict=True)])
