"""What stages share that run a flood-filling network."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from connectome.errors import InputError
from connectome.geometry import Box, Triple
from connectome.models.flood_filling_network import FloodFillingNetwork
from connectome.stages.stage import TORCH_BYTES, BlockStage, VoxelSize

VOXEL_SIZE_TOLERANCE = 0.25
"""Largest relative deviation from the voxel size that the network was trained on, as for affinity networks."""


class FillingStage(BlockStage):
    """A stage that fills with a flood-filling network, on a grid of subvolumes."""

    resident_bytes: ClassVar[int] = TORCH_BYTES

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
    """Voxels (z, y, x) of a subvolume of the grid; part of the result. Blocks should be multiples."""
    move_threshold: float = Field(default=0.9, gt=0, lt=1)
    """Least probability at a place for the field of view to move there."""
    segment_threshold: float = Field(default=0.6, gt=0, lt=1)
    """A voxel of at least this probability belongs to the object."""

    @property
    def network(self) -> FloodFillingNetwork:
        path = Path(self.weights)
        if not path.is_file():
            raise InputError(f"{self.name}.weights is {self.weights!r}, and no file is there: give an npz file")
        sizes = (self.field_of_view, self.deltas)
        return _network(path, path.stat().st_mtime_ns, *sizes, self.image_mean, self.image_standard_deviation)

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "weights": self.network.fingerprint}

    def check(self, domain: Box, voxel_size_nm: VoxelSize) -> None:  # noqa: ARG002
        known = self.trained_voxel_size_nm
        if any(abs(size / own - 1) > VOXEL_SIZE_TOLERANCE for size, own in zip(voxel_size_nm, known, strict=True)):
            raise InputError(
                f"{self.name} does not fit the image's voxel size: got {voxel_size_nm} nm, wanted {known} nm (zyx) "
                f"within {VOXEL_SIZE_TOLERANCE:.0%}; use another mip level, or correct the voxel size of one of them"
            )
        self.network.weights  # noqa: B018  # refuses a file that is no network before anything runs


@lru_cache(maxsize=4)
def _network(path: Path, changed: int, *settings: Any) -> FloodFillingNetwork:  # noqa: ARG001
    """Load once per file and time of change."""
    return FloodFillingNetwork(path, *settings)
