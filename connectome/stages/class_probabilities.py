"""Probabilities of classes, such as membrane or mitochondrion, predicted from the image by a network."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from connectome.geometry import Block, Box, Halo
from connectome.models import load_network
from connectome.models.inference import image_box, predict, working_bytes
from connectome.stages.stage import Artifact, BlockStage, VolumeArtifact, VoxelSize

ARTIFACT = "class_probabilities"


class _PerClass:
    """What a stage writes: a channel for each class, so the number follows from its network."""

    def __get__(self, stage: ClassProbabilities | None, owner: type) -> tuple[Artifact, ...]:
        if stage is None:
            return (VolumeArtifact(ARTIFACT, "uint8"),)
        classes = load_network(stage.network).heads.get("classes", slice(0, 0))
        return (VolumeArtifact(ARTIFACT, "uint8", n_channels=classes.stop - classes.start),)


class ClassProbabilities(BlockStage):
    """Predict the probability of each class (uint8, c z y x; 255 = certain) tile by tile."""

    inputs: ClassVar[tuple[str, ...]] = ("image",)
    outputs: ClassVar[tuple[Artifact, ...]] = _PerClass()  # type: ignore[assignment]

    is_local: ClassVar[bool] = True

    stage: Literal["class_probabilities"] = "class_probabilities"
    network: str
    """Name of a shipped network, or path to a manifest; one with classes."""
    mirrored: bool = False
    """Average the predictions of the eight mirror images: better, for eight times the work."""

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "network": load_network(self.network).fingerprint}

    def check(self, domain: Box, voxel_size_nm: VoxelSize) -> None:  # noqa: ARG002
        network = load_network(self.network)
        network.check_voxel_size(voxel_size_nm)
        network.channels("classes")
        if self.mirrored:
            network.check_mirrors()

    def halo(self, name: str, voxel_size_nm: VoxelSize) -> Halo:  # noqa: ARG002
        return load_network(self.network).halo

    def read_box(self, name: str, block: Block) -> Box:  # noqa: ARG002
        return image_box(load_network(self.network), block.domain, block.write_box)

    def process(self, block: Block, *, image: npt.NDArray[np.uint8]) -> dict[str, Any]:
        boxes = (self.read_box("image", block), block.domain, block.write_box)
        network = load_network(self.network)
        return {ARTIFACT: predict(network, image, *boxes, head="classes", mirrored=self.mirrored)}

    def peak_bytes(self, block: Block) -> int:  # noqa: ARG002
        return working_bytes(load_network(self.network))
