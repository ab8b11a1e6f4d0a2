"""Scores a segmentation against truth block by block, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.geometry import Box, Grid, as_triple
from connectome.kernels.contingency import Counts, Labels, add_tables, contingency
from connectome.metrics import Agreement, agreement
from connectome.store.array_volume import ArrayVolume
from connectome.store.layout import VoxelSize
from connectome.store.sources import open_volume
from connectome.store.volume import Volume

AnyVolume = Volume | ArrayVolume
BLOCK = (128, 512, 512)
SAMPLE = 64
"""Voxels along each axis of the sample that tells labels from an image."""
IMAGE_PART = 0.6
"""Part of neighbours along x that differ from which on 8-bit voxels are taken for an image: 0.77 and more in images
and predictions of tissue, below 0.08 in labels."""
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


Rename = Callable[[Labels], Labels]
"""What segments are called instead, such as the segments of fragments."""


@dataclass(frozen=True)
class Beside:
    """A segmentation, truth and perhaps a mask in one space: that of the segmentation's voxels.

    Attributes
    ----------
    segmentation, truth, mask : AnyVolume
    part : Box
        What counts.
    rename : callable, optional
        Applied to the segments that are read.
    """

    segmentation: AnyVolume
    truth: AnyVolume
    mask: AnyVolume | None
    part: Box
    rename: Rename | None = None

    @property
    def whole(self) -> Box:
        """The segmentation's box."""
        return self.segmentation.box

    @property
    def voxel_size_nm(self) -> VoxelSize:
        """Voxel size (z, y, x) that one of the volumes states."""
        sizes = (volume.stated_voxel_size_nm for volume in (self.segmentation, self.truth))
        size = next((size for size in sizes if size is not None), None)
        if size is None:
            raise InputError(
                "neither segmentation nor truth states its voxel size, which lengths need: bring one in with "
                "connectome ingest --voxel-size"
            )
        return size

    def read(self, box: Box) -> tuple[Labels, Labels, npt.NDArray[np.bool_] | None]:
        """Return segments, truth, and where the mask counts."""
        here = box.relative_to(self.whole.start)
        segments = _labels(self.segmentation.read(box), "the segmentation")
        if self.rename is not None:
            segments = self.rename(segments)
        truth = _labels(self.truth.read(here.shift(self.truth.box.start)), "the truth")
        return segments, truth, None if self.mask is None else self.mask.read(here.shift(self.mask.box.start)) != 0

    def read_known(self, box: Box) -> tuple[Labels, Labels]:
        """Return segments and truth, which is 0 where the mask does not count."""
        segments, truth, mask = self.read(box)
        return segments, truth if mask is None else np.where(mask, truth, np.uint64(0))


def open_beside(
    segmentation_url: str,
    truth_url: str,
    *,
    mask_url: str | None = None,
    box: Box | None = None,
    rename: Rename | None = None,
) -> Beside:
    """Open volumes to compare, or refuse them; parameters as of `evaluate`."""
    names = [("segmentation", segmentation_url), ("truth", truth_url)] + ([("mask", mask_url)] if mask_url else [])
    volumes = [(name, url, open_volume(url)) for name, url in names]
    whole = volumes[0][2].box
    for name, url, volume in volumes:
        if volume.n_channels is not None or volume.dtype.kind not in ("uib" if name == "mask" else "ui"):
            channels = "" if volume.n_channels is None else f" with {volume.n_channels} channels"
            raise InputError(
                f"{name} {url} holds {volume.dtype}{channels}, wanted are labels (z y x) of an integer type: "
                "give a volume of these"
            )
        if volume.box.shape != whole.shape:
            raise InputError(
                f"{name} {url} has shape {volume.box.shape}, the segmentation {segmentation_url} has {whole.shape}: "
                "give volumes of one shape"
            )
        if volume.dtype == np.uint8:
            refuse_image(f"{name} {url}", volume)
    part = whole if box is None else box
    if not whole.contains(part):
        raise InputError(f"box {part} reaches outside {segmentation_url}, which is {whole}")
    segmentation, truth, *mask = (volume for _, _, volume in volumes)
    return Beside(segmentation, truth, mask[0] if mask else None, part, rename)


def refuse_image(where: str, volume: AnyVolume) -> None:
    """Refuse grey levels where labels are wanted: in an image most neighbours differ, in labels few do."""
    box = volume.box
    middle = [(a + b - min(n, SAMPLE)) // 2 for a, b, n in zip(box.start, box.stop, box.shape, strict=True)]
    sample = Box(as_triple(middle), as_triple([a + min(n, SAMPLE) for a, n in zip(middle, box.shape, strict=True)]))
    values = volume.read(sample)
    if values.size < SAMPLE:
        return
    unlike = float(np.mean(values[..., 1:] != values[..., :-1]))
    if unlike > IMAGE_PART:
        raise InputError(
            f"{where} looks like an image: {unlike:.0%} of the neighbours in its middle have other values; wanted "
            "are labels, the same for all voxels of an object: give another volume"
        )


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
    beside = open_beside(segmentation_url, truth_url, mask_url=mask_url, box=box)
    grid = Grid(beside.part, BLOCK)
    table = contingency(np.zeros(0, np.uint64), np.zeros(0, np.uint64))
    pending: list[tuple[Labels, Counts]] = []
    for n, index in enumerate(grid.indices()):
        segments, truth, mask = beside.read(grid.box_at(index))
        pending.append(contingency(truth, segments, mask))
        # Folded in when they outweigh the table, so that adding up stays linear in what the blocks have.
        if sum(counts.size for _, counts in pending) > max(MOST_PENDING, table[1].size):
            table, pending = add_tables([table, *pending]), []
        if progress is not None:
            progress(n + 1, len(grid))
    pairs, counts = add_tables([table, *pending])
    if not np.any(pairs[:, 0]):
        masked = "" if mask_url is None else f", or the mask {mask_url} is 0 where it is not"
        raise InputError(
            f"no voxel counts: the truth {truth_url} is 0 in all of {beside.part}{masked}; give another box, mask or "
            "truth"
        )
    return Compared(pairs, counts, beside.whole, beside.part)


def _labels(array: npt.NDArray[Any], what: str) -> npt.NDArray[np.uint64]:
    if array.dtype.kind == "i" and array.size and (least := int(array.min())) < 0:
        raise InputError(
            f"{what} holds the label {least}, wanted are labels from 1 up, and 0 where nothing counts: write 0 for it"
        )
    return array.astype(np.uint64, copy=False)
