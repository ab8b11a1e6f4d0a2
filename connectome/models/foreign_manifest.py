"""A network that was not trained here: a file in an exchange format, and a YAML manifest that says how to run it.

Nothing here needs torch or onnxruntime: a plan asks for halo, tiles and voxel size without loading the file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from connectome.geometry import Halo, Triple, as_triple
from connectome.models.architecture import HeadName
from connectome.models.network import Channel, Normalisation, Part, SingleNetwork

LEAST_CELLS = 2
"""Multiples of the stride in a tile, along each axis: with fewer, nothing shows that a voxel sees too much."""


class ForeignManifest(Part):
    """How to run the network in a file: image (1, 1, z, y, x), float32, to values (1, channel, z, y, x)."""

    name: str
    """Name of the network."""
    file: str
    """File of the network, beside the manifest."""
    file_sha256: str
    """Content hash of that file."""
    format: Literal["torchscript", "torch_export", "onnx"]
    """Format of the file."""
    voxel_size_nm: tuple[float, float, float]
    """Voxel size (z, y, x) of the images that the network was trained on."""
    voxel_size_tolerance: float = Field(default=0.25, gt=0)
    """Largest relative deviation from it."""
    normalisation: Normalisation
    """Of the image."""
    channels: tuple[Channel, ...]
    """All channels of the output, in order; the nearest neighbour along each axis must be among them."""
    outputs: Literal["logits", "probabilities"]
    """What the channels hold: logits, to which the sigmoid is applied here, or probabilities."""
    output: int = Field(default=0, ge=0)
    """Which output it is, where the network returns several."""
    input_tile: Triple
    """Shape (z, y, x) of the image that the network gets; it always gets this one."""
    halo_low: Triple
    """Image (z, y, x) before the first voxel of a tile."""
    halo_high: Triple
    """Image (z, y, x) after the last voxel of a tile."""
    crop_low: Triple = (0, 0, 0)
    """Voxels (z, y, x) that the output has before the first voxel of a tile."""
    crop_high: Triple = (0, 0, 0)
    """Voxels (z, y, x) that the output has after the last voxel of a tile."""
    stride: Triple = (1, 1, 1)
    """Total pooling (z, y, x): the network commutes with shifts by multiples of it."""
    memory_gb: float = Field(gt=0)
    """Memory that one tile takes, in GB (10^9 bytes)."""
    licence: str
    """Licence of the network."""
    source: str
    """Where the network comes from."""

    @field_validator("input_tile", "stride")
    @classmethod
    def _positive(cls, sizes: Triple) -> Triple:
        if min(sizes) < 1:
            raise ValueError(f"three positive numbers of voxels (z, y, x) are wanted, got {sizes}")
        return sizes

    @field_validator("halo_low", "halo_high", "crop_low", "crop_high")
    @classmethod
    def _not_negative(cls, sizes: Triple) -> Triple:
        if min(sizes) < 0:
            raise ValueError(f"three numbers of voxels (z, y, x) of 0 or more are wanted, got {sizes}")
        return sizes

    @model_validator(mode="after")
    def _check(self) -> Self:
        for axis, (size, stride) in enumerate(zip(self.tile, self.stride, strict=True)):
            if size < LEAST_CELLS * stride or size % stride:
                raise ValueError(
                    f"input_tile {self.input_tile} less the halo is a tile of {self.tile}, which along axis "
                    f"{'zyx'[axis]} is no multiple of the stride {stride} from {LEAST_CELLS * stride} on: give a "
                    "larger input_tile"
                )
        for axis in range(3):
            self.channel_of(axis)
        return self

    @property
    def tile(self) -> Triple:
        """Output shape of a tile (z, y, x)."""
        spans = zip(self.input_tile, self.halo_low, self.halo_high, strict=True)
        return as_triple([n - low - high for n, low, high in spans])

    @property
    def output_shape(self) -> Triple:
        """What the network returns of an image of shape `input_tile`."""
        spans = zip(self.crop_low, self.tile, self.crop_high, strict=True)
        return as_triple([low + n + high for low, n, high in spans])

    def channel_of(self, axis: int) -> tuple[int, Triple]:
        """Return the channel with the nearest neighbours along an axis, and where in the output a tile begins.

        An affinity to the next voxel is the one that the next voxel has to this one: it is read a voxel before.
        """
        below, above = (as_triple([step if k == axis else 0 for k in range(3)]) for step in (-1, 1))
        offsets = [channel.offset for channel in self.channels]
        if below in offsets:
            return offsets.index(below), self.crop_low
        if above not in offsets:
            raise ValueError(f"no channel has the offset {below} or {above}: affinities along all axes are wanted")
        start = as_triple([low - step for low, step in zip(self.crop_low, above, strict=True)])
        if min(start) < 0:
            raise ValueError(
                f"the channel with the offset {above} is needed from a voxel before the tile: crop_low must be at "
                f"least {above}, got {self.crop_low}"
            )
        return offsets.index(above), start


@dataclass(frozen=True, eq=False)
class ForeignNetwork(SingleNetwork):
    """A manifest and its file."""

    manifest: ForeignManifest
    path: Path

    @property
    def tile_step(self) -> Triple:
        return self.manifest.tile

    @property
    def stride(self) -> Triple:
        return self.manifest.stride

    @property
    def halo(self) -> Halo:
        return Halo(self.manifest.halo_low, self.manifest.halo_high)

    @property
    def heads(self) -> Mapping[HeadName, slice]:
        return {"affinities": slice(0, 3)}

    @cached_property
    def fingerprint(self) -> str:
        beside = {"name", "file", "voxel_size_nm", "voxel_size_tolerance", "memory_gb", "licence", "source"}
        described = json.dumps(self.manifest.model_dump(mode="json", exclude=beside), sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()

    @property
    def tile_bytes(self) -> int:
        return math.ceil(self.manifest.memory_gb * 1e9)
