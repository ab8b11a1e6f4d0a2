"""What a stage asks of a network, whoever trained it, and what every manifest says. No torch here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from connectome.errors import InputError
from connectome.geometry import Box, Halo, Triple, as_triple
from connectome.models import tiles
from connectome.models.architecture import ClassName, HeadName


class Part(BaseModel):
    """A part of a manifest: fixed, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Normalisation(Part):
    """How grey values become what the network sees: (value - mean) / standard_deviation."""

    mean: float
    """Mean of the training images, grey levels 0-255."""
    standard_deviation: float = Field(gt=0)
    """Standard deviation of the training images, grey levels."""


class Channel(Part):
    """One output of the network."""

    name: str
    """Name of the channel."""
    offset: Triple | None = None
    """Voxel (z, y, x) whose affinity to this one the channel holds; none for a class."""


class Described(Protocol):
    """What the manifest of any network says."""

    @property
    def name(self) -> str: ...
    @property
    def normalisation(self) -> Normalisation: ...
    @property
    def voxel_size_nm(self) -> tuple[float, float, float]: ...
    @property
    def voxel_size_tolerance(self) -> float: ...
    @property
    def tile(self) -> Triple: ...


class Network(ABC):
    """What predicts: where its tiles lie, what they read, and what tells it from another one."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the network."""

    @property
    @abstractmethod
    def voxel_size_nm(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) of the images that the network was trained on."""

    @property
    @abstractmethod
    def voxel_size_tolerance(self) -> float:
        """Largest relative deviation from it."""

    @property
    @abstractmethod
    def tile(self) -> Triple:
        """Output shape of a tile (z, y, x)."""

    @property
    @abstractmethod
    def tile_step(self) -> Triple:
        """Sizes that a tile at the volume's far faces may have: multiples of this (z, y, x)."""

    @property
    @abstractmethod
    def stride(self) -> Triple:
        """Shifts (z, y, x) that the network commutes with: multiples of this."""

    @property
    @abstractmethod
    def halo(self) -> Halo:
        """Image that a tile reads around its output."""

    @property
    @abstractmethod
    def heads(self) -> Mapping[HeadName, slice]:
        """Channels of each head that the network predicts."""

    @property
    def classes(self) -> tuple[ClassName, ...]:
        """Names of the classes that the network predicts, in order."""
        return ()

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of everything that predictions depend on beside the image."""

    @property
    @abstractmethod
    def tile_bytes(self) -> int:
        """Bound of the memory that one tile takes beside image and result."""

    @property
    def input_shape(self) -> Triple:
        """Shape (z, y, x) of the image that a whole tile reads."""
        spans = zip(self.halo.low, self.tile, self.halo.high, strict=True)
        return as_triple([low + n + high for low, n, high in spans])

    def channels(self, head: HeadName) -> slice:
        """Return the channels of ``affinities`` or ``classes``; raise InputError if the network has no such head."""
        if head not in self.heads:
            raise InputError(
                f"network {self.name!r} predicts no {head}, but {' and '.join(self.heads)}: choose another network, or "
                "train one that does (connectome train)"
            )
        return self.heads[head]

    def check_voxel_size(self, voxel_size_nm: Sequence[float]) -> None:
        """Raise InputError if images of this voxel size (zyx) are not what the network knows."""
        known, tolerance = self.voxel_size_nm, self.voxel_size_tolerance
        if any(abs(size / own - 1) > tolerance for size, own in zip(voxel_size_nm, known, strict=True)):
            raise InputError(
                f"network {self.name!r} does not fit the image's voxel size: got {_in_nm(voxel_size_nm)} nm, "
                f"wanted {_in_nm(known)} nm (zyx) within {tolerance:.0%}; use another mip level, correct the "
                "image's voxel size, or train a network for it (connectome train)"
            )

    def check_mirrors(self) -> None:
        """Raise InputError if a mirrored tile would not lie on the tile that it is mirrored from."""
        if self.halo.low != self.halo.high:
            raise InputError(
                f"network {self.name!r} reads {self.halo.low} voxels (zyx) before a tile and {self.halo.high} after "
                "it, so its mirrored tiles lie elsewhere: leave mirrored out"
            )

    def image_box(self, domain: Box, box: Box) -> Box:
        """Return the part of the image that must be read to predict `box` of the volume `domain`."""
        return tiles.image_box(self.halo, self.tile_step, self.tile, domain, box)


class SingleNetwork(Network):
    """A network with a manifest of its own."""

    manifest: Described

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def normalisation(self) -> Normalisation:
        """Of the image."""
        return self.manifest.normalisation

    @property
    def voxel_size_nm(self) -> tuple[float, float, float]:
        return self.manifest.voxel_size_nm

    @property
    def voxel_size_tolerance(self) -> float:
        return self.manifest.voxel_size_tolerance

    @property
    def tile(self) -> Triple:
        return self.manifest.tile


def _in_nm(size: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in size)
