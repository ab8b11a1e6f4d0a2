"""A volume: an array with a place in space, read and written by boxes.

Arrays are z y x, or c z y x where the volume has channels. Boxes are global voxels of the level.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from connectome.geometry import Box, Triple, as_triple
from connectome.store.formats import CREATE, find_layout
from connectome.store.layout import Blueprint, Kind, Layout, Request, VoxelSize, is_label_type, voxel_size
from connectome.store.locations import (
    READ_ONLY,
    STORE_ERRORS,
    Location,
    StoreError,
    context,
    delete_key,
    delete_keys,
    list_keys,
    read_key,
    scheme_of,
    write_error,
    write_key,
)
from connectome.store.names import no_such_array
from connectome.store.pyramid import CHUNK, check_factors, pyramid_factors
from connectome.store.retries import reason_of

INCOMPLETE = ".incomplete"


@dataclass(frozen=True, eq=False)
class Volume:
    """An open volume. It travels between processes as its URL; handles are opened where it is used."""

    url: str
    layout: Layout
    stated_voxel_size_nm: VoxelSize | None

    @classmethod
    def open(cls, url: str, *, voxel_size_nm: Sequence[float] | None = None, even_unfinished: bool = False) -> Volume:
        """Open the volume at `url`; a given voxel size replaces the stated one.

        An unfinished volume is opened only by who writes it (`even_unfinished`).
        """
        location = Location.parse(url)
        layout = find_layout(location.url)
        if layout is None:
            raise StoreError(no_such_array(location))
        if not even_unfinished and read_key(location.url, INCOMPLETE) is not None:
            raise StoreError(f"{location} was never finished: what wrote it was interrupted; write it again")
        size = layout.voxel_size_nm if voxel_size_nm is None else voxel_size(voxel_size_nm)
        volume = cls(location.url, layout, size)
        _ = volume.box  # opens the first level: what cannot be read is said here
        return volume

    @classmethod
    def create(
        cls,
        url: str,
        *,
        box: Box,
        dtype: npt.DTypeLike,
        voxel_size_nm: Sequence[float],
        write_shape: Sequence[int],
        n_channels: int | None = None,
        n_levels: int = 1,
        factors: Sequence[Triple] | None = None,
        format: str = "ome-zarr-0.5",  # noqa: A002
        kind: Kind | None = None,
        encoding: str | None = None,
        chunk: int = CHUNK,
        delete_existing: bool = False,
        is_finished: bool = True,
    ) -> Volume:
        """Create an empty volume (all zeros) that is written by blocks of `write_shape`.

        `factors` are the cumulative pooling factors of the levels, from (1, 1, 1); or `n_levels` takes
        the first ones of `pyramid_factors`. Precomputed alone knows a `kind` (by default integers wider
        than 16 bits are a segmentation) and an `encoding`: raw, jpeg or compressed_segmentation. Shards
        of zarr v3 have chunks of `chunk` voxels along an axis at most.
        With `is_finished=False` nobody can open the volume before `finish` is called. The place must be
        empty, or that of an unfinished volume, which is deleted.
        """
        if format not in CREATE:
            raise StoreError(f"unknown volume format {format!r}; wanted is one of {', '.join(CREATE)}")
        if box.is_empty:
            raise StoreError(f"a volume needs at least one voxel, got the box {box}")
        size, block = voxel_size(voxel_size_nm), as_triple(write_shape)
        if min(block) < 1 or n_channels == 0:
            raise StoreError(f"a volume needs a block and channels, got {block} and {n_channels} channels")
        if factors is None:
            factors = pyramid_factors(box.shape, block, size, minimum=1)[:n_levels]
            if len(factors) < n_levels:
                raise StoreError(f"blocks of {block} allow {len(factors)} levels at most, got {n_levels}")
        check_factors(box.shape, block, factors)
        place = Location.parse(url).url
        if scheme_of(place) in READ_ONLY:
            raise StoreError(f"cannot write {place}: http is read only; write to a path, gs:// or s3://")
        voxel_type = np.dtype(dtype)
        is_labels = is_label_type(voxel_type) and n_channels is None
        kind = kind or ("segmentation" if is_labels else "image")
        request = Request(box, voxel_type, size, n_channels, block, tuple(factors), kind, encoding, chunk)
        blueprint = CREATE[format](place, request)
        _claim(place, delete_existing=delete_existing)
        try:
            _build(place, blueprint)
            if is_finished:
                delete_key(place, INCOMPLETE)
        except STORE_ERRORS as error:
            with contextlib.suppress(*STORE_ERRORS):
                delete_keys(place)
            raise error if isinstance(error, StoreError) else write_error(place, error) from error
        layout = find_layout(place)
        assert layout is not None
        return cls(place, layout, size)

    def finish(self) -> None:
        """Let others open a volume that was created with ``is_finished=False``."""
        delete_key(self.url, INCOMPLETE)

    def delete(self) -> None:
        """Delete the volume with all its voxels."""
        delete_keys(self.url)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.url, self.stated_voxel_size_nm)

    @property
    def voxel_size_nm(self) -> VoxelSize:
        """Size of a voxel at level 0 (z, y, x) in nanometres."""
        if self.stated_voxel_size_nm is None:
            raise StoreError(
                f"{self.url} does not state its voxel size (z, y, x, in nanometres); "
                "give it with `connectome ingest ... --voxel-size Z,Y,X`"
            )
        return self.stated_voxel_size_nm

    @property
    def n_levels(self) -> int:
        return len(self.layout.specs)

    @property
    def box(self) -> Box:
        """The volume's box at level 0, in global voxels."""
        return self.level_box(0)

    @property
    def n_channels(self) -> int | None:
        return int(self._level(0).shape[0]) if self.layout.has_channels else None

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self._level(0).dtype.numpy_dtype)
        return dtype

    @property
    def write_shape(self) -> Triple:
        """Chunk or shard at level 0 that a write must cover wholly (z, y, x)."""
        return self.level_write_shape(0)

    def level_write_shape(self, level: int) -> Triple:
        """Chunk or shard at `level` that a write must cover wholly (z, y, x)."""
        return as_triple(self._level(level).chunk_layout.write_chunk.shape[-3:])

    def level_factor(self, level: int) -> Triple:
        """Return how many voxels of level 0 a voxel of `level` pools, per axis."""
        self._check_level(level)
        return self.layout.factors[level]

    def level_box(self, level: int) -> Box:
        """Return the box of `level` in its own voxels, counted from the start of the box at level 0."""
        return Box.of_shape(self._level(level).shape[-3:]).shift(self.layout.starts[level])

    def read(self, box: Box, level: int = 0, *, must_exist: bool = False) -> npt.NDArray[Any]:
        """Return the voxels of `box`, which must lie inside the level's box.

        Chunks that were never written read as 0; with `must_exist` they are an error. A chunk of zeros is
        written like any other, so that empty and missing differ.
        """
        whole = self.level_box(level)
        if not whole.contains(box):
            raise StoreError(f"box {box} reaches outside {self.url}, whose level {level} is {whole}")
        inside = box.relative_to(whole.start)
        try:
            source = self._open_levels(level, must_exist) if must_exist else self._level(level)
            array = source[(..., *inside.slices)].read(order="C").result()
        except STORE_ERRORS as error:
            raise StoreError(f"cannot read {box} of {self.url}: {reason_of(error)}") from error
        return np.asarray(array)

    def write(self, box: Box, array: npt.NDArray[Any], level: int = 0) -> None:
        """Write `array` to `box`, which must cover whole shards or end at the volume's border."""
        self._check_write(box, array, level)
        inside = box.relative_to(self.layout.starts[level])
        # One transaction: each shard is encoded once and written once, whatever its chunks.
        transaction = ts.Transaction(atomic=False)
        try:
            target = self._level(level).with_transaction(transaction)[(..., *inside.slices)]
            target.write(np.ascontiguousarray(array)).result()
            transaction.commit_async().result()
        except STORE_ERRORS as error:
            transaction.abort()
            raise write_error(self.url, error) from error

    def _check_write(self, box: Box, array: npt.NDArray[Any], level: int) -> None:
        whole, unit = self.level_box(level), self.level_write_shape(level)
        channels = () if self.n_channels is None else (self.n_channels,)
        if array.dtype != self.dtype:
            raise StoreError(f"{self.url} holds {self.dtype}, got an array of {array.dtype}")
        if array.shape != (*channels, *box.shape):
            wanted = (*channels, *box.shape)
            raise StoreError(f"box {box} of {self.url} takes an array of shape {wanted}, got {array.shape}")
        if box.is_empty or not whole.contains(box):
            raise StoreError(f"box {box} is not inside {self.url}, whose level {level} is {whole}")
        inside, end = box.relative_to(whole.start), whole.shape
        for a, b, step, n in zip(inside.start, inside.stop, unit, end, strict=True):
            if a % step or (b % step and b != n):
                raise StoreError(
                    f"writing {box} would cut a chunk of {self.url} in two: level {level} is written in "
                    f"whole chunks of {unit} counted from {whole.start}, or up to its border"
                )

    def _check_level(self, level: int) -> None:
        if not 0 <= level < self.n_levels:
            raise StoreError(f"{self.url} has the levels 0 to {self.n_levels - 1}, got {level}")

    def _level(self, level: int) -> Any:
        """Return the open TensorStore of a level, its axes (c) z y x, its origin 0."""
        self._check_level(level)
        return self._open_levels(level)

    @functools.cached_property
    def _open_levels(self) -> Any:
        return functools.cache(functools.partial(_open_level, self.url, self.layout))


def _open_level(url: str, layout: Layout, level: int, must_exist: bool = False) -> Any:
    options = {"store_data_equal_to_fill_value": True} | ({"fill_missing_data_reads": False} if must_exist else {})
    try:
        array = ts.open({**layout.specs[level], **options}, open=True, context=context()).result()
    except STORE_ERRORS as error:
        raise StoreError(f"cannot open level {level} of {url}: {reason_of(error)}") from error
    axes = layout.axes[-array.rank :]
    if array.rank != len(axes):
        raise StoreError(f"{url} has {array.rank} dimensions, but its axes are {layout.axes!r}")
    wanted = "czyx" if layout.has_channels and "c" in axes else "zyx"
    for position in reversed(range(array.rank)):
        if axes[position] in wanted:
            continue
        if array.shape[position] != 1:
            raise StoreError(f"axis {axes[position]!r} of {url} has {array.shape[position]} elements, not 1")
        array = array[ts.d[position][array.domain[position].inclusive_min]]
    kept = [axis for axis in axes if axis in wanted]
    array = array[ts.d[[kept.index(axis) for axis in wanted]].transpose[:]]
    return array[ts.d[:].translate_to[0]]


def _claim(url: str, *, delete_existing: bool) -> None:
    """Mark an empty place as that of an unfinished volume: whatever is there later may be deleted.

    The mark is also the first write, so that a bucket that does not exist is found out here: TensorStore
    would try to create an array in it for ever.
    """
    if read_key(url, INCOMPLETE) is not None or (delete_existing and find_layout(url) is not None):
        delete_keys(url)
    elif find_layout(url) is not None:
        raise StoreError(f"{url} exists already; delete it, or choose another place")
    if others := list_keys(url):
        raise StoreError(f"{url} is not empty, it holds {others[0]}; choose another place")
    write_key(url, INCOMPLETE, b"An unfinished volume: what wrote it was interrupted. It may be deleted.\n")


def _build(url: str, blueprint: Blueprint) -> None:
    for spec in blueprint.arrays:
        # An array that is there is ours: nothing was, and the answer to writing its description got lost.
        ts.open(spec, open=True, create=True, context=context()).result()
    for key, text in blueprint.keys.items():
        write_key(url, key, text.encode())


def abandon(url: str) -> None:
    """Mark the volume at `url` as unfinished and take away what describes it, voxels last to be missed."""
    place = Location.parse(url).url
    if find_layout(place) is not None:
        write_key(place, INCOMPLETE, b"")
        for key in ("zarr.json", ".zattrs", ".zgroup", "attributes.json", "info"):
            delete_key(place, key)


def is_volume(url: str, *, even_unfinished: bool = False) -> bool:
    """Say whether a finished volume lies at `url`."""
    place = Location.parse(url).url
    return find_layout(place) is not None and (even_unfinished or read_key(place, INCOMPLETE) is None)


def _reopen(url: str, voxel_size_nm: VoxelSize | None) -> Volume:
    return Volume.open(url, voxel_size_nm=voxel_size_nm)
