"""Export to Neuroglancer precomputed: sharded, compressed, with every mip level.

Levels that the volume has are copied; further ones are pooled from the level before, until one fits in
about 64^3. The export walks over whole shards of the target, so that each is written once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Grid, Triple, as_triple
from connectome.kernels.downsample import downsample_mean, downsample_mode
from connectome.store.array_volume import ArrayVolume
from connectome.store.locations import STORE_ERRORS, StoreError
from connectome.store.pyramid import level_shape, next_factor
from connectome.store.volume import Volume

Array = npt.NDArray[Any]
Kind = Literal["image", "segmentation"]
Progress = Callable[[int, int], None]
"""Called with the voxels written so far, and in all levels together."""

CELL = (128, 128, 128)
"""What is pooled at a time: eight times as much of the level before is in memory."""


def export_precomputed(
    volume: Volume | ArrayVolume,
    target_url: str,
    *,
    kind: Kind,
    encoding: str | None = None,
    progress: Progress | None = None,
) -> Volume:
    """Write `volume` as a sharded precomputed volume.

    Parameters
    ----------
    volume
        What is exported; it states its voxel size.
    target_url
        An empty place.
    kind
        ``segmentation``: labels, as compressed_segmentation, pooled by their mode. ``image``: grey values
        or channels, pooled by their mean.
    encoding
        Of an image: ``raw`` (gzipped; exact) or ``jpeg`` (uint8, 1 or 3 channels).

    Peak memory is a few times a shard of 128 MB. Below level 0, the format cannot say that a volume starts
    at a fraction of a voxel: such a level lies up to one of its voxels too low.
    """
    target = Volume.create(
        target_url,
        box=volume.box,
        dtype=_stored_type(volume, kind),
        voxel_size_nm=volume.voxel_size_nm,
        n_channels=volume.n_channels,
        write_shape=volume.box.shape,
        factors=_factors(volume),
        format="precomputed-sharded",
        kind=kind,
        encoding=encoding,
        is_finished=False,
    )
    try:
        _write_all(volume, target, kind, progress)
        target.finish()
    except BaseException:
        with contextlib.suppress(*STORE_ERRORS):
            target.delete()
        raise
    return target


def _write_all(volume: Volume | ArrayVolume, target: Volume, kind: Kind, progress: Progress | None) -> None:
    total = sum(target.level_box(level).n_voxels for level in range(target.n_levels))
    done = 0
    for level in range(target.n_levels):
        whole = target.level_box(level)
        grid = Grid(whole, target.level_write_shape(level))
        is_copied = level < volume.n_levels and volume.level_factor(level) == target.level_factor(level)
        for index in grid.indices():
            box = grid.box_at(index)
            inside = box.relative_to(whole.start)
            if is_copied:
                array = volume.read(inside.shift(volume.level_box(level).start), level)
            else:
                array = _pooled(target, level, inside, kind)
            target.write(box, _converted(array, target.dtype, volume.url), level)
            done += box.n_voxels
            if progress is not None:
                progress(done, total)


def _factors(volume: Volume | ArrayVolume) -> list[Triple]:
    """Return the levels that the volume has, as far as they are a pyramid, and those that it lacks."""
    factors = [volume.level_factor(0)]
    for level in range(1, volume.n_levels):
        factor = volume.level_factor(level)
        steps = {b / a for a, b in zip(factors[-1], factor, strict=True)}
        if not steps <= {1, 2} or volume.level_box(level).shape != level_shape(volume.box.shape, factor):
            break
        factors.append(factor)
    while (following := next_factor(volume.box.shape, volume.voxel_size_nm, factors[-1])) is not None:
        factors.append(following)
    return factors


def _pooled(target: Volume, level: int, inside: Box, kind: Kind) -> Array:
    """Pool the box `inside` (from the level's start) of a level from the level before."""
    pool = downsample_mode if kind == "segmentation" else downsample_mean
    finer = target.level_box(level - 1)
    step = [b // a for a, b in zip(target.level_factor(level - 1), target.level_factor(level), strict=True)]
    channels = () if target.n_channels is None else (target.n_channels,)
    result = np.empty((*channels, *inside.shape), target.dtype)
    grid = Grid(inside, CELL)
    for index in grid.indices():
        cell = grid.box_at(index)
        start = as_triple([a * s for a, s in zip(cell.start, step, strict=True)])
        stop = as_triple([b * s for b, s in zip(cell.stop, step, strict=True)])
        source = Box(start, stop).shift(finer.start).intersect(finer)
        result[(..., *cell.relative_to(inside.start).slices)] = pool(target.read(source, level - 1), step)
    return result


def _stored_type(volume: Volume | ArrayVolume, kind: Kind) -> np.dtype[Any]:
    dtype = np.dtype(volume.dtype).newbyteorder("=")
    if kind == "segmentation":
        if dtype.kind not in "biu":
            raise StoreError(f"{volume.url} holds {dtype}; a segmentation has integers: export an image")
        if volume.n_channels is not None:
            raise StoreError(f"{volume.url} has {volume.n_channels} channels; a segmentation has none")
        return np.dtype(np.uint64 if dtype.itemsize == 8 else np.uint32)
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if dtype.kind == "f" else dtype


def _converted(array: Array, dtype: np.dtype[Any], url: str) -> Array:
    if array.dtype.kind == "i" and dtype.kind == "u" and array.size and array.min() < 0:
        raise StoreError(f"{url} has the negative label {array.min()}; labels of a segmentation begin at 0")
    return np.ascontiguousarray(array, dtype)
