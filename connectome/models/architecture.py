"""The shape of a U-Net as data: what each level does, and the geometry that follows from it.

No torch here: halo, receptive field and stride are integers that follow from kernels and pool factors
alone, per axis, so an anisotropic network is the same definition with other numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from connectome.geometry import Halo, Triple, as_triple

Span = tuple[int, int]
HeadName = Literal["affinities", "long_range", "shape_descriptors", "classes"]
ClassName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
N_AFFINITIES, N_SHAPE_DESCRIPTORS = 3, 10


class Level(BaseModel):
    """One resolution of the U-Net."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    features: int = Field(gt=0)
    """Channels of every convolution of this level."""
    encoder: tuple[Triple, ...] = Field(min_length=1)
    """Kernel shapes (z, y, x) on the way down, odd."""
    decoder: tuple[Triple, ...] = ()
    """Kernel shapes on the way up; none at the deepest level."""
    pool: Triple | None = None
    """Factor (z, y, x) to the next level; none at the deepest level."""


@dataclass(frozen=True)
class Head:
    """One 1 x 1 x 1 convolution on the finest features: what it gives, and whether it is only learned."""

    name: HeadName
    n_channels: int
    is_auxiliary: bool = False


class Architecture(BaseModel):
    """A valid (unpadded) U-Net with one or more heads; levels run from fine to coarse."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    levels: tuple[Level, ...] = Field(min_length=1)
    """The resolutions, finest first."""
    long_range: tuple[int, ...] = ()
    """Distances in voxels of the auxiliary affinities, learned but never predicted."""
    affinities: bool = True
    """Whether nearest-neighbour affinities are predicted."""
    shape_descriptors: bool = False
    """Whether local shape descriptors are learned as an auxiliary; never predicted."""
    classes: tuple[ClassName, ...] = ()
    """Names of masks whose probability is predicted, such as membrane or mitochondrion."""

    @model_serializer(mode="wrap")
    def _serialise(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Networks made before there were heads have none: what is said of them, and its hash, stays as it was.
        content: dict[str, Any] = handler(self)
        late = ("affinities", "shape_descriptors", "classes")
        return {
            k: v for k, v in content.items() if k not in late or getattr(self, k) != type(self).model_fields[k].default
        }

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if not self.affinities and not self.classes:
            raise ValueError("the network predicts nothing: leave affinities true, or name classes")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must have different names, got {self.classes}: name each once")
        if self.long_range and not self.affinities:
            raise ValueError(f"long_range is {self.long_range} without affinities: leave one away, or set the other")
        return self

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        for depth, level in enumerate(self.levels):
            deepest = depth == len(self.levels) - 1
            if deepest == (level.pool is not None) or deepest == bool(level.decoder):
                raise ValueError(
                    f"level {depth} has pool {level.pool} and {len(level.decoder)} decoder kernels: every level "
                    "but the last wants both, the last wants neither"
                )
            sizes = [size for kernel in (*level.encoder, *level.decoder) for size in kernel]
            if any(size < 1 or size % 2 == 0 for size in sizes):
                raise ValueError(f"level {depth}: kernel sizes must be odd and positive, got {sizes}")
            if level.pool is not None and min(level.pool) < 1:
                raise ValueError(f"level {depth}: pool factors must be positive, got {level.pool}")
        return self

    def heads(self, *, auxiliary: bool) -> tuple[Head, ...]:
        """Return the heads in the order of their channels, with those that are only learned if `auxiliary`."""
        heads = [
            Head("affinities", N_AFFINITIES * self.affinities),
            Head("long_range", N_AFFINITIES * len(self.long_range), is_auxiliary=True),
            Head("shape_descriptors", N_SHAPE_DESCRIPTORS * self.shape_descriptors, is_auxiliary=True),
            Head("classes", len(self.classes)),
        ]
        return tuple(head for head in heads if head.n_channels and (auxiliary or not head.is_auxiliary))

    def channels(self, *, auxiliary: bool) -> dict[HeadName, slice]:
        """Return where the channels of each head lie."""
        slices: dict[HeadName, slice] = {}
        start = 0
        for head in self.heads(auxiliary=auxiliary):
            slices[head.name] = slice(start, start + head.n_channels)
            start += head.n_channels
        return slices

    @property
    def stride(self) -> Triple:
        """Total pooling per axis: the network commutes with shifts by multiples of it only."""
        return as_triple([math.prod(factors) for factors in zip(*self._pools(), strict=True)])

    @property
    def halo(self) -> Halo:
        """Voxels of image needed around an output tile that lies at multiples of the stride."""
        spans = [self._input_span(axis, (0, self.stride[axis])) for axis in range(3)]
        low = [-start for start, _ in spans]
        high = [stop - stride for (_, stop), stride in zip(spans, self.stride, strict=True)]
        return Halo(as_triple(low), as_triple(high))

    @property
    def receptive_field(self) -> Triple:
        """Extent of the image that one output voxel can depend on, at its worst place in the stride."""
        fields = []
        for axis, stride in enumerate(self.stride):
            spans = [self._input_span(axis, (place, place + 1)) for place in range(stride)]
            fields.append(max(stop - start for start, stop in spans))
        return as_triple(fields)

    def input_shape(self, output_shape: Triple) -> Triple:
        """Shape of the image that gives an output of `output_shape` (multiples of the stride)."""
        if any(size < 1 or size % stride for size, stride in zip(output_shape, self.stride, strict=True)):
            raise ValueError(
                f"an output tile of shape {output_shape} does not fit the network's stride {self.stride}: "
                "choose positive multiples of it"
            )
        halo = self.halo
        return as_triple([low + n + high for low, n, high in zip(halo.low, output_shape, halo.high, strict=True)])

    def crops(self, output_shape: Triple) -> list[LevelCrops]:
        """Where each level cuts its skip connection and its upsampled input, finest level first.

        All levels lie on one grid whose zero is the output's first voxel, so what a level needs is an
        integer span; the crops are differences of such spans.
        """
        per_axis = [self._axis_crops(axis, (0, output_shape[axis])) for axis in range(3)]
        crops = []
        for skip_and_up in zip(*per_axis, strict=True):
            skips, ups = zip(*skip_and_up, strict=True)
            crops.append(LevelCrops(_slices(skips), _slices(ups)))
        return crops

    def flops_per_voxel(self, output_shape: Triple) -> float:
        """Multiply-adds times two per output voxel, the halo's share included."""
        total = 0.0
        shape = self.input_shape(output_shape)
        channels = 1
        encoded = []
        for level in self.levels:
            for kernel in level.encoder:
                shape = _shrink(shape, kernel)
                total += 2 * channels * level.features * math.prod(kernel) * math.prod(shape)
                channels = level.features
            encoded.append(shape)
            if level.pool is not None:
                shape = as_triple([n // p for n, p in zip(shape, level.pool, strict=True)])
        for level, crop in reversed(list(zip(self.levels[:-1], self.crops(output_shape), strict=True))):
            total += 2 * channels * level.features * math.prod(shape)
            shape = as_triple([cut.stop - cut.start for cut in crop.skip])
            channels = 2 * level.features
            for kernel in level.decoder:
                shape = _shrink(shape, kernel)
                total += 2 * channels * level.features * math.prod(kernel) * math.prod(shape)
                channels = level.features
        n_predicted = sum(head.n_channels for head in self.heads(auxiliary=False))
        return (total + 2 * channels * n_predicted * math.prod(shape)) / math.prod(output_shape)

    def _pools(self) -> list[Triple]:
        return [(1, 1, 1), *(level.pool for level in self.levels if level.pool is not None)]

    def _encoder_spans(self, axis: int, span: Span, depth: int = 0) -> list[tuple[Span, Span]]:
        """Per level, the span its decoder reads and the span its encoder gives, for output `span`."""
        level = self.levels[depth]
        if level.pool is None:
            return [(span, span)]
        needed = _grow(span, level.decoder, axis)
        pool = level.pool[axis]
        coarse = needed[0] // pool, -(-needed[1] // pool)
        deeper = self._encoder_spans(axis, coarse, depth + 1)
        start, stop = _grow(deeper[0][1], self.levels[depth + 1].encoder, axis)
        encoded = min(start * pool, needed[0]), max(stop * pool, needed[1])
        return [(needed, encoded), *deeper]

    def _input_span(self, axis: int, span: Span) -> Span:
        return _grow(self._encoder_spans(axis, span)[0][1], self.levels[0].encoder, axis)

    def _axis_crops(self, axis: int, span: Span) -> list[tuple[slice, slice]]:
        crops = []
        for level, (needed, encoded) in zip(self.levels, self._encoder_spans(axis, span), strict=True):
            if level.pool is not None:
                skip = slice(needed[0] - encoded[0], needed[1] - encoded[0])
                above = needed[0] // level.pool[axis] * level.pool[axis]
                crops.append((skip, slice(needed[0] - above, needed[1] - above)))
        return crops


@dataclass(frozen=True)
class LevelCrops:
    """Slices (z, y, x) that bring a level's skip connection and upsampled input onto one box."""

    skip: tuple[slice, slice, slice]
    up: tuple[slice, slice, slice]


def _grow(span: Span, kernels: tuple[Triple, ...], axis: int) -> Span:
    margin = sum(kernel[axis] // 2 for kernel in kernels)
    return span[0] - margin, span[1] + margin


def _shrink(shape: Triple, kernel: Triple) -> Triple:
    return as_triple([n - k + 1 for n, k in zip(shape, kernel, strict=True)])


def _slices(parts: tuple[slice, ...]) -> tuple[slice, slice, slice]:
    z, y, x = parts
    return z, y, x
