"""The configuration of a training run, as it stands in `workflows/train/*.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from connectome.geometry import Box, Triple
from connectome.kernels.shape_descriptors import descriptor_margin
from connectome.models.architecture import Architecture, ClassName
from connectome.models.augmentation import Augmentation
from connectome.models.cross_validation import CrossValidation


class Source(BaseModel):
    """One labelled volume: an image with what is known of it, or a phantom."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    image: str | None = None
    """Volume of the image (`url#name`), uint8."""
    labels: str | None = None
    """Volume of dense labels, 0 where unlabelled; affinities and shape descriptors are learned from it."""
    classes: dict[ClassName, str] = {}
    """Volumes of the classes that are labelled here: 0 elsewhere, any other value inside."""
    unknown: int | None = None
    """Value of those volumes where nobody has looked."""
    phantom_seed: int | None = None
    """Seed of a phantom, in place of image and labels."""
    box: str | None = None
    """Part to use, `z0:z1,y0:y1,x0:x1`; the whole volume if not given (a phantom wants one)."""
    downsample: Triple = (1, 1, 1)
    """1 or 2 voxels (z, y, x) that become one: the mean of the image, the most frequent label."""

    @field_validator("box")
    @classmethod
    def _check_box(cls, box: str | None) -> str | None:
        return None if box is None else str(Box.parse(box))

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        given = self.image is not None or self.labels is not None or bool(self.classes)
        if self.phantom_seed is not None and (given or self.box is None):
            raise ValueError("a phantom source wants phantom_seed and box, and neither image, labels nor classes")
        if not set(self.downsample) <= {1, 2}:
            raise ValueError(f"downsample takes factors of 1 and 2, got {self.downsample}: pool the volume before")
        if self.phantom_seed is None and (self.image is None or (self.labels is None and not self.classes)):
            raise ValueError(
                "a source wants both image and labels (or classes), or a phantom_seed: add what is missing"
            )
        return self


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


class Scoring(BaseModel):
    """How networks are judged while they are trained: by segmenting the validation volumes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    every: int = Field(default=500, gt=0)
    """Steps between validations; the last step is validated as well."""
    patience: int | None = Field(default=None, gt=0)
    """Training ends after so many validations without gain; not given: it does not end early."""
    keep: Literal["best", "last"] = "best"
    """Which weights are kept; ``last`` where the scores shall say how well unseen tissue is segmented."""
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
    cross_validation: CrossValidation | None = None
    """Hold out a part of every source's box, for validation; in place of `validation`."""
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
    start_from: str | None = None
    """Network whose weights the run starts from: a shipped one, or a manifest's path. Not given: random weights."""
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
    shape_descriptors: ShapeDescriptors = ShapeDescriptors()
    """How shape descriptors are learned."""
    classes: dict[ClassName, ClassHead] = {}
    """How classes are learned, by their names in `architecture.classes`; the defaults for those not named."""
    average_decay: float = Field(default=0.999, ge=0, lt=1)
    """Decay per step of the averaged weights, which are the ones that are kept."""
    augmentation: Augmentation = Augmentation()
    """Random changes of the patches."""
    scoring: Scoring | None = None
    """Segment the validation volumes every so often, keep the best weights; not given: the last ones are kept."""
    tensorboard: bool = False
    """Write event files for TensorBoard below `folder`; wants `connectome[tensorboard]`."""
    checkpoint_s: float = Field(default=90.0, gt=0)
    """Seconds between checkpoints (and validations)."""

    @property
    def network_name(self) -> str:
        """Name of the network; of a fold's with the number of the part that is held out."""
        return self.name if self.cross_validation is None else f"{self.name}_fold{self.cross_validation.held_out}"

    def divided(self) -> tuple[tuple[Source, ...], tuple[Source, ...]]:
        """Return the sources to learn from, and those to validate on."""
        if self.cross_validation is None:
            return self.sources, self.validation
        learned, held_out = [], []
        for source in self.sources:
            assert source.box is not None
            boxes, other = self.cross_validation.split(Box.parse(source.box))
            learned += [source.model_copy(update={"box": str(box)}) for box in boxes]
            held_out.append(source.model_copy(update={"box": str(other)}))
        return tuple(learned), tuple(held_out)

    @model_validator(mode="after")
    def _check_cross_validation(self) -> Self:
        if self.cross_validation is not None and self.validation:
            raise ValueError("cross_validation holds out a part of the sources: leave validation away, or it")
        if self.cross_validation is not None and any(source.box is None for source in self.sources):
            raise ValueError("cross_validation cuts the boxes of the sources: give every source a box")
        if self.scoring is not None and self.cross_validation is None and not self.validation:
            raise ValueError("scoring wants volumes to segment: give validation or cross_validation")
        return self

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
