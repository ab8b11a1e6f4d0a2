"""Integer boxes in voxel space, always in zyx order.

A `Box` is half open. A `Grid` tiles a box with blocks of one shape and finds any block in constant
time. A `Halo` is what a computation needs to see beyond the box that it writes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

Triple = tuple[int, int, int]


def as_triple(values: Sequence[int]) -> Triple:
    """Check that `values` are three integers and return them as a tuple (z, y, x)."""
    numbers = tuple(int(value) for value in values)
    if len(numbers) != 3 or any(a != b for a, b in zip(numbers, values, strict=True)):
        raise ValueError(f"three integers (z, y, x) are wanted, got {tuple(values)}")
    return numbers[0], numbers[1], numbers[2]


@dataclass(frozen=True)
class Halo:
    """Voxels needed below and above a box, per axis (z, y, x)."""

    low: Triple = (0, 0, 0)
    high: Triple = (0, 0, 0)

    @classmethod
    def symmetric(cls, margin: Sequence[int]) -> Halo:
        """Give the same margin on both sides."""
        return cls(as_triple(margin), as_triple(margin))


@dataclass(frozen=True)
class Box:
    """Half-open integer box [start, stop) in zyx order."""

    start: Triple
    stop: Triple

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> Box:
        """Return the box from the origin to `shape`."""
        return cls((0, 0, 0), as_triple(shape))

    @classmethod
    def parse(cls, text: str) -> Box:
        """Read a box written as ``z0:z1,y0:y1,x0:x1``."""
        try:
            pairs = [tuple(int(number) for number in part.split(":")) for part in text.split(",")]
            start, stop = zip(*pairs, strict=True)
            box = cls(as_triple(start), as_triple(stop))
        except ValueError as error:
            raise ValueError(f"a box is written z0:z1,y0:y1,x0:x1, got {text!r}") from error
        if box.is_empty:
            raise ValueError(f"box {text!r} is empty: each stop must be above its start")
        return box

    @property
    def shape(self) -> Triple:
        z, y, x = (max(0, b - a) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    @property
    def n_voxels(self) -> int:
        return math.prod(self.shape)

    @property
    def is_empty(self) -> bool:
        return self.n_voxels == 0

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    def shift(self, offset: Sequence[int]) -> Box:
        """Move the box by `offset`."""
        return Box(
            as_triple([a + d for a, d in zip(self.start, offset, strict=True)]),
            as_triple([b + d for b, d in zip(self.stop, offset, strict=True)]),
        )

    def cut(self, axis: int, place: int) -> tuple[Box, Box]:
        """Return the parts below and from `place` on along an axis."""
        place = min(max(place, self.start[axis]), self.stop[axis])
        stop = as_triple([place if k == axis else n for k, n in enumerate(self.stop)])
        start = as_triple([place if k == axis else n for k, n in enumerate(self.start)])
        return Box(self.start, stop), Box(start, self.stop)

    def relative_to(self, origin: Sequence[int]) -> Box:
        """Express the box in coordinates whose zero is `origin`."""
        return self.shift([-value for value in origin])

    def grow(self, halo: Halo) -> Box:
        """Add the halo on both sides."""
        return Box(
            as_triple([a - low for a, low in zip(self.start, halo.low, strict=True)]),
            as_triple([b + high for b, high in zip(self.stop, halo.high, strict=True)]),
        )

    def intersect(self, other: Box) -> Box:
        """Return the common part; it is empty where the boxes do not meet."""
        return Box(
            as_triple([max(a, b) for a, b in zip(self.start, other.start, strict=True)]),
            as_triple([min(a, b) for a, b in zip(self.stop, other.stop, strict=True)]),
        )

    def contains(self, other: Box) -> bool:
        return self.intersect(other) == other

    def __str__(self) -> str:
        return ",".join(f"{a}:{b}" for a, b in zip(self.start, self.stop, strict=True))


@dataclass(frozen=True)
class Block:
    """One piece of a block-wise stage's work: the box that it writes, inside the volume's domain."""

    write_box: Box
    domain: Box
    voxel_size_nm: tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    """Tiling of `box` by blocks of `block_shape`, anchored at the box's start.

    Blocks at the far faces are cut by the box. Indexing is O(1) and nothing is stored per block.
    """

    box: Box
    block_shape: Triple

    @cached_property
    def shape(self) -> Triple:
        """Number of blocks along each axis."""
        z, y, x = (-(-n // b) for n, b in zip(self.box.shape, self.block_shape, strict=True))
        return z, y, x

    def __len__(self) -> int:
        return math.prod(self.shape)

    def box_at(self, index: Sequence[int]) -> Box:
        """Return the box of the block at grid position `index`."""
        start = [o + i * b for o, i, b in zip(self.box.start, index, self.block_shape, strict=True)]
        stop = [a + b for a, b in zip(start, self.block_shape, strict=True)]
        return Box(as_triple(start), as_triple(stop)).intersect(self.box)

    def covering(self, box: Box) -> Box:
        """Return the box of grid positions whose blocks meet `box`."""
        inside = box.intersect(self.box).relative_to(self.box.start)
        if inside.is_empty:
            return Box((0, 0, 0), (0, 0, 0))
        start = [a // b for a, b in zip(inside.start, self.block_shape, strict=True)]
        stop = [-(-a // b) for a, b in zip(inside.stop, self.block_shape, strict=True)]
        return Box(as_triple(start), as_triple(stop))

    def number(self, index: Sequence[int]) -> int:
        """Return the C-order number of the block at `index`."""
        _, ny, nx = self.shape
        return (index[0] * ny + index[1]) * nx + index[2]

    def indices(self) -> Iterator[Triple]:
        """Yield all grid positions depth first (Morton order), so that octree nodes fill up early."""
        depth = max(1, max(self.shape) - 1).bit_length()
        yield from _morton((0, 0, 0), depth, self.shape)


def _morton(corner: Triple, depth: int, shape: Triple) -> Iterator[Triple]:
    if any(c >= n for c, n in zip(corner, shape, strict=True)):
        return
    if depth == 0:
        yield corner
        return
    half = 1 << (depth - 1)
    for dz in (0, half):
        for dy in (0, half):
            for dx in (0, half):
                yield from _morton((corner[0] + dz, corner[1] + dy, corner[2] + dx), depth - 1, shape)
