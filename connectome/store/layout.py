"""What a format says about a volume, in terms that all formats share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from connectome.geometry import Box, Triple
from connectome.store.locations import Spec

VoxelSize = tuple[float, float, float]


@dataclass(frozen=True)
class Layout:
    """An existing volume: one TensorStore spec per level, and what the arrays' axes mean.

    `axes` names the stored dimensions in their order, such as ``czyx`` or ``xyzc``; a stored dimension
    other than c, z, y, x has one element.
    """

    specs: Sequence[Spec]
    axes: str
    factors: Sequence[Triple]
    voxel_size_nm: VoxelSize | None = None
    offset: Triple = (0, 0, 0)
    has_channels: bool = False


@dataclass(frozen=True)
class Request:
    """A volume to be created. Shapes are zyx; `write_shape` is the block of one write."""

    box: Box
    dtype: np.dtype[np.generic]
    voxel_size_nm: VoxelSize
    n_channels: int | None
    write_shape: Triple
    factors: Sequence[Triple] = field(default_factory=lambda: [(1, 1, 1)])
