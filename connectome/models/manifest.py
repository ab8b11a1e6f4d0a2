"""A network as it is shipped: weights in safetensors, and a YAML manifest that says what they are.

Nothing here needs torch: a plan asks for halo, tiles and voxel size without loading it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from connectome.errors import InputError
from connectome.geometry import Box, Halo, Triple
from connectome.models import tiles
from connectome.models.architecture import Architecture, HeadName

SHIPPED = Path(__file__).parent / "networks"
CHANNELS = ("affinity_z", "affinity_y", "affinity_x")
OFFSETS: tuple[Triple, ...] = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))


class Part(BaseModel):
    """A part of a manifest: fixed, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


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


def channels_of(architecture: Architecture) -> tuple[Channel, ...]:
    """Return the channels that a network of this architecture predicts, in order."""
    affinities = [Channel(name=name, offset=offset) for name, offset in zip(CHANNELS, OFFSETS, strict=True)]
    return (*(affinities if architecture.affinities else ()), *(Channel(name=name) for name in architecture.classes))


class Provenance(Part):
    """Where the weights come from."""

    data: str
    """What the network was trained on."""
    licence: str
    """Licence of the weights."""
    command: str
    """Command that trains the network again."""
    figures: dict[str, float] = {}
    """Measured while training and after it."""


class Manifest(Part):
    """Everything about a network but its weights."""

    name: str
    """Name of the network."""
    weights: str
    """File of the weights, beside the manifest."""
    weights_sha256: str
    """Content hash of that file."""
    voxel_size_nm: tuple[float, float, float]
    """Voxel size (z, y, x) of the images that the network was trained on."""
    voxel_size_tolerance: float = Field(gt=0)
    """Largest relative deviation from it."""
    dtype: Literal["uint8"] = "uint8"
    """Grey values of the image, affinities (0 = apart, 255 = together) and probabilities of classes."""
    normalisation: Normalisation
    """Of the image."""
    channels: tuple[Channel, ...]
    """Outputs, in order."""
    tile: Triple
    """Output shape of a tile (z, y, x)."""
    stride: Triple
    """Total pooling (z, y, x): tiles start at multiples of it. Follows from the architecture."""
    receptive_field: Triple
    """Image that one output voxel depends on (z, y, x). Follows from the architecture."""
    halo_low: Triple
    """Image that a tile reads before its first voxel (z, y, x). Follows from the architecture."""
    halo_high: Triple
    """Image that a tile reads after its last voxel (z, y, x). Follows from the architecture."""
    architecture: Architecture
    """The network."""
    training: Provenance
    """Where the weights come from."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        halo = self.architecture.halo
        derived = {
            "stride": self.architecture.stride,
            "receptive_field": self.architecture.receptive_field,
            "halo_low": halo.low,
            "halo_high": halo.high,
        }
        for key, wanted in derived.items():
            if getattr(self, key) != wanted:
                raise ValueError(
                    f"{key} is {getattr(self, key)}, but the architecture gives {wanted}: correct the manifest"
                )
        offsets = [channel.offset for channel in channels_of(self.architecture)]
        if [channel.offset for channel in self.channels] != offsets:
            raise ValueError(f"channels must have the offsets {offsets} in this order: correct the manifest")
        classes = tuple(channel.name for channel in self.channels if channel.offset is None)
        if classes != self.architecture.classes:
            raise ValueError(
                f"classes are {classes}, but the architecture has {self.architecture.classes}: correct one"
            )
        self.architecture.input_shape(self.tile)
        return self


@dataclass(frozen=True, eq=False)
class Network:
    """A manifest and its weights on disk; what a stage asks of a network."""

    manifest: Manifest
    weights_path: Path

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def architecture(self) -> Architecture:
        return self.manifest.architecture

    @property
    def halo(self) -> Halo:
        """Image that a tile reads around its output."""
        return self.architecture.halo

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that the affinities depend on beside the image."""
        keys = {"weights_sha256", "normalisation", "tile", "architecture"}
        described = json.dumps(self.manifest.model_dump(mode="json", include=keys), sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()

    def channels(self, head: HeadName) -> slice:
        """Return the channels of ``affinities`` or ``classes``; raise InputError if the network has no such head."""
        channels = self.architecture.channels(auxiliary=False)
        if head not in channels:
            raise InputError(
                f"network {self.name!r} predicts no {head}, but {' and '.join(channels)}: choose another network, or "
                "train one that does (connectome train)"
            )
        return channels[head]

    def check_voxel_size(self, voxel_size_nm: Sequence[float]) -> None:
        """Raise InputError if images of this voxel size (zyx) are not what the network knows."""
        known, tolerance = self.manifest.voxel_size_nm, self.manifest.voxel_size_tolerance
        if any(abs(size / own - 1) > tolerance for size, own in zip(voxel_size_nm, known, strict=True)):
            raise InputError(
                f"network {self.name!r} does not fit the image's voxel size: got {_in_nm(voxel_size_nm)} nm, "
                f"wanted {_in_nm(known)} nm (zyx) within {tolerance:.0%}; use another mip level, correct the "
                "image's voxel size, or train a network for it (connectome train)"
            )

    def image_box(self, domain: Box, box: Box) -> Box:
        """Return the part of the image that must be read to predict `box` of the volume `domain`."""
        return tiles.image_box(self.architecture, self.manifest.tile, domain, box)


def _in_nm(size: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in size)


def shipped_networks() -> list[str]:
    """Return the names of the networks that come with the package."""
    return sorted(found.stem for found in SHIPPED.glob("*.yaml"))


def load_network(name_or_path: str) -> Network:
    """Return a shipped network by name, or any by the path of its manifest, weights checked."""
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = SHIPPED / f"{name_or_path}.yaml"
    if not path.is_file():
        shipped = ", ".join(shipped_networks()) or "none"
        raise InputError(
            f"network {name_or_path!r} is not there: wanted one of those shipped ({shipped}) or the path of a "
            "manifest (.yaml); choose one or train it (connectome train)"
        )
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _load(path: Path, changed: int) -> Network:  # noqa: ARG001
    """Load once per file and time of change: a network that is trained again is another one."""
    try:
        manifest = Manifest.model_validate(yaml.safe_load(path.read_text()))
    except (ValidationError, yaml.YAMLError) as error:
        raise InputError(f"{path} is no manifest of a network: {error}") from error
    weights = path.parent / manifest.weights
    if not weights.is_file():
        raise InputError(f"the weights of network {manifest.name!r} are missing: put {manifest.weights} beside {path}")
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != manifest.weights_sha256:
        raise InputError(
            f"{weights} is not the file that {path.name} describes: got sha256 {found[:12]}, wanted "
            f"{manifest.weights_sha256[:12]}; restore both from one source"
        )
    return Network(manifest, weights)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest as YAML, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(yaml.safe_dump(manifest.model_dump(mode="json"), sort_keys=False, width=100))
    partial.replace(path)
