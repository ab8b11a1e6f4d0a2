"""What a format says about a volume, in terms that all formats share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from connectome.geometry import Box, Triple, as_triple
from connectome.store.locations import Spec, StoreError, kvstore_spec
from connectome.store.pyramid import CHUNK, level_box

VoxelSize = tuple[float, float, float]
Kind = Literal["image", "segmentation"]

NANOMETRES = {
    **dict.fromkeys(("angstrom", "a", "å"), 0.1),
    **dict.fromkeys(("nanometer", "nanometre", "nm", ""), 1.0),
    **dict.fromkeys(("micrometer", "micrometre", "micron", "microns", "um", "µm", "μm"), 1e3),
    **dict.fromkeys(("millimeter", "millimetre", "mm"), 1e6),
    **dict.fromkeys(("centimeter", "centimetre", "cm"), 1e7),
    **dict.fromkeys(("meter", "metre", "m"), 1e9),
}


@dataclass(frozen=True)
class Layout:
    """An existing volume: one TensorStore spec per level, and what the arrays' axes mean.

    `axes` names the stored dimensions in their order, such as ``czyx`` or ``xyzc``; a stored dimension
    other than c, z, y, x has one element. `starts` holds each level's first voxel (z, y, x).
    """

    specs: Sequence[Spec]
    axes: str
    factors: Sequence[Triple]
    starts: Sequence[Triple]
    voxel_size_nm: VoxelSize | None = None
    has_channels: bool = False


@dataclass(frozen=True)
class Request:
    """A volume to be created. Shapes are zyx; `write_shape` is the block of one write."""

    box: Box
    dtype: np.dtype[np.generic]
    voxel_size_nm: VoxelSize
    n_channels: int | None
    write_shape: Triple
    factors: Sequence[Triple] = ((1, 1, 1),)
    kind: Kind = "image"
    encoding: str | None = None
    chunk: int = CHUNK
    """Extent of a chunk inside a shard, at most."""

    def level_size_nm(self, factor: Triple) -> VoxelSize:
        """Return the voxel size of a level."""
        z, y, x = (nm * f for nm, f in zip(self.voxel_size_nm, factor, strict=True))
        return z, y, x


@dataclass(frozen=True)
class Blueprint:
    """What to create: the arrays, and then the keys that make them a volume."""

    arrays: Sequence[Spec]
    keys: Mapping[str, str] = field(default_factory=dict)


def is_label_type(dtype: np.dtype[Any]) -> bool:
    """Say whether voxels of `dtype` are taken for labels: integers wider than 16 bits."""
    return dtype.kind in "iu" and dtype.itemsize > 2


def array_spec(url: str, path: str, driver: str) -> Spec:
    """Return the TensorStore spec of the array at ``url/path``."""
    return {"driver": driver, "kvstore": kvstore_spec(url, path)}


def level_starts(offset: Triple, factors: Iterable[Triple]) -> list[Triple]:
    """Return the first voxel of each level of a volume that starts at `offset`."""
    return [level_box(Box(offset, offset), factor).start for factor in factors]


def voxel_size(values: Iterable[float]) -> VoxelSize:
    """Check that `values` are three positive lengths and return them."""
    got = tuple(values)
    size = [float(value) for value in got]
    if len(size) != 3 or not all(0 < value < float("inf") for value in size):
        raise StoreError(f"a voxel size is three positive lengths in nanometres (z, y, x), got {got}")
    return size[0], size[1], size[2]


def whole_voxels(offset_nm: Iterable[float], size_nm: VoxelSize | None) -> Triple:
    """Turn an offset in nanometres into voxels."""
    sizes = size_nm or (1.0, 1.0, 1.0)
    return as_triple([round(value / size) for value, size in zip(offset_nm, sizes, strict=True)])


def nanometres_of(unit: object) -> float:
    """Return the length of `unit` in nanometres."""
    name = str(unit or "").lower()
    if name not in NANOMETRES:
        raise StoreError(f"unknown unit of length {unit!r}; wanted is nanometer, micrometer, ...")
    return NANOMETRES[name]
