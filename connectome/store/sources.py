"""Whatever voxels come from: foreign files, folders of sections, and volumes, as one kind of source.

A source is an array with a shape; it has no chunks and need not know its voxel size. Which file is
read how is decided by its suffix.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box
from connectome.store import array_files, image_files
from connectome.store.array_volume import ArrayVolume
from connectome.store.formats import find_layout
from connectome.store.layout import voxel_size
from connectome.store.locations import Location, StoreError, scheme_of
from connectome.store.slabs import LazySlab, Source, slabs_of
from connectome.store.volume import Volume

Open = Callable[[Path, str | None], Source]


def _unnamed(function: Callable[[Path], Source]) -> Open:
    def open_whole(path: Path, name: str | None) -> Source:
        if name is not None:
            raise StoreError(f"{path} holds one array and no names, got #{name}; leave it away")
        return function(path)

    return open_whole


FILES: dict[str, Open] = {
    ".npy": _unnamed(array_files.open_npy),
    ".npz": array_files.open_npz,
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), array_files.open_hdf5),
    **dict.fromkeys((".mrc", ".rec", ".st", ".map", ".ali"), _unnamed(array_files.open_mrc)),
    **dict.fromkeys(image_files.TIFF, _unnamed(image_files.open_tiff)),
    **dict.fromkeys(image_files.PICTURES, _unnamed(image_files.open_picture)),
}
"""Suffix of a file -> what opens it, given the name of an array in it."""


def is_foreign(url: str) -> bool:
    """Say whether `url` is a foreign file or a folder of section images, and no volume."""
    location = Location.parse(url)
    path = location.local_path
    if path is None or (location.name is not None and path.is_dir()):
        return False
    return path.is_file() or (path.is_dir() and find_layout(location.url) is None and _has_sections(path))


def _has_sections(folder: Path) -> bool:
    suffixes = (*image_files.TIFF, *image_files.PICTURES)
    return any(path.suffix.lower() in suffixes for path in folder.iterdir())


def open_source(url: str) -> Source:
    """Open whatever holds voxels at `url`."""
    location = Location.parse(url)
    path = location.local_path
    if not is_foreign(url):
        suffix = Path(location.container).suffix.lower()
        if path is None and suffix in FILES:
            scheme = scheme_of(location.container)
            raise StoreError(f"{location} is a {suffix} file on {scheme}://; copy it to a local disk first")
        if path is not None and not path.exists():
            raise StoreError(f"there is no file or folder {path}")
        return _volume_source(Volume.open(url))
    assert path is not None
    if path.is_dir():
        return image_files.open_sections(path)
    open_file = FILES.get(path.suffix.lower())
    if open_file is None:
        raise StoreError(f"{path} has an unknown suffix; wanted is one of {', '.join(FILES)}, or a volume")
    if path.stat().st_size == 0:
        raise StoreError(f"{path} is empty")
    return open_file(path, location.name)


def _volume_source(volume: Volume) -> Source:
    whole = volume.box

    def read(start: int, stop: int, y: slice, x: slice) -> npt.NDArray[Any]:
        ys, xs = y.indices(whole.shape[1]), x.indices(whole.shape[2])
        return volume.read(Box((start, ys[0], xs[0]), (stop, ys[1], xs[1])).shift(whole.start))

    slabs = slabs_of(whole.shape[0], lambda a, b: LazySlab(functools.partial(read, a, b)))
    shape, channels, size = whole.shape, volume.n_channels, volume.stated_voxel_size_nm
    return Source(volume.url, shape, np.dtype(volume.dtype), slabs, channels, size, whole.start)


def read_array(url: str, voxel_size_nm: Sequence[float] | None = None) -> ArrayVolume:
    """Read a foreign file's array into memory."""
    source = open_source(url)
    size = source.voxel_size_nm if voxel_size_nm is None else voxel_size(voxel_size_nm)
    box = Box.of_shape(source.shape).shift(source.offset)
    return ArrayVolume(source.url, source.read(), box, source.n_channels, size)


def open_volume(url: str, voxel_size_nm: Sequence[float] | None = None) -> Volume | ArrayVolume:
    """Open a volume, or read a foreign file's array into memory."""
    if is_foreign(url):
        return read_array(url, voxel_size_nm)
    return Volume.open(url, voxel_size_nm=voxel_size_nm)
