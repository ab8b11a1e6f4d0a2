"""Scores a segmentation against truth block by block, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.geometry import Box, Grid
from connectome.kernels.contingency import Counts, Labels, add_tables, contingency
from connectome.metrics import Agreement, agreement
from connectome.store.sources import open_volume

BLOCK = (128, 512, 512)
MOST_PENDING = 1 << 20
"""Rows of blocks that wait at least to be added up."""

Progress = Callable[[int, int], None]
"""Told (blocks done, blocks in all)."""


@dataclass(frozen=True)
class Compared:
    """Voxels of a segmentation beside truth.

    Attributes
    ----------
    pairs, counts
        Contingency table: (truth label, segmentation label), and its voxels.
    whole, part : Box
        The segmentation's box, and what of it counts.
    """

    pairs: Labels
    counts: Counts
    whole: Box
    part: Box


def evaluate(
    segmentation_url: str,
    truth_url: str,
    *,
    mask_url: str | None = None,
    box: Box | None = None,
    progress: Progress | None = None,
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

    Returns
    -------
    Agreement
    """
    compared = compare(segmentation_url, truth_url, mask_url=mask_url, box=box, progress=progress)
    return agreement(compared.pairs, compared.counts)


def compare(
    segmentation_url: str,
    truth_url: str,
    *,
    mask_url: str | None = None,
    box: Box | None = None,
    progress: Progress | None = None,
) -> Compared:
    """Count how many voxels carry each pair of labels; parameters as of `evaluate`.

    Memory is that of a block and of a few times the table.
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
    pending: list[tuple[Labels, Counts]] = []
    for n, index in enumerate(grid.indices()):
        here = grid.box_at(index).relative_to(whole.start)
        arrays = [_labels(volume.read(here.shift(volume.box.start))) for _, _, volume in volumes]
        pending.append(contingency(arrays[1], arrays[0], arrays[2] != 0 if mask_url else None))
        # Folded in when they outweigh the table, so that adding up stays linear in what the blocks have.
        if sum(counts.size for _, counts in pending) > max(MOST_PENDING, table[1].size):
            table, pending = add_tables([table, *pending]), []
        if progress is not None:
            progress(n + 1, len(grid))
    pairs, counts = add_tables([table, *pending])
    return Compared(pairs, counts, whole, part)


def _labels(array: npt.NDArray[np.generic]) -> npt.NDArray[np.uint64]:
    return array.astype(np.uint64, copy=False)
