"""Synthetic tissue in place of a microscope's image: the image and its truth, made block by block."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from connectome.geometry import Block, Box
from connectome.phantom import COARSEST_NM, Appearance, generate, working_bytes
from connectome.stages.stage import Artifact, BlockStage, VolumeArtifact, VoxelSize

Length = Annotated[int, Field(gt=0)]
Nanometres = Annotated[float, Field(ge=1, le=COARSEST_NM)]


class Phantom(BlockStage):
    """Make neuropil with known cells; the same voxels whatever the blocks."""

    outputs: ClassVar[tuple[Artifact, ...]] = (
        VolumeArtifact("image", "uint8", pyramid="mean"),
        VolumeArtifact("truth", "uint64", pyramid="mode"),
    )

    is_local: ClassVar[bool] = True

    stage: Literal["phantom"] = "phantom"
    shape: tuple[Length, Length, Length]
    """Voxels to make, zyx."""
    start: tuple[int, int, int] = (0, 0, 0)
    """Where in the endless tissue the volume's first voxel lies, zyx."""
    voxel_size_nm: tuple[Nanometres, Nanometres, Nanometres] = (10.0, 10.0, 10.0)
    """Voxel size, zyx; another one shows the same tissue at another resolution."""
    seed: int = 0
    """Which tissue."""
    membrane_contrast: float = Field(default=Appearance.membrane_contrast, ge=0, le=1.5)
    """1: as dark as in well stained tissue; 0: no membranes."""
    shot_noise: float = Field(default=Appearance.shot_noise, ge=0, le=100)
    """Standard deviation of the noise before the blur, in grey values."""
    readout_noise: float = Field(default=Appearance.readout_noise, ge=0, le=100)
    """Standard deviation of the noise after the blur, in grey values."""

    def domain(self) -> tuple[Box, VoxelSize]:
        return Box.of_shape(self.shape), self.voxel_size_nm

    def process(self, block: Block) -> dict[str, Any]:
        look = Appearance(self.membrane_contrast, self.shot_noise, self.readout_noise)
        box = block.write_box.shift(self.start)
        image, truth = generate(box, seed=self.seed, voxel_size_nm=self.voxel_size_nm, appearance=look)
        return {"image": image, "truth": truth}

    def peak_bytes(self, block: Block) -> int:
        return working_bytes(block.write_box, block.voxel_size_nm)
