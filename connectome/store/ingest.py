"""Ingest: any source of voxels becomes a volume with a pyramid, slab by slab in bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Grid, Triple, as_triple
from connectome.store.layout import Kind, VoxelSize, is_label_type, voxel_size
from connectome.store.locations import STORE_ERRORS, StoreError
from connectome.store.mips import write_levels
from connectome.store.pyramid import pyramid_factors
from connectome.store.slabs import Slab, Source
from connectome.store.sources import open_source
from connectome.store.volume import Volume

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]
"""Called with the voxels written so far, and in all."""

BLOCK = (128, 128, 128)
ONE_LEVEL = ("zarr-v2", "zarr-v3")


def ingest(
    source_url: str,
    target_url: str,
    *,
    voxel_size_nm: Sequence[float] | None = None,
    offset: Sequence[int] | None = None,
    block: Sequence[int] = BLOCK,
    window: tuple[float, float] | None = None,
    kind: Kind | None = None,
    format: str = "ome-zarr-0.5",  # noqa: A002
    progress: Progress | None = None,
) -> Volume:
    """Copy the voxels at `source_url` to a new volume with a pyramid.

    Parameters
    ----------
    source_url, target_url
        What is read (see `open_source`), and where the volume goes.
    voxel_size_nm, offset
        Voxel size and first voxel (z, y, x); by default what the source states, else no offset.
    block
        What one write covers, and the shard of the volume. A slab of ``block[0]`` sections is held in
        memory if the source is compressed; otherwise a block at a time.
    window
        Grey values (low, high) that become 0 and 255 of uint8.
    kind
        ``segmentation`` pools by the mode, ``image`` by the mean; by default integers wider than 16 bits
        are a segmentation.

    The volume can be opened when the last voxel is written. What an interrupted ingest leaves behind is
    refused by `Volume.open`, and replaced by the next ingest to that place.
    """
    source = open_source(source_url)
    size = _size_of(source, voxel_size_nm)
    conversion = Conversion.choose(source, window)
    box = Box.of_shape(source.shape).shift(source.offset if offset is None else as_triple(offset))
    shape = as_triple(block)
    if min(shape) < 1:
        raise StoreError(f"a block has at least one voxel along each axis, got {shape}")
    is_labels = (kind == "segmentation") if kind else is_label_type(conversion.dtype)
    if is_labels and conversion.dtype.kind == "f":
        raise StoreError(f"{source.url} holds {conversion.dtype}; a segmentation has integers")
    volume = Volume.create(
        target_url,
        box=box,
        dtype=conversion.dtype,
        voxel_size_nm=size,
        n_channels=source.n_channels,
        write_shape=shape,
        factors=[(1, 1, 1)] if format in ONE_LEVEL else pyramid_factors(box.shape, shape, size),
        format=format,
        kind="segmentation" if is_labels else "image",
        is_finished=False,
    )
    try:
        _copy(source, volume, shape, conversion, is_labels=is_labels, progress=progress)
        volume.finish()
    except BaseException:
        # Most of all on a full disk: nothing half-written stays. A killed process leaves its mark.
        with contextlib.suppress(*STORE_ERRORS):
            volume.delete()
        raise
    return volume


def _size_of(source: Source, given: Sequence[float] | None) -> VoxelSize:
    size = source.voxel_size_nm if given is None else voxel_size(given)
    if size is None:
        raise StoreError(
            f"{source.url} does not state its voxel size (z, y, x, in nanometres); "
            "give it with `connectome ingest ... --voxel-size Z,Y,X`"
        )
    return size


def _copy(
    source: Source,
    volume: Volume,
    block: Triple,
    conversion: Conversion,
    *,
    is_labels: bool,
    progress: Progress | None,
) -> None:
    grid = Grid(volume.box, block)
    _, n_y, n_x = grid.shape
    n_done = 0
    for z, (_, slab) in enumerate(source.slabs(block[0])):
        for y in range(n_y):
            for x in range(n_x):
                box = grid.box_at((z, y, x))
                array = conversion.apply(_cut(slab, box.relative_to(volume.box.start)))
                write_levels(volume, box, array, is_labels=is_labels)
                n_done += box.n_voxels
                if progress is not None:
                    progress(n_done, volume.box.n_voxels)


def _cut(slab: Slab, inside: Box) -> Array:
    _, y, x = inside.slices
    return slab[..., y, x]


@dataclass(frozen=True)
class Conversion:
    """How the source's numbers become those of the volume."""

    dtype: np.dtype[Any]
    window: tuple[float, float] | None = None

    @classmethod
    def choose(cls, source: Source, window: tuple[float, float] | None) -> Conversion:
        """Find the volume's type, or say why there is none."""
        kind = source.dtype.kind
        if kind not in "biuf":
            raise StoreError(f"{source.url} holds {source.dtype}; wanted are integers, floats or booleans")
        if window is not None:
            low, high = (float(value) for value in window)
            if not low < high:
                raise StoreError(f"a window is (low, high) with low below high, got {window}")
            return cls(np.dtype(np.uint8), (low, high))
        if kind == "b":
            return cls(np.dtype(np.uint8))
        if source.dtype.itemsize > 8 or source.dtype == np.float16:
            return cls(np.dtype(np.float32))
        return cls(source.dtype.newbyteorder("="))

    def apply(self, array: Array) -> Array:
        """Convert voxels. A window rounds halves upwards; what is not a number becomes 0."""
        if self.window is None:
            return np.ascontiguousarray(array, self.dtype)
        low, high = self.window
        scaled = (array.astype(np.float64) - low) * (255 / (high - low)) + 0.5
        # nan fails both comparisons of a clip, and has no integer: it becomes 0 first.
        return np.clip(np.nan_to_num(scaled, nan=0.0), 0, 255).astype(np.uint8)
