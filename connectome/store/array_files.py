"""Arrays in npy, npz, HDF5 and MRC files, as sources of slabs.

npy and uncompressed MRC are mapped into memory, HDF5 is read where it is asked for, and a compressed
npz member is streamed: none of them is ever held whole.
"""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import h5py
import mrcfile
import numpy as np

from connectome.geometry import Triple, as_triple
from connectome.store.layout import VoxelSize, voxel_size, whole_voxels
from connectome.store.locations import StoreError
from connectome.store.slabs import Array, LazySlab, Slab, Source, slabs_of

IMOD_STAMP = 1146047817
IMOD_SIGNED_BYTES = 1


def split_shape(url: str, shape: tuple[int, ...]) -> tuple[int | None, Triple]:
    """Return (channels, zyx shape) of an array: y x, z y x or c z y x."""
    if len(shape) not in (2, 3, 4) or 0 in shape:
        raise StoreError(f"{url} has the shape {shape}; wanted is y x, z y x or c z y x, none of them empty")
    full = (1,) * (3 - len(shape)) + shape
    return (full[0] if len(full) == 4 else None), as_triple(full[-3:])


def choose(path: Path, name: str | None, names: list[str]) -> str:
    """Return the array `name` of a file, or its only one."""
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        asked = "holds several arrays" if name is None else f"has no array {name!r}"
        listed = ", ".join(names) or "none"
        raise StoreError(f"{path} {asked}; it holds {listed}: choose one with {path}#NAME")
    return name


def open_npy(path: Path) -> Source:
    """Map an npy file into memory."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise StoreError(f"cannot read {path} as npy: {error}") from error
    return _mapped_source(str(path), array)


def _mapped_source(url: str, array: Array, size: VoxelSize | None = None) -> Source:
    n_channels, shape = split_shape(url, array.shape)
    full = array[np.newaxis] if array.ndim == 2 else array
    slabs = slabs_of(shape[0], lambda start, stop: full[..., start:stop, :, :])
    return Source(url, shape, array.dtype, slabs, n_channels, size)


def open_npz(path: Path, name: str | None) -> Source:
    """Open a member of an npz file; it is decompressed as it is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
            member = choose(path, name, names)
            with archive.open(f"{member}.npy") as stream:
                shape, is_fortran, dtype = _npy_header(stream)
                header_bytes = stream.tell()
    except (zipfile.BadZipFile, OSError) as error:
        raise StoreError(f"cannot read {path} as npz: {error}") from error
    url = f"{path}#{member}"
    if dtype.hasobject:
        raise StoreError(f"{url} holds Python objects; wanted are numbers")
    if is_fortran:  # x varies slowest: nothing can be streamed by sections
        with np.load(path, allow_pickle=False) as arrays:
            return _mapped_source(url, arrays[member])
    n_channels, extent = split_shape(url, shape)
    form = (n_channels, extent, dtype)

    def slabs(thickness: int) -> Iterator[tuple[int, Slab]]:
        return _npz_slabs(path, member, thickness, form=form, header_bytes=header_bytes)

    return Source(url, extent, dtype, slabs, n_channels)


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(stream)
    except ValueError as error:
        raise StoreError(f"an array of the npz file has no npy header: {error}") from error
    return shape, is_fortran, dtype


def _npz_slabs(
    path: Path,
    member: str,
    thickness: int,
    *,
    form: tuple[int | None, Triple, np.dtype[Any]],
    header_bytes: int,
) -> Iterator[tuple[int, Slab]]:
    """Yield slabs of a member. Each channel has a stream of its own, so that none is sought back."""
    n_channels, shape, dtype = form
    section_bytes = shape[1] * shape[2] * dtype.itemsize
    with zipfile.ZipFile(path) as archive:
        streams = [archive.open(f"{member}.npy") for _ in range(n_channels or 1)]
        for channel, stream in enumerate(streams):
            stream.seek(header_bytes + channel * shape[0] * section_bytes)
        for start in range(0, shape[0], thickness):
            depth = min(thickness, shape[0] - start)
            parts = [_read_exactly(stream, depth * section_bytes, path) for stream in streams]
            planes = [np.frombuffer(part, dtype).reshape(depth, *shape[1:]) for part in parts]
            yield start, planes[0] if n_channels is None else np.stack(planes)
        for stream in streams:
            stream.close()


def _read_exactly(stream: IO[bytes], n_bytes: int, path: Path) -> bytes:
    try:
        part = stream.read(n_bytes)
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise StoreError(f"{path} is damaged: {error}") from error
    if len(part) != n_bytes:
        raise StoreError(f"{path} ends too early: {n_bytes} bytes were wanted, {len(part)} came")
    return part


def open_hdf5(path: Path, name: str | None) -> Source:
    """Open a dataset of an HDF5 file; its attributes may state voxel size and offset."""
    try:
        with h5py.File(path, "r") as file:
            names: list[str] = []
            file.visititems(lambda key, item: names.append(key) if isinstance(item, h5py.Dataset) else None)
            member = choose(path, name, sorted(names))
            dataset = file[member]
            shape, dtype, attributes = dataset.shape, dataset.dtype, dict(dataset.attrs)
    except OSError as error:
        raise StoreError(f"cannot read {path} as HDF5: {error}") from error
    url = f"{path}#{member}"
    n_channels, extent = split_shape(url, shape)
    size = _stated_size(attributes)
    offset = whole_voxels([float(v) for v in attributes["offset"]][-3:], size) if "offset" in attributes else None
    slabs = functools.partial(_hdf5_slabs, path, member, extent[0])
    return Source(url, extent, dtype, slabs, n_channels, size, offset or (0, 0, 0))


def _stated_size(attributes: Mapping[str, Any]) -> VoxelSize | None:
    for key, unit in (("resolution", 1.0), ("voxel_size", 1.0), ("element_size_um", 1e3)):
        if key in attributes:
            return voxel_size([float(value) * unit for value in attributes[key]][-3:])
    return None


def _hdf5_slabs(path: Path, member: str, depth: int, thickness: int) -> Iterator[tuple[int, Slab]]:
    with h5py.File(path, "r") as file:
        dataset = file[member]

        def read(start: int, stop: int, y: slice, x: slice) -> Array:
            try:
                if dataset.ndim == 2:
                    return np.asarray(dataset[y, x])[np.newaxis]
                return np.asarray(dataset[..., start:stop, y, x])
            except OSError as error:
                raise StoreError(f"{path}#{member} is damaged: {error}") from error

        for start in range(0, depth, thickness):
            yield start, LazySlab(functools.partial(read, start, min(depth, start + thickness)))


def open_mrc(path: Path) -> Source:
    """Map an MRC file into memory; the header states the voxel size in angstrom."""
    try:
        with mrcfile.mmap(path, mode="r") as file:
            array, header = file.data, file.header
            angstrom = [float(file.voxel_size[axis]) for axis in "zyx"]
    except (ValueError, OSError) as error:
        raise StoreError(f"cannot read {path} as MRC: {error}") from error
    raw = header.tobytes()
    stamp, flags = np.frombuffer(raw, header.dtype["nx"].base.str[0] + "i4", 2, 152)
    if array.dtype == np.int8 and stamp == IMOD_STAMP and not flags & IMOD_SIGNED_BYTES:
        array = array.view(np.uint8)  # IMOD's bytes are unsigned unless its flag says otherwise
    size = voxel_size(value / 10 for value in angstrom) if min(angstrom) > 0 else None
    return _mapped_source(str(path), array, size)
