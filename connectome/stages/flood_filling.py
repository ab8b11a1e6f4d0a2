"""Objects by a flood-filling network, subvolume by subvolume."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from connectome.errors import InputError
from connectome.geometry import Block, Box, Halo, Triple
from connectome.models.flood_filling import FillOptions, FillStatistics, flood_fill
from connectome.models.flood_filling_network import FloodFillingNetwork
from connectome.models.subvolumes import OVERLAPS, PIECES, Columns, Subvolumes, name_objects
from connectome.stages.stage import Artifact, BlockStage, TableArtifact, VolumeArtifact, VoxelSize

VOXEL_SIZE_TOLERANCE = 0.25
"""Largest relative deviation from the voxel size that the network was trained on, as for affinity networks."""
FILLS = {"subvolume": "int64"} | dict.fromkeys(asdict(FillStatistics()), "int64")
PEAK_BYTES = 44
"""Per voxel of a filled box while seeds are sought: image, edges, their mean, distance and random heights."""


class FloodFilling(BlockStage):
    """Fill subvolumes with objects, each on its own; `reconciliation` joins them over faces."""

    inputs: ClassVar[tuple[str, ...]] = ("image",)
    outputs: ClassVar[tuple[Artifact, ...]] = (
        VolumeArtifact("objects", "uint64"),
        TableArtifact("pieces", PIECES),
        TableArtifact("overlaps", OVERLAPS),
        TableArtifact("fills", FILLS),
    )

    stage: Literal["flood_filling"] = "flood_filling"
    weights: str
    """Path of the network's weights (npz)."""
    field_of_view: Triple = (33, 33, 33)
    """Voxels (z, y, x) that the network sees at once."""
    deltas: Triple = (8, 8, 8)
    """Voxels (z, y, x) by which the field of view moves."""
    image_mean: float = 128.0
    """Mean grey level that the network was trained with."""
    image_standard_deviation: float = Field(default=33.0, gt=0)
    """Standard deviation of grey levels that the network was trained with."""
    trained_voxel_size_nm: VoxelSize = (10.0, 10.0, 10.0)
    """Voxel size (z, y, x) that the network was trained on."""
    subvolume: Triple = (128, 128, 128)
    """Voxels (z, y, x) that are filled at once, beside the margin; part of the result. Blocks should be multiples."""
    margin: Triple = (32, 32, 32)
    """Voxels (z, y, x) around a subvolume that are filled with it."""
    move_threshold: float = Field(default=0.9, gt=0, lt=1)
    """Least probability at a place for the field of view to move there."""
    segment_threshold: float = Field(default=0.6, gt=0, lt=1)
    """A voxel of at least this probability belongs to the object."""
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

    @property
    def network(self) -> FloodFillingNetwork:
        path = Path(self.weights)
        if not path.is_file():
            raise InputError(f"flood_filling.weights is {self.weights!r}, and no file is there: give an npz file")
        sizes = (self.field_of_view, self.deltas)
        return _network(path, path.stat().st_mtime_ns, *sizes, self.image_mean, self.image_standard_deviation)

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "weights": self.network.fingerprint}

    def check(self, domain: Box, voxel_size_nm: VoxelSize) -> None:  # noqa: ARG002
        known = self.trained_voxel_size_nm
        if any(abs(size / own - 1) > VOXEL_SIZE_TOLERANCE for size, own in zip(voxel_size_nm, known, strict=True)):
            raise InputError(
                f"flood_filling does not fit the image's voxel size: got {voxel_size_nm} nm, wanted {known} nm (zyx) "
                f"within {VOXEL_SIZE_TOLERANCE:.0%}; use another mip level, or correct the voxel size of one of them"
            )
        self.network.weights  # noqa: B018  # refuses a file that is no network before anything runs

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


@lru_cache(maxsize=4)
def _network(path: Path, changed: int, *settings: Any) -> FloodFillingNetwork:  # noqa: ARG001
    """Load once per file and time of change."""
    return FloodFillingNetwork(path, *settings)
