"""Bounded looks at volumes of any size: the level that fits, its labels, their sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Grid, Triple, as_triple
from connectome.kernels.contingency import add_tables, contingency
from connectome.kernels.downsample import downsample_mode
from connectome.store.layout import VoxelSize
from connectome.store.volume import Volume
from connectome.web.scene import AnyVolume

READ_SHAPE = (128, 128, 128)
MOST_CHUNKS = 1 << 14
"""Chunks or shards that are opened for one sample."""
POOLED = 8
"""How much more than asked for is read to be pooled, rather than look at the centre only."""


@dataclass(frozen=True)
class Sample:
    """A part of one level of a volume, perhaps pooled further.

    Attributes
    ----------
    level : int
    box : Box
        In voxels of the level.
    factor : (z, y, x)
        Voxels of level 0 that a voxel pools.
    is_whole : bool
        False where even the coarsest level is too large, and the box is its centre.
    """

    level: int
    box: Box
    factor: Triple
    is_whole: bool


@dataclass(frozen=True)
class SegmentSizes:
    """Segments of a sample, the largest first.

    Attributes
    ----------
    ids : uint64 array, shape (n,)
    sizes : int64 array, shape (n,)
        Voxels of level 0; multiples of what a voxel of the sample pools.
    sample : Sample
    """

    ids: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.int64]
    sample: Sample


def choose_sample(volume: AnyVolume, n_voxels: int) -> Sample:
    """Return the finest whole level of at most `n_voxels`, or the centre of a level.

    Few chunks count as well: a run's coarse levels have a small shard for each of its blocks. Where no
    level is small enough, the centre that shows most of the volume is taken.
    """
    centres = []
    for level in range(volume.n_levels):
        box, factor = volume.level_box(level), volume.level_factor(level)
        most = min(n_voxels, MOST_CHUNKS * _voxels_per_chunk(volume, level))
        if box.n_voxels <= most:
            return Sample(level, box, factor, True)
        centre = centre_box(box, most)
        centres.append((centre.n_voxels * math.prod(factor), -level, Sample(level, centre, factor, False)))
    return max(centres)[2]


def _voxels_per_chunk(volume: AnyVolume, level: int) -> int:
    box = volume.level_box(level)
    shape = volume.level_write_shape(level) if isinstance(volume, Volume) else box.shape
    return math.prod(min(w, n) for w, n in zip(shape, box.shape, strict=True))


def centre_box(box: Box, n_voxels: int) -> Box:
    """Return the box of at most `n_voxels` around the centre, as much of a cube as `box` allows."""
    side, shape = 1, box.shape
    while math.prod(min(2 * side, n) for n in shape) <= n_voxels and side < max(shape):
        side *= 2
    cut = [min(side, n) for n in shape]
    start = as_triple([a + (n - c) // 2 for a, n, c in zip(box.start, shape, cut, strict=True)])
    return Box.of_shape(cut).shift(start)


def read_labels(volume: AnyVolume, box: Box, level: int) -> npt.NDArray[np.uint64]:
    """Return labels of any integer type as uint64."""
    return volume.read(box, level).astype(np.uint64)


def read_pooled_labels(
    volume: AnyVolume, voxel_size_nm: VoxelSize, n_voxels: int
) -> tuple[npt.NDArray[np.uint64], Sample]:
    """Read the labels of a sample of at most `n_voxels`, pooling here what the volume has no level for."""
    sample = choose_sample(volume, n_voxels)
    if not sample.is_whole:
        sample = choose_sample(volume, POOLED * n_voxels)
    labels, factor = read_labels(volume, sample.box, sample.level), sample.factor
    while labels.size > n_voxels:
        size = [nm * f for nm, f in zip(voxel_size_nm, factor, strict=True)]
        finest = min(nm for nm, n in zip(size, labels.shape, strict=True) if n > 1)
        step = [2 if nm < math.sqrt(2) * finest and n > 1 else 1 for nm, n in zip(size, labels.shape, strict=True)]
        labels, factor = downsample_mode(labels, step), as_triple([f * s for f, s in zip(factor, step, strict=True)])
    return labels, replace(sample, factor=factor)


def segment_sizes(volume: AnyVolume, n_voxels: int) -> SegmentSizes:
    """Measure the segments of a sample of at most `n_voxels`, block by block; 0 does not count."""
    sample = choose_sample(volume, n_voxels)
    grid = Grid(sample.box, READ_SHAPE)
    tables = []
    for index in grid.indices():
        labels = read_labels(volume, grid.box_at(index), sample.level)
        tables.append(contingency(labels, labels, labels != 0))
    pairs, counts = add_tables(tables)
    order = np.lexsort((pairs[:, 0], -counts))
    return SegmentSizes(pairs[order, 0], counts[order] * math.prod(sample.factor), sample)
