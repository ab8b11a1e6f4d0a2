"""A source of voxels: an array of some file, read as slabs of whole sections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from connectome.geometry import Triple
from connectome.store.layout import VoxelSize

Array = npt.NDArray[Any]


class Slab(Protocol):
    """Some whole sections, (c) z y x, in memory or not: cut out of it what is needed."""

    def __getitem__(self, index: Any, /) -> Array: ...


Slabs = Callable[[int], Iterator[tuple[int, Slab]]]


@dataclass(frozen=True)
class LazySlab:
    """Sections that are read when a piece ``[..., y, x]`` of them is asked for."""

    read: Callable[[slice, slice], Array]

    def __getitem__(self, index: tuple[Any, slice, slice]) -> Array:
        return self.read(index[-2], index[-1])


@dataclass(frozen=True)
class Source:
    """An array in a foreign file. `shape` and `offset` are zyx; slabs are (c) z y x."""

    url: str
    shape: Triple
    dtype: np.dtype[Any]
    slabs: Slabs
    n_channels: int | None = None
    voxel_size_nm: VoxelSize | None = None
    offset: Triple = (0, 0, 0)

    def read(self) -> Array:
        """Return the whole array, (c) z y x."""
        channels = () if self.n_channels is None else (self.n_channels,)
        whole = np.empty((*channels, *self.shape), self.dtype.newbyteorder("="))
        for start, slab in self.slabs(max(1, 2**26 // (self.shape[1] * self.shape[2]))):
            part = slab[..., slice(None), slice(None)]
            whole[..., start : start + part.shape[-3], :, :] = part
        return whole


def slabs_of(depth: int, read: Callable[[int, int], Slab]) -> Slabs:
    """Make slabs of what can read any range of sections."""

    def slabs(thickness: int) -> Iterator[tuple[int, Slab]]:
        for start in range(0, depth, thickness):
            yield start, read(start, min(depth, start + thickness))

    return slabs
