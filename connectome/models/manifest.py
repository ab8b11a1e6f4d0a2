"""A network as it is shipped: weights in safetensors, and a YAML manifest that says what they are.

Nothing here needs torch: a plan asks for halo, tiles and voxel size without loading it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from connectome.errors import InputError
from connectome.geometry import Halo, Triple
from connectome.models.architecture import Architecture, ClassName, HeadName
from connectome.models.ensemble import Ensemble, EnsembleManifest
from connectome.models.foreign_manifest import ForeignManifest, ForeignNetwork
from connectome.models.network import Channel, Network, Normalisation, Part, SingleNetwork

SHIPPED = Path(__file__).parent / "networks"
CHANNELS = ("affinity_z", "affinity_y", "affinity_x")
OFFSETS: tuple[Triple, ...] = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))


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
    started_from: str | None = None
    """Content hash of the weights that training started from, if they were not random."""
    figures: dict[str, float] = Field(default_factory=dict)
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
class TrainedNetwork(SingleNetwork):
    """A manifest and its weights on disk, as `connectome train` writes them."""

    manifest: Manifest
    weights_path: Path

    @property
    def architecture(self) -> Architecture:
        return self.manifest.architecture

    @property
    def tile_step(self) -> Triple:
        return self.architecture.stride

    @property
    def stride(self) -> Triple:
        return self.architecture.stride

    @property
    def halo(self) -> Halo:
        return self.architecture.halo

    @property
    def heads(self) -> Mapping[HeadName, slice]:
        return self.architecture.channels(auxiliary=False)

    @property
    def classes(self) -> tuple[ClassName, ...]:
        return self.architecture.classes

    @cached_property
    def fingerprint(self) -> str:
        keys = {"weights_sha256", "normalisation", "tile", "architecture"}
        described = json.dumps(self.manifest.model_dump(mode="json", include=keys), sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()

    @property
    def tile_bytes(self) -> int:
        """Bound of the memory that one tile takes beside image and result, in float32 (bfloat16: half)."""
        read, written = math.prod(self.input_shape), math.prod(self.tile)
        # At its widest: the skip connection of the finest level, its cut and the upsampled features side by
        # side before and after they are joined, and the first result of the decoder.
        return 4 * self.architecture.levels[0].features * (read + 6 * written) + 8 * read


def shipped_networks() -> list[str]:
    """Return the names of the networks that come with the package."""
    return sorted(found.stem for found in SHIPPED.glob("*.yaml"))


def load_network(name_or_path: str) -> Network:
    """Return a shipped network by name, or any by the path of its manifest, weights checked."""
    path = _manifest_path(name_or_path)
    loaded = _load(path, path.stat().st_mtime_ns)
    return loaded if isinstance(loaded, Network) else _load_ensemble(loaded, path.parent)


def _manifest_path(name_or_path: str) -> Path:
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = SHIPPED / f"{name_or_path}.yaml"
    if not path.is_file():
        shipped = ", ".join(shipped_networks()) or "none"
        raise InputError(
            f"network {name_or_path!r} is not there: wanted one of those shipped ({shipped}) or the path of a "
            "manifest (.yaml); choose one or train it (connectome train)"
        )
    return path


def load_trained(name_or_path: str) -> TrainedNetwork:
    """Return what `load_network` returns, if it is a network of `connectome train`."""
    network = load_network(name_or_path)
    if not isinstance(network, TrainedNetwork):
        raise InputError(f"{name_or_path} is a foreign network: wanted one that connectome train wrote")
    return network


@lru_cache(maxsize=16)
def _load(path: Path, changed: int) -> SingleNetwork | EnsembleManifest:  # noqa: ARG001
    """Load once per file and time of change: a network that is trained again is another one."""
    try:
        content = yaml.safe_load(path.read_text())
        # A foreign network has a file in some format, an ensemble has members, ours has an architecture.
        if isinstance(content, dict) and "format" in content:
            foreign = ForeignManifest.model_validate(content)
            return ForeignNetwork(foreign, _described_file(path, foreign.name, foreign.file, foreign.file_sha256))
        if isinstance(content, dict) and "members" in content:
            return EnsembleManifest.model_validate(content)
        manifest = Manifest.model_validate(content)
    except (ValidationError, yaml.YAMLError) as error:
        raise InputError(f"{path} is no manifest of a network: {error}") from error
    return TrainedNetwork(manifest, _described_file(path, manifest.name, manifest.weights, manifest.weights_sha256))


def _load_ensemble(manifest: EnsembleManifest, folder: Path) -> Ensemble:
    """Load the members, each time: one of them may have been trained again."""
    members = []
    for name in manifest.members:
        path = _manifest_path(str(folder / name) if Path(name).suffix in {".yaml", ".yml"} else name)
        member = _load(path, path.stat().st_mtime_ns)
        if isinstance(member, EnsembleManifest):
            raise InputError(
                f"ensemble {manifest.name!r}: its member {name} is an ensemble too: give the latter's members"
            )
        members.append(member)
    return Ensemble(manifest, tuple(members))


def _described_file(path: Path, name: str, file: str, sha256: str) -> Path:
    """Return the file beside the manifest at `path`, if it is the one that the manifest describes."""
    described = path.parent / file
    if not described.is_file():
        raise InputError(f"the weights of network {name!r} are missing: put {file} beside {path}")
    with described.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != sha256:
        raise InputError(
            f"{described} is not the file that {path.name} describes: got sha256 {found[:12]}, wanted "
            f"{sha256[:12]}; restore both from one source"
        )
    return described


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest as YAML, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(yaml.safe_dump(manifest.model_dump(mode="json"), sort_keys=False, width=100))
    partial.replace(path)
