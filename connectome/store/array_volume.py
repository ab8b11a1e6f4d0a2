"""Arrays of foreign files with the face of a volume, held in memory: for truths and small results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Triple
from connectome.store.layout import VoxelSize, voxel_size
from connectome.store.locations import StoreError
from connectome.store.sources import is_foreign, open_source
from connectome.store.volume import Volume


@dataclass(frozen=True, eq=False)
class ArrayVolume:
    """An array with a place in space that can be read like a `Volume`. It travels as its URL."""

    url: str
    array: npt.NDArray[Any]
    box: Box
    n_channels: int | None
    stated_voxel_size_nm: VoxelSize | None
    n_levels: int = 1

    def __reduce__(self) -> tuple[Any, ...]:
        return open_volume, (self.url, self.stated_voxel_size_nm)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @property
    def voxel_size_nm(self) -> VoxelSize:
        """Size of a voxel (z, y, x) in nanometres."""
        if self.stated_voxel_size_nm is None:
            raise StoreError(f"{self.url} does not state its voxel size; give it (z, y, x, in nanometres)")
        return self.stated_voxel_size_nm

    def level_box(self, level: int) -> Box:
        """Return the box; there is one level."""
        if level != 0:
            raise StoreError(f"{self.url} has the level 0 only, got {level}")
        return self.box

    def level_factor(self, level: int) -> Triple:
        """Return (1, 1, 1); there is one level."""
        self.level_box(level)
        return 1, 1, 1

    def read(self, box: Box, level: int = 0) -> npt.NDArray[Any]:
        """Return a copy of the voxels of `box`, which must lie inside the volume's box."""
        if not self.level_box(level).contains(box):
            raise StoreError(f"box {box} reaches outside {self.url}, which is {self.box}")
        return np.array(self.array[(..., *box.relative_to(self.box.start).slices)], order="C")


def read_array(url: str, voxel_size_nm: Sequence[float] | None = None) -> ArrayVolume:
    """Read a foreign file's array into memory."""
    source = open_source(url)
    size = source.voxel_size_nm if voxel_size_nm is None else voxel_size(voxel_size_nm)
    box = Box.of_shape(source.shape).shift(source.offset)
    return ArrayVolume(source.url, source.read(), box, source.n_channels, size)


def open_volume(url: str, voxel_size_nm: Sequence[float] | None = None) -> Volume | ArrayVolume:
    """Open a volume, or read a foreign file's array into memory."""
    if is_foreign(url):
        return read_array(url, voxel_size_nm)
    return Volume.open(url, voxel_size_nm=voxel_size_nm)
