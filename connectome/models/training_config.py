"""The configuration of a U-Net's training, as it stands in `workflows/train/*.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from connectome.geometry import Halo, Triple
from connectome.kernels.shape_descriptors import descriptor_margin
from connectome.models.architecture import Architecture, ClassName
from connectome.models.training_run import Scoring, TrainingRun


class ShapeDescriptors(BaseModel):
    """How local shape descriptors are learned, if `architecture.shape_descriptors` asks for them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    sigma_nm: tuple[float, float, float] = (80.0, 80.0, 80.0)
    """Standard deviation of the window (z, y, x); about the radius of what is to be told apart."""
    step: Triple = (2, 2, 2)
    """Every how many voxels (z, y, x) the window looks: coarser is faster."""
    weight: float = Field(default=1.0, ge=0)
    """Weight of their mean squared error."""

    def sigma(self, voxel_size_nm: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return the standard deviation of the window in voxels."""
        z, y, x = (s / nm for s, nm in zip(self.sigma_nm, voxel_size_nm, strict=True))
        return z, y, x


class AffinityScoring(Scoring):
    """How affinities are segmented for it, and from which threshold on classes are there."""

    boundary_threshold: float = Field(default=0.6, ge=0, le=1)
    """As of the stage `fragments`."""
    cap_nm: float = Field(default=100.0, gt=0)
    """As of the stage `fragments`."""
    per_section: bool = False
    """As of the stage `fragments`."""
    thresholds: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """Thresholds of agglomeration and of the probability of classes; the best one counts."""

    @field_validator("thresholds")
    @classmethod
    def _ascending(cls, thresholds: tuple[float, ...]) -> tuple[float, ...]:
        if not thresholds:
            raise ValueError("thresholds are empty: give one at least")
        return tuple(sorted(set(thresholds)))


class ClassHead(BaseModel):
    """How one class is learned."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    weight: float = Field(default=1.0, ge=0)
    """Weight of its cross entropy."""
    positive_weight: float = Field(default=1.0, gt=0)
    """Weight of a voxel inside, relative to one outside: more for what is rare."""
    focus: float = Field(default=0.0, ge=0, le=1)
    """Share of patches that are placed about one of its voxels; the others lie anywhere."""
    score: Literal["overlap", "objects", "boundary"] = "overlap"
    """What it is judged by: intersection over union, F1 of its objects, or the Rand score of what it parts."""
    min_voxels: int = Field(default=0, ge=0)
    """Objects that are found count from this many voxels on."""


class Training(TrainingRun):
    """Everything that a trained U-Net depends on."""

    kind: Literal["unet"] = "unet"
    """A U-Net for affinities and classes."""
    voxel_size_tolerance: float = Field(default=0.25, gt=0)
    """Largest relative deviation of an image's voxel size that the network accepts."""
    architecture: Architecture
    """The network."""
    patch: Triple = (64, 64, 64)
    """Output shape of a training patch (z, y, x), multiples of the network's stride."""
    tile: Triple = (64, 128, 128)
    """Output shape of a tile at inference (z, y, x), multiples of the network's stride."""
    start_from: str | None = None
    """Network whose weights the run starts from: a shipped one, or a manifest's path. Not given: random weights."""
    boundary_weight: float = Field(default=5.0, gt=0)
    """Weight of a boundary (affinity 0) in the nearest-neighbour loss, relative to an inside."""
    long_range_weight: float = Field(default=0.3, ge=0)
    """Weight of the auxiliary loss."""
    shape_descriptors: ShapeDescriptors = ShapeDescriptors()
    """How shape descriptors are learned."""
    classes: dict[ClassName, ClassHead] = Field(default_factory=dict)
    """How classes are learned, by their names in `architecture.classes`; the defaults for those not named."""
    scoring: AffinityScoring | None = None
    """Segment the validation volumes every so often, keep the best weights; not given: the last ones are kept."""

    @property
    def image_halo(self) -> Halo:
        return self.architecture.halo

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.architecture.classes

    @property
    def descriptor_margin(self) -> Triple:
        """Voxels of labels (z, y, x) that shape descriptors need around a patch."""
        if not self.architecture.shape_descriptors:
            return 0, 0, 0
        return descriptor_margin(self.shape_descriptors.sigma(self.voxel_size_nm), self.shape_descriptors.step)

    @property
    def label_margin(self) -> Triple:
        """Voxels of labels (z, y, x) that targets need around a patch."""
        farthest = max((1, *self.architecture.long_range))
        z, y, x = (max(farthest, n) for n in self.descriptor_margin)
        return z, y, x

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        known = self.architecture.classes
        named = [*self.classes, *(name for source in (*self.sources, *self.validation) for name in source.classes)]
        if unknown := sorted(set(named) - set(known)):
            raise ValueError(f"classes {unknown} are no heads of the network: add them to architecture.classes {known}")
        if unlabelled := [name for name in known if not any(name in source.classes for source in self.sources)]:
            raise ValueError(f"no source has labels of the classes {unlabelled}: give them, or take the heads out")
        has_labels = any(source.labels is not None or source.phantom_seed is not None for source in self.sources)
        if not has_labels and (self.architecture.affinities or self.architecture.shape_descriptors):
            raise ValueError(
                "affinities and shape descriptors are learned from labels, which no source has: give them, or set "
                "architecture.affinities to false"
            )
        if sum(self.class_head(name).focus for name in known) > 1:
            raise ValueError("the focus of all classes is more than 1: lower it, it is a share of the patches")
        if self.augmentation.symmetry == "cube" and len(set(self.descriptor_margin)) > 1:
            raise ValueError(
                f"symmetry 'cube' permutes the axes, but the window of shape descriptors reaches "
                f"{self.descriptor_margin} voxels: choose symmetry 'section', or one sigma in voxels and one step"
            )
        return self

    def class_head(self, name: str) -> ClassHead:
        """Return how a class is learned."""
        return self.classes.get(name, ClassHead())

    @model_validator(mode="after")
    def _check_shapes(self) -> Self:
        for shape in (self.patch, self.tile):
            self.architecture.input_shape(shape)
        if self.architecture.stride != self.architecture.stride[::-1] and self.augmentation.symmetry == "cube":
            raise ValueError(
                f"symmetry 'cube' permutes the axes, but the network's stride {self.architecture.stride} is "
                "anisotropic: choose symmetry 'section'"
            )
        return self
