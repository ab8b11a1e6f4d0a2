"""The configuration of a training run, as it stands in `workflows/train/*.yaml`."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from connectome.geometry import Box, Triple
from connectome.models.architecture import Architecture
from connectome.models.augmentation import Augmentation


class Source(BaseModel):
    """One labelled volume: an image and its labels, or a phantom."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    image: str | None = None
    """Volume of the image (`url#name`), uint8."""
    labels: str | None = None
    """Volume of dense labels, 0 where unlabelled."""
    phantom_seed: int | None = None
    """Seed of a phantom, in place of image and labels."""
    box: str | None = None
    """Part to use, `z0:z1,y0:y1,x0:x1`; the whole volume if not given (a phantom wants one)."""

    @field_validator("box")
    @classmethod
    def _check_box(cls, box: str | None) -> str | None:
        return None if box is None else str(Box.parse(box))

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        volumes = (self.image is not None) + (self.labels is not None)
        if self.phantom_seed is None and volumes != 2:
            raise ValueError("a source wants both image and labels, or a phantom_seed: add what is missing")
        if self.phantom_seed is not None and (volumes or self.box is None):
            raise ValueError("a phantom source wants phantom_seed and box, and neither image nor labels")
        return self


class Training(BaseModel):
    """Everything that a trained network depends on."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    """Name of the network: the files are `<name>.yaml` and `<name>.safetensors`."""
    folder: str
    """Folder of the checkpoint and of the result."""
    voxel_size_nm: tuple[float, float, float]
    """Voxel size (z, y, x) of the training images."""
    voxel_size_tolerance: float = Field(default=0.25, gt=0)
    """Largest relative deviation of an image's voxel size that the network accepts."""
    training_data: str
    """What the network was trained on, for its manifest."""
    licence: str
    """Licence of the weights, which follows from the data."""
    architecture: Architecture
    """The network."""
    sources: tuple[Source, ...] = Field(min_length=1)
    """Labelled volumes to learn from."""
    validation: tuple[Source, ...] = ()
    """Labelled volumes on which the loss is reported, never learned from."""
    absorb_below: int = Field(default=50_000, ge=0)
    """Enclosed objects up to this many voxels (organelles with ids of their own) join the object around."""
    absorb_share: float = Field(default=0.8, gt=0.5, le=1)
    """Share of its contact that the object around must have."""
    patch: Triple = (64, 64, 64)
    """Output shape of a training patch (z, y, x), multiples of the network's stride."""
    tile: Triple = (64, 128, 128)
    """Output shape of a tile at inference (z, y, x), multiples of the network's stride."""
    batch: int = Field(default=1, gt=0)
    """Patches per step."""
    steps: int | None = Field(default=None, gt=0)
    """Steps to take."""
    minutes: float | None = Field(default=None, gt=0)
    """Time to take, wall clock, resumed runs included; the learning rate follows whichever ends first."""
    seed: int = 0
    """Seed of weights, patches and augmentation."""
    threads: int = Field(default=1, gt=0)
    """Threads of the processor to use."""
    learning_rate: float = Field(default=1.5e-3, gt=0)
    """Peak of the one-cycle schedule."""
    warm_up: float = Field(default=0.05, ge=0, lt=1)
    """Share of the run in which the learning rate rises."""
    weight_decay: float = Field(default=1e-3, ge=0)
    """Decoupled weight decay of the kernels."""
    boundary_weight: float = Field(default=5.0, gt=0)
    """Weight of a boundary (affinity 0) in the nearest-neighbour loss, relative to an inside."""
    long_range_weight: float = Field(default=0.3, ge=0)
    """Weight of the auxiliary loss."""
    average_decay: float = Field(default=0.999, ge=0, lt=1)
    """Decay per step of the averaged weights, which are the ones that are kept."""
    augmentation: Augmentation = Augmentation()
    """Random changes of the patches."""
    checkpoint_s: float = Field(default=90.0, gt=0)
    """Seconds between checkpoints (and validations)."""

    @model_validator(mode="after")
    def _check_end(self) -> Self:
        if self.steps is None and self.minutes is None:
            raise ValueError("training never ends: give steps, minutes or both")
        for shape in (self.patch, self.tile):
            self.architecture.input_shape(shape)
        if self.architecture.stride != self.architecture.stride[::-1] and self.augmentation.symmetry == "cube":
            raise ValueError(
                f"symmetry 'cube' permutes the axes, but the network's stride {self.architecture.stride} is "
                "anisotropic: choose symmetry 'section'"
            )
        return self
