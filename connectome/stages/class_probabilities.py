"""Probabilities of classes, such as membrane or mitochondrion, predicted from the image by a network."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from connectome.geometry import Block
from connectome.models import load_network
from connectome.models.architecture import HeadName
from connectome.stages.network_stage import NetworkStage
from connectome.stages.stage import Artifact, VolumeArtifact

ARTIFACT = "class_probabilities"


class _PerClass:
    """What a stage writes: a channel for each class, so the number follows from its network."""

    def __get__(self, stage: ClassProbabilities | None, owner: type) -> tuple[Artifact, ...]:
        if stage is None:
            return (VolumeArtifact(ARTIFACT, "uint8"),)
        classes = load_network(stage.network).heads.get("classes", slice(0, 0))
        return (VolumeArtifact(ARTIFACT, "uint8", n_channels=classes.stop - classes.start),)


class ClassProbabilities(NetworkStage):
    """Predict the probability of each class (uint8, c z y x; 255 = certain) tile by tile."""

    head: ClassVar[HeadName] = "classes"
    inputs: ClassVar[tuple[str, ...]] = ("image",)
    outputs: ClassVar[tuple[Artifact, ...]] = _PerClass()  # type: ignore[assignment]

    stage: Literal["class_probabilities"] = "class_probabilities"

    def process(self, block: Block, *, image: npt.NDArray[np.uint8]) -> dict[str, Any]:
        return {ARTIFACT: self.predict(block, image)}
