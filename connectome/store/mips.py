"""Writing a block together with its part of every level of the pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from connectome.geometry import Box, Triple, as_triple
from connectome.kernels.downsample import downsample_mean, downsample_mode
from connectome.store.volume import Volume

Array = npt.NDArray[Any]


def pooling_steps(volume: Volume) -> list[list[Triple]]:
    """Return, for each level after level 0, the factors of 1 or 2 that pool the level before it to it in turn."""
    steps = []
    for level in range(1, volume.n_levels):
        finer, factor = volume.level_factor(level - 1), volume.level_factor(level)
        left, of_level = [b // a for a, b in zip(finer, factor, strict=True)], []
        while max(left) > 1:
            step = as_triple([2 if n % 2 == 0 else 1 for n in left])
            of_level.append(step)
            left = [n // s for n, s in zip(left, step, strict=True)]
        steps.append(of_level)
    return steps


def write_levels(volume: Volume, box: Box, array: Array, *, is_labels: bool) -> None:
    """Write a block and what it pools to, in one pass: the mode of labels, else the mean.

    `box` lies at level 0 and starts at a block of the volume's `write_shape`, whose pyramid was chosen so
    that no pooled voxel belongs to two blocks.
    """
    pool = downsample_mode if is_labels else downsample_mean
    volume.write(box, array)
    for level, steps in enumerate(pooling_steps(volume), 1):
        for step in steps:
            array = pool(array, step)
        _write_level(volume, box, array, level)


def write_pooled(volume: Volume, box: Box, arrays: Sequence[Array]) -> None:
    """Write a block that was pooled already: level 0, and one more array for each of the `pooling_steps`."""
    volume.write(box, arrays[0])
    last = 0
    for level, steps in enumerate(pooling_steps(volume), 1):
        last += len(steps)
        _write_level(volume, box, arrays[last], level)


def _write_level(volume: Volume, box: Box, array: Array, level: int) -> None:
    inside, factor = box.relative_to(volume.box.start), volume.level_factor(level)
    start = as_triple([a // f for a, f in zip(inside.start, factor, strict=True)])
    pooled = Box.of_shape(array.shape[-3:]).shift(start)
    volume.write(pooled.shift(volume.level_box(level).start), array, level)
