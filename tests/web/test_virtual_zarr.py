"""What is served is an OME-Zarr that other software reads, with the volume's voxels."""

import json

import numpy as np
import pytest
import zarr
import zarr.storage

from connectome.geometry import Box
from connectome.store.array_volume import ArrayVolume
from connectome.store.volume import Volume
from connectome.web.scene import Layer
from connectome.web.virtual_zarr import VirtualZarr, chunk_shape, served_dtype
from tests.tissue import write_volume

SIZE = (40.0, 10.0, 10.0)


def _copy(virtual, folder, n_levels):
    """Write every key that there is into a folder."""
    keys = ["zarr.json"] + [f"{level}/zarr.json" for level in range(n_levels)]
    for level in range(n_levels):
        metadata = json.loads(virtual.read(f"{level}/zarr.json")[0])
        chunk = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        counts = [-(-n // c) for n, c in zip(metadata["shape"], chunk, strict=True)]
        keys += [f"{level}/c/{'/'.join(map(str, index))}" for index in np.ndindex(*counts)]
    for key in keys:
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(virtual.read(key)[0])


@pytest.mark.parametrize(
    ("shape", "dtype", "kind"),
    [
        ((33, 70, 130), "uint8", "image"),
        ((40, 41, 42), "uint64", "labels"),
        ((3, 20, 30, 64), "uint8", "channels"),
        ((5, 6, 7), "float64", "image"),
        ((5, 6, 7), "int32", "labels"),
    ],
)
def test_all_keys_together_are_the_volume(shape, dtype, kind, tmp_path):
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    volume = Volume.open(write_volume(tmp_path / "source", array, block=(32, 32, 32), voxel_size_nm=SIZE))
    virtual = VirtualZarr(Layer("a", kind, volume), SIZE, (0, 0, 0))
    _copy(virtual, tmp_path / "copy", 1)
    copy = zarr.open_array(zarr.storage.LocalStore(tmp_path / "copy", read_only=True), path="0", mode="r")
    np.testing.assert_array_equal(copy[:], array)


def test_levels_and_place(tmp_path):
    volume = Volume.create(
        tmp_path / "v",
        box=Box((4, 8, 16), (68, 72, 80)),
        dtype="uint64",
        voxel_size_nm=SIZE,
        write_shape=(64, 64, 64),
        factors=[(1, 1, 1), (1, 2, 2), (1, 4, 4)],
    )
    for level in range(3):
        box = volume.level_box(level)
        volume.write(box, np.full(box.shape, level + 1, np.uint64), level)
    virtual = VirtualZarr(Layer("v", "labels", volume), SIZE, volume.box.start)
    _copy(virtual, tmp_path / "copy", 3)
    group = zarr.open_group(zarr.storage.LocalStore(tmp_path / "copy", read_only=True), mode="r")
    datasets = group.attrs["ome"]["multiscales"][0]["datasets"]
    for level in range(3):
        copy = group[str(level)]
        assert copy.shape == volume.level_box(level).shape
        assert np.all(copy[:] == level + 1)
        scale, translation = (step[step["type"]] for step in datasets[level]["coordinateTransformations"])
        # The corner of the first voxel is where the volume starts, at each level.
        corner = np.array(translation) - np.array(scale) / 2
        np.testing.assert_allclose(corner, np.array(SIZE) * (4, 8, 16))
        np.testing.assert_allclose(scale, np.array(SIZE) * volume.level_factor(level))


def test_keys_that_do_not_exist(tmp_path):
    array = np.zeros((5, 6, 7), np.uint8)
    volume = ArrayVolume("a", array, Box.of_shape(array.shape), None, None)
    virtual = VirtualZarr(Layer("a", "image", volume), SIZE, (0, 0, 0))
    assert virtual.read("0/c/0/0/0") is not None
    for key in ("", "1/zarr.json", "-1/zarr.json", "0/c/1/0/0", "0/c/0/0", "0/c/0/0/0/0", "0/c/0/0/-1", "0/d/0/0/0"):
        assert virtual.read(key) is None


def test_chunks_are_stored_ones_where_that_is_cheap(tmp_path):
    def ours(shape, block):
        place = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        box = Box.of_shape(shape)
        return chunk_shape(Volume.create(place, box=box, dtype="uint8", voxel_size_nm=SIZE, write_shape=block), 0)

    def foreign(shape, chunks):
        place = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        zarr.create_array(zarr.storage.LocalStore(place), shape=shape, chunks=chunks, dtype="uint8", zarr_format=2)
        return chunk_shape(Volume.open(str(place)), 0)

    assert ours((256, 256, 256), (128, 128, 128)) == (64, 64, 64)
    assert ours((100, 140, 180), (50, 70, 90)) == (50, 70, 90)
    assert ours((250, 250, 250), (250, 250, 250)) == (64, 64, 64)
    assert foreign((20, 512, 512), (1, 512, 512)) == (1, 512, 512)
    assert 1 << 15 <= np.prod(foreign((64, 64, 64), (4, 4, 4))) <= 1 << 16
    assert np.prod(foreign((1009, 1009, 1009), (1009, 1009, 1009))) <= 1 << 19


def test_types_that_neuroglancer_knows():
    def served(dtype, kind):
        array = np.zeros((1, 1, 1), dtype)
        return str(served_dtype(Layer("a", kind, ArrayVolume("a", array, Box.of_shape((1, 1, 1)), None, None))))

    assert [served(t, "image") for t in ("u1", "i2", "f8", "f2", ">u2", "?")] == [
        "uint8", "int16", "float32", "float32", "uint16", "uint8",
    ]  # fmt: skip
    assert [served(t, "labels") for t in ("i8", "u8", "i4", "u2")] == ["uint64", "uint64", "uint32", "uint16"]
