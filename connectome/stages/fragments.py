"""Fragments (supervoxels) from affinities."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from connectome.errors import InputError
from connectome.geometry import Block, Box, Halo
from connectome.kernels.distance_fragments import DistanceParameters, fragments_by_distance
from connectome.kernels.fragments import AFFINITY_HALO, fragments_by_affinity
from connectome.stages.stage import (
    Artifact,
    BlockStage,
    TableArtifact,
    VolumeArtifact,
    VoxelSize,
    integer_voxel_size,
)

LARGEST_HEIGHT = 2**31 - 1
LARGEST_CAP = 32_767
"""Sums of two squares of capped distances fit 32 bits."""


class Fragments(BlockStage):
    """Cut the volume into fragments, each wholly inside one cell if all goes well."""

    inputs: ClassVar[tuple[str, ...]] = ("affinities",)
    outputs: ClassVar[tuple[Artifact, ...]] = (
        VolumeArtifact("fragments", "uint64"),
        TableArtifact("face_links", {"linked": "bool"}),
    )

    stage: Literal["fragments"] = "fragments"
    flavour: Literal["distance", "affinity"] = "distance"
    """``distance``: basins of the distance to the nearest boundary; ``affinity``: best edges."""
    boundary_threshold: float = Field(default=0.6, ge=0, le=1)
    """Distance flavour: a voxel whose mean affinity is below this is boundary."""
    cap_nm: float = Field(default=100.0, gt=0)
    """Distance flavour: distances above this count as this."""
    smoothing: int = Field(default=1, ge=0, le=3)
    """Distance flavour: number of [1 2 1] sums along each axis."""
    per_section: bool = False
    """Distance flavour: treat each section by itself, for strongly anisotropic voxels."""
    low: int = Field(default=0, ge=0, le=255)
    """Affinity flavour: a voxel links along its best edge only above this affinity (0-255)."""
    high: int = Field(default=256, ge=0, le=256)
    """Affinity flavour: edges of at least this affinity always link (256: none)."""

    @model_validator(mode="after")
    def _affinities_in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(
                f"low is {self.low}, above high {self.high}: nothing links up to low and all from high on, so lower it"
            )
        return self

    def distance_parameters(self, voxel_size_nm: VoxelSize) -> DistanceParameters:
        """Return the distance flavour's parameters for a voxel size."""
        return DistanceParameters(
            boundary_sum=round(3 * 255 * self.boundary_threshold),
            voxel_size=integer_voxel_size(voxel_size_nm),
            cap=max(1, round(self.cap_nm)),
            n_smoothing=self.smoothing,
            per_section=self.per_section,
        )

    def check(self, domain: Box, voxel_size_nm: VoxelSize) -> None:  # noqa: ARG002
        largest = min(LARGEST_HEIGHT // (16 * 64**self.smoothing), LARGEST_CAP)
        if self.flavour == "distance" and round(self.cap_nm) > largest:
            raise InputError(
                f"fragments.cap_nm is {self.cap_nm:g}, but with fragments.smoothing {self.smoothing} it can be "
                f"{largest} at most: lower one of them"
            )

    def halo(self, name: str, voxel_size_nm: VoxelSize) -> Halo:  # noqa: ARG002
        if self.flavour == "affinity":
            return AFFINITY_HALO
        return self.distance_parameters(voxel_size_nm).halo

    def process(self, block: Block, *, affinities: npt.NDArray[np.uint8]) -> dict[str, Any]:
        boxes = (self.read_box("affinities", block), block.write_box, block.domain)
        if self.flavour == "affinity":
            labels, face_links = fragments_by_affinity(affinities, *boxes, low=self.low, high=self.high)
        else:
            parameters = self.distance_parameters(block.voxel_size_nm)
            labels, face_links = fragments_by_distance(affinities, *boxes, parameters)
        return {"fragments": labels, "face_links": {"linked": face_links}}

    def peak_bytes(self, block: Block) -> int:
        return 9 * self.read_box("affinities", block).n_voxels + 6 * block.write_box.n_voxels
