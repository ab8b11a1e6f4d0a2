"""Writing a block together with its part of every level of the pyramid."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from connectome.geometry import Box
from connectome.kernels.downsample import downsample_mean, downsample_mode
from connectome.store.volume import Volume


def write_levels(volume: Volume, box: Box, array: npt.NDArray[Any], *, is_labels: bool) -> int:
    """Write a block and what it pools to, in one pass: the mode of labels, else the mean.

    `box` lies at level 0 and starts at a block of the volume's `write_shape`, whose pyramid was chosen so
    that no pooled voxel belongs to two blocks. Returns the bytes that were given to the store.
    """
    pool = downsample_mode if is_labels else downsample_mean
    volume.write(box, array)
    n_bytes, inside = array.nbytes, box.relative_to(volume.box.start)
    for level in range(1, volume.n_levels):
        finer, factor = volume.level_factor(level - 1), volume.level_factor(level)
        steps = [b // a for a, b in zip(finer, factor, strict=True)]
        while max(steps) > 1:
            step = [2 if n % 2 == 0 else 1 for n in steps]
            array = pool(array, step)
            steps = [n // s for n, s in zip(steps, step, strict=True)]
        start = [a // f for a, f in zip(inside.start, factor, strict=True)]
        pooled = Box.of_shape(array.shape[-3:]).shift(start)
        volume.write(pooled.shift(volume.level_box(level).start), array, level)
        n_bytes += array.nbytes
    return n_bytes
