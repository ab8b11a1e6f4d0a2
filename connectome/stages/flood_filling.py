"""Objects by a flood-filling network, subvolume by subvolume."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from connectome.geometry import Block, Box, Halo, Triple
from connectome.models.flood_filling import FillOptions, FillStatistics, flood_fill
from connectome.models.subvolumes import OVERLAPS, PIECES, Columns, Subvolumes, name_objects
from connectome.stages.filling_stage import FillingStage
from connectome.stages.stage import Artifact, TableArtifact, VolumeArtifact, VoxelSize

FILLS = {"subvolume": "int64"} | dict.fromkeys(asdict(FillStatistics()), "int64")
PEAK_BYTES = 44
"""Per voxel of a filled box while seeds are sought: image, edges, their mean, distance and random heights."""


class FloodFilling(FillingStage):
    """Fill subvolumes with objects, each on its own; `reconciliation` joins them over faces."""

    inputs: ClassVar[tuple[str, ...]] = ("image",)
    outputs: ClassVar[tuple[Artifact, ...]] = (
        VolumeArtifact("objects", "uint64"),
        TableArtifact("pieces", PIECES),
        TableArtifact("overlaps", OVERLAPS),
        TableArtifact("fills", FILLS),
    )

    stage: Literal["flood_filling"] = "flood_filling"
    margin: Triple = (32, 32, 32)
    """Voxels (z, y, x) around a subvolume that are filled with it."""
    min_segment_size: int = Field(default=1000, ge=1)
    """Objects with fewer new voxels are dropped."""
    n_at_once: int = Field(default=1, ge=1)
    """Objects that grow together and share a batch, for accelerators: the same labels but for rounding in a batch."""

    @model_validator(mode="after")
    def _margin_goes_beyond_the_field_of_view(self) -> Self:
        reach = [size // 2 for size in self.field_of_view]
        if min(self.subvolume) < 1 or any(m <= r for m, r in zip(self.margin, reach, strict=True)):
            raise ValueError(
                f"subvolume is {self.subvolume} and margin {self.margin}: subvolumes must have voxels, and margins "
                f"more than half the field of view {self.field_of_view}, within which no field of view can be centred"
            )
        return self

    @property
    def subvolumes(self) -> Subvolumes:
        """The grid of subvolumes; slabs are as deep as a field of view can be centred."""
        z, y, x = (m - size // 2 for m, size in zip(self.margin, self.field_of_view, strict=True))
        return Subvolumes(self.subvolume, self.margin, (z, y, x))

    def halo(self, name: str, voxel_size_nm: VoxelSize) -> Halo:  # noqa: ARG002
        return Halo.symmetric(self.margin)

    def read_box(self, name: str, block: Block) -> Box:  # noqa: ARG002
        return self.subvolumes.read_box(block.write_box, block.domain, filled=True)

    def process(self, block: Block, *, image: npt.NDArray[np.uint8]) -> dict[str, Any]:
        subvolumes, domain = self.subvolumes, block.domain
        read_box = self.read_box("image", block)
        objects = np.zeros(block.write_box.shape, np.uint64)
        tables: list[list[Columns]] = []
        for number in subvolumes.numbers_meeting(block.write_box, domain):
            box = subvolumes.box(number, domain)
            filled = subvolumes.filled_box(box, domain).relative_to(read_box.start)
            labels, statistics = flood_fill(self.network, image[filled.slices], self.options)
            made, *named = name_objects(labels, number, subvolumes, domain)
            part = box.intersect(block.write_box)
            inside = part.relative_to(block.write_box.start).slices
            objects[inside] = made[part.relative_to(box.start).slices]
            fill = {"subvolume": number, **asdict(statistics)}
            tables.append([*named, {name: np.array([value], np.int64) for name, value in fill.items()}])
        pieces, overlaps, fills = (
            {name: np.concatenate([table[name] for table in parts]) for name in parts[0]}
            for parts in zip(*tables, strict=True)
        )
        return {"objects": objects, "pieces": pieces, "overlaps": overlaps, "fills": fills}

    @property
    def options(self) -> FillOptions:
        """Options as flood filling takes them."""
        return FillOptions(
            move_threshold=self.move_threshold,
            segment_threshold=self.segment_threshold,
            min_segment_size=self.min_segment_size,
            n_at_once=self.n_at_once,
        )

    def peak_bytes(self, block: Block) -> int:
        box = self.subvolumes.box(self.subvolumes.numbers_meeting(block.write_box, block.domain)[0], block.domain)
        voxels = self.subvolumes.filled_box(box, block.domain).n_voxels
        return (PEAK_BYTES + 4 * (self.n_at_once - 1)) * voxels + self.n_at_once * self.network.field_bytes
