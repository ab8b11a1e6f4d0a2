"""An array of a foreign file with the face of a volume, held in memory: for truths and small results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Triple
from connectome.store.layout import VoxelSize
from connectome.store.locations import StoreError


@dataclass(frozen=True, eq=False)
class ArrayVolume:
    """An array with a place in space that can be read like a `Volume`."""

    url: str
    array: npt.NDArray[Any]
    box: Box
    n_channels: int | None
    stated_voxel_size_nm: VoxelSize | None
    n_levels: int = 1

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
