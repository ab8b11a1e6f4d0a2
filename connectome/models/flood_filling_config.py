"""The configuration of a flood-filling network's training, as it stands in `workflows/train/*.yaml`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from connectome.geometry import Triple
from connectome.models.flood_filling_network import fault_of_field
from connectome.models.training_run import TrainingRun


class FloodFillingTraining(TrainingRun):
    """Everything that a trained flood-filling network depends on."""

    kind: Literal["flood_filling"]
    """A flood-filling network."""
    depth: int = Field(default=12, ge=1)
    """Residual modules, of two convolutions each."""
    channels: int = Field(default=32, ge=1)
    """Features of each convolution."""
    field_of_view: Triple = (33, 33, 33)
    """Voxels (z, y, x) that the network sees at once; odd."""
    deltas: Triple = (8, 8, 8)
    """Voxels (z, y, x) by which the field of view moves."""
    patch: Triple = (49, 49, 49)
    """Training subvolume (z, y, x) in which the field of view moves about an object; odd."""
    move_threshold: float = Field(default=0.9, gt=0, lt=1)
    """Least probability at a place for the field of view to move there, as at inference."""

    @model_validator(mode="after")
    def _check_shapes(self) -> Self:
        if fault := fault_of_field(self.field_of_view, self.deltas):
            raise ValueError(fault)
        if any(p % 2 == 0 or p < n for p, n in zip(self.patch, self.field_of_view, strict=True)):
            raise ValueError(
                f"patch is {self.patch}: wanted odd sizes, so that it has a centre, that hold the field of view "
                f"{self.field_of_view}; its size and twice the deltas let it move once in every direction"
            )
        alike = {"cube": self.patch, "section": self.patch[1:], "none": ()}[self.augmentation.symmetry]
        if len(set(alike)) > 1:
            raise ValueError(
                f"symmetry {self.augmentation.symmetry!r} permutes axes along which patch {self.patch} differs: choose "
                "another symmetry, or the same size along them"
            )
        return self

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        for source in (*self.sources, *self.validation):
            if source.classes or (source.labels is None and source.phantom_seed is None):
                raise ValueError("a flood-filling network learns objects: give every source labels, and no classes")
        return self
