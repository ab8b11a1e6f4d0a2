"""Scores a segmentation against truth block by block, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.geometry import Box, Grid
from connectome.kernels.contingency import add_tables, contingency
from connectome.metrics import Agreement, agreement
from connectome.store.sources import open_volume

BLOCK = (128, 512, 512)


def evaluate(
    segmentation_url: str,
    truth_url: str,
    *,
    mask_url: str | None = None,
    box: Box | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Agreement:
    """Compare a segmentation with truth.

    Parameters
    ----------
    segmentation_url, truth_url : str
        Volumes of one shape. Voxels where truth is 0 do not count.
    mask_url : str, optional
        Only voxels where this volume is not 0 count.
    box : Box, optional
        Only this box counts, in voxels of the segmentation.
    progress : callable, optional
        Told (blocks done, blocks in all).

    Returns
    -------
    Agreement
    """
    names = [("segmentation", segmentation_url), ("truth", truth_url)] + ([("mask", mask_url)] if mask_url else [])
    volumes = [(name, url, open_volume(url)) for name, url in names]
    shape = volumes[0][2].box.shape
    for name, url, volume in volumes:
        if volume.n_channels is not None or volume.dtype.kind not in "uib":
            raise InputError(f"{name} {url} holds {volume.dtype} with {volume.n_channels} channels, wanted are labels")
        if volume.box.shape != shape:
            raise InputError(
                f"{name} {url} has shape {volume.box.shape}, the segmentation {segmentation_url} has {shape}: "
                "give volumes of one shape"
            )
    whole = volumes[0][2].box
    part = whole if box is None else box
    if not whole.contains(part):
        raise InputError(f"box {part} reaches outside {segmentation_url}, which is {whole}")
    grid = Grid(part, BLOCK)
    table = contingency(np.zeros(0, np.uint64), np.zeros(0, np.uint64))
    for n, index in enumerate(grid.indices()):
        here = grid.box_at(index).relative_to(whole.start)
        arrays = [_labels(volume.read(here.shift(volume.box.start))) for _, _, volume in volumes]
        counted = arrays[2] != 0 if mask_url else None
        table = add_tables([table, contingency(arrays[1], arrays[0], counted)])
        if progress is not None:
            progress(n + 1, len(grid))
    return agreement(*table)


def _labels(array: npt.NDArray[np.generic]) -> npt.NDArray[np.uint64]:
    return array.astype(np.uint64)
