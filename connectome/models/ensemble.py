"""Several networks whose predictions are averaged. No torch here."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydantic import Field

from connectome.errors import InputError
from connectome.geometry import Halo, Triple, as_triple
from connectome.models.architecture import ClassName, HeadName
from connectome.models.network import Network, Part, SingleNetwork


class EnsembleManifest(Part):
    """Which networks an ensemble is."""

    name: str
    """Name of the ensemble."""
    members: tuple[str, ...] = Field(min_length=2)
    """Shipped networks by name, others by the path of their manifest, from this file's folder."""


@dataclass(frozen=True, eq=False)
class Ensemble(Network):
    """Networks that know one voxel size, predict the same, and have the same tiles; halos may differ."""

    manifest: EnsembleManifest
    members: tuple[SingleNetwork, ...]

    def __post_init__(self) -> None:
        first, *others = self.members
        for other in others:
            for what, own, wanted in _compared(other, first):
                if own != wanted:
                    raise InputError(
                        f"ensemble {self.name!r}: {what} of {other.name!r} is {own}, but {wanted} of {first.name!r}: "
                        "choose networks that share it"
                    )

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def voxel_size_nm(self) -> tuple[float, float, float]:
        return self.members[0].voxel_size_nm

    @property
    def voxel_size_tolerance(self) -> float:
        return min(member.voxel_size_tolerance for member in self.members)

    @property
    def tile(self) -> Triple:
        return self.members[0].tile

    @property
    def tile_step(self) -> Triple:
        return self.members[0].tile_step

    @property
    def stride(self) -> Triple:
        return self.members[0].stride

    @property
    def halo(self) -> Halo:
        halos = [member.halo for member in self.members]
        return Halo(_widest([halo.low for halo in halos]), _widest([halo.high for halo in halos]))

    @property
    def heads(self) -> Mapping[HeadName, slice]:
        return self.members[0].heads

    @property
    def classes(self) -> tuple[ClassName, ...]:
        return self.members[0].classes

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr([member.fingerprint for member in self.members]).encode()).hexdigest()

    @property
    def tile_bytes(self) -> int:
        n_channels = max(channels.stop for channels in self.heads.values())
        written: int = 4 * n_channels * math.prod(self.tile)
        return max(member.tile_bytes for member in self.members) + len(self.members) * written

    def check_mirrors(self) -> None:
        for member in self.members:
            member.check_mirrors()

    def seen_by(self, member: Network) -> tuple[slice, slice, slice]:
        """Return the part of a tile's image, halo included, that a member sees."""
        own, wide = member.halo, self.halo
        low = [all_ - part for all_, part in zip(wide.low, own.low, strict=True)]
        high = [part - all_ for all_, part in zip(wide.high, own.high, strict=True)]
        z, y, x = (slice(a, b or None) for a, b in zip(low, high, strict=True))
        return z, y, x


def _compared(network: Network, first: Network) -> Sequence[tuple[str, object, object]]:
    return [
        ("the voxel size", network.voxel_size_nm, first.voxel_size_nm),
        ("the tile", network.tile, first.tile),
        ("the step of tiles at the far faces", network.tile_step, first.tile_step),
        ("the stride", network.stride, first.stride),
        ("what is predicted", [*network.heads, *network.classes], [*first.heads, *first.classes]),
    ]


def _widest(margins: Sequence[Triple]) -> Triple:
    return as_triple([max(spans) for spans in zip(*margins, strict=True)])
