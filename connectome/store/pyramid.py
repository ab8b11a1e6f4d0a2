"""Mip pyramids: which factors, how large each level, and the chunks inside a shard."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from connectome.geometry import Box, Triple, as_triple
from connectome.store.locations import StoreError

CHUNK = 64
"""Extent of a chunk inside a shard."""
SMALL_CHUNK = 32
"""The same of volumes on disk that stages alone read: what a block reads beside itself is decoded in whole chunks."""
SMALLEST_CHUNK = 16


def pyramid_factors(
    box_shape: Sequence[int],
    write_shape: Sequence[int],
    voxel_size_nm: Sequence[float],
    minimum: int = 64,
) -> list[Triple]:
    """Return the cumulative factors of the deepest pyramid that blocks can write by themselves.

    Each level halves the axes whose voxels are the finest within a factor sqrt(2), so that voxels
    become isotropic. It ends where a level fits in about `minimum`^3, or where a block boundary would
    fall inside a voxel of the next level. The first element is (1, 1, 1).
    """
    factors = [(1, 1, 1)]
    while (factor := next_factor(box_shape, voxel_size_nm, factors[-1], minimum)) is not None:
        if not is_admissible(box_shape, write_shape, factor):
            break
        factors.append(factor)
    return factors


def next_factor(
    box_shape: Sequence[int], voxel_size_nm: Sequence[float], factor: Triple, minimum: int = 64
) -> Triple | None:
    """Return the cumulative factor of the level after that of `factor`; None where that one is the last."""
    shape = level_shape(box_shape, factor)
    if all(n <= minimum for n in shape):
        return None
    size = [nm * f for nm, f in zip(voxel_size_nm, factor, strict=True)]
    finest = min(nm for nm, n in zip(size, shape, strict=True) if n > 1)
    step = [2 if nm < math.sqrt(2) * finest and n > 1 else 1 for nm, n in zip(size, shape, strict=True)]
    return as_triple([f * s for f, s in zip(factor, step, strict=True)])


def is_admissible(box_shape: Sequence[int], write_shape: Sequence[int], factor: Triple) -> bool:
    """Say whether every block boundary inside the box is also a boundary between pooled voxels."""
    axes = zip(box_shape, write_shape, factor, strict=True)
    return all(write >= extent or write % f == 0 for extent, write, f in axes)


def check_factors(box_shape: Triple, write_shape: Triple, factors: Sequence[Triple]) -> None:
    """Raise unless `factors` is a pyramid that blocks of `write_shape` can write by themselves."""
    if not factors or tuple(factors[0]) != (1, 1, 1):
        raise StoreError(f"level factors must begin with (1, 1, 1), got {list(factors)}")
    for previous, factor in itertools.pairwise(factors):
        if any(f % p or f < p for f, p in zip(factor, previous, strict=True)):
            raise StoreError(f"each level must pool the one before it, got {previous} followed by {factor}")
    for level, factor in enumerate(factors):
        if not is_admissible(box_shape, write_shape, as_triple(factor)):
            raise StoreError(
                f"level {level} pools by {tuple(factor)}, which does not divide the block {write_shape}; "
                "take fewer levels, or a block that the factor divides"
            )


def level_shape(shape: Sequence[int], factor: Sequence[int]) -> Triple:
    """Return the shape of a level: the last voxel of an axis may pool fewer voxels."""
    return as_triple([-(-n // f) for n, f in zip(shape, factor, strict=True)])


def level_box(box: Box, factor: Triple) -> Box:
    """Return the box of a level in its own voxels.

    Pooling counts from the box's start, wherever that lies, so the level's start is rounded down and
    its shape is that of `level_shape`.
    """
    start = as_triple([a // f for a, f in zip(box.start, factor, strict=True)])
    return Box.of_shape(level_shape(box.shape, factor)).shift(start)


def chunk_extent(extent: int, most: int = CHUNK) -> int:
    """Return the chunk inside a shard: the largest divisor from 16 to `most`, else the next above, or all above 64."""
    extents = [*range(min(most, extent), SMALLEST_CHUNK - 1, -1), *range(most + 1, CHUNK + 1)]
    return next((each for each in extents if extent % each == 0), extent)


def shard_shape(shape: Triple, write_shape: Triple, factor: Triple, most: int = CHUNK) -> tuple[Triple, Triple]:
    """Return (shard, chunk) of a level of a volume of `shape` that is written by blocks of `write_shape`.

    An axis that one block covers has no boundary to respect: its shard is rounded up to whole chunks of
    `most`, so that no extent, however prime, makes chunks as long as the axis.
    """
    shards, chunks = [], []
    for extent, write, f in zip(shape, write_shape, factor, strict=True):
        pooled = -(-extent // f)
        if write >= extent:
            chunk = min(most, pooled)
            shards.append(-(-pooled // chunk) * chunk)
        else:
            chunk = chunk_extent(write // f, most)
            shards.append(write // f)
        chunks.append(chunk)
    return as_triple(shards), as_triple(chunks)
