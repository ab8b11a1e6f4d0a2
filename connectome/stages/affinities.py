"""Affinities between neighbouring voxels, predicted from the image by a network."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from connectome.geometry import Block
from connectome.models.architecture import HeadName
from connectome.stages.network_stage import NetworkStage
from connectome.stages.stage import Artifact, VolumeArtifact


class AffinityStage(NetworkStage):
    """What stages share that predict affinities."""

    version: ClassVar[int] = 2
    head: ClassVar[HeadName] = "affinities"
    outputs: ClassVar[tuple[Artifact, ...]] = (VolumeArtifact("affinities", "uint8", n_channels=3),)


class Affinities(AffinityStage):
    """Predict affinities (uint8, c z y x) tile by tile; where a tile's image is blank they are 0."""

    inputs: ClassVar[tuple[str, ...]] = ("image",)

    stage: Literal["affinities"] = "affinities"

    def process(self, block: Block, *, image: npt.NDArray[np.uint8]) -> dict[str, Any]:
        return {"affinities": self.predict(block, image)}
