"""Affinities inside a mask, such as that of the tissue; where it is 0 no network runs."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from connectome.geometry import Block, Box, Halo
from connectome.stages.affinities import AffinityStage
from connectome.stages.stage import VoxelSize


class MaskedAffinities(AffinityStage):
    """Predict affinities as `affinities` does, and set them to 0 where one of both voxels lies outside the mask."""

    inputs: ClassVar[tuple[str, ...]] = ("image", "mask")

    stage: Literal["masked_affinities"] = "masked_affinities"

    def halo(self, name: str, voxel_size_nm: VoxelSize) -> Halo:
        return Halo(low=(1, 1, 1)) if name == "mask" else super().halo(name, voxel_size_nm)

    def read_box(self, name: str, block: Block) -> Box:
        if name == "mask":
            return block.write_box.grow(self.halo(name, block.voxel_size_nm)).intersect(block.domain)
        return super().read_box(name, block)

    def process(self, block: Block, *, image: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8]) -> dict[str, Any]:
        is_inside = mask != 0
        read = self.read_box("mask", block)
        own = is_inside[block.write_box.relative_to(read.start).slices]
        affinities = self.predict(block, image, own)
        affinities[:, ~own] = 0
        start = [a - b for a, b in zip(block.write_box.start, read.start, strict=True)]
        inside = [slice(a, a + n) for a, n in zip(start, block.write_box.shape, strict=True)]
        for axis, first in enumerate(start):
            # The volume's first voxels have no lower neighbour, and keep what the network makes of the mirrored one.
            below, kept = list(inside), [slice(None)] * 3
            below[axis] = slice(0, block.write_box.shape[axis] - 1 + first)
            kept[axis] = slice(1 - first, None)
            affinities[axis][tuple(kept)][~is_inside[tuple(below)]] = 0
        return {"affinities": affinities}
