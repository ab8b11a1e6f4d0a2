"""What the configurations of all training runs share: where data come from, how long, how fast, how checked."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from connectome.geometry import Box, Halo, Triple
from connectome.models.architecture import ClassName
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


class Scoring(BaseModel):
    """How networks are judged while they are trained: by segmenting the validation volumes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    every: int = Field(default=500, gt=0)
    """Steps between validations; the last step is validated as well."""
    patience: int | None = Field(default=None, gt=0)
    """Training ends after so many validations without gain; not given: it does not end early."""
    keep: Literal["best", "last"] = "best"
    """Which weights are kept; ``last`` where the scores shall say how well unseen tissue is segmented."""


class TrainingRun(BaseModel):
    """Everything that a trained network of any kind depends on."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    """Name of the network, and of its files."""
    folder: str
    """Folder of the checkpoint and of the result."""
    voxel_size_nm: tuple[float, float, float]
    """Voxel size (z, y, x) of the training images."""
    training_data: str
    """What the network was trained on, for its manifest."""
    licence: str
    """Licence of the weights, which follows from the data."""
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
    patch: Triple
    """Shape of a training patch (z, y, x)."""
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
    average_decay: float = Field(default=0.999, ge=0, lt=1)
    """Decay per update of the averaged weights, which are the ones that are kept."""
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

    @property
    def command(self) -> str:
        """Command that trains the network again."""
        command = f"connectome train workflows/train/{self.name}.yaml"
        if self.cross_validation is not None:
            command += f" --set cross_validation.held_out={self.cross_validation.held_out}"
        return command

    @property
    def image_halo(self) -> Halo:
        """Voxels of image that are needed around a patch."""
        return Halo()

    @property
    def label_margin(self) -> Triple:
        """Voxels of labels (z, y, x) that are needed around a patch."""
        return 0, 0, 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes that are learned beside objects."""
        return ()

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

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.steps is None and self.minutes is None:
            raise ValueError("training never ends: give steps, minutes or both")
        return self
