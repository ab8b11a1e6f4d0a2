import json

import numpy as np
import pytest
import tensorstore as ts
import zarr
from ome_zarr_models.v04 import Image as Image04
from ome_zarr_models.v05 import Image as Image05

from connectome.geometry import Box, Grid
from connectome.store.formats import CREATE
from connectome.store.locations import StoreError, read_key, write_key
from connectome.store.pyramid import pyramid_factors
from connectome.store.volume import Volume

SIZE = (40.0, 8.0, 4.5)
PYRAMIDS = ["ome-zarr-0.5", "ome-zarr-0.4", "n5", "precomputed"]


def fill(volume, block, array):
    grid = Grid(volume.box, block)
    for index in grid.indices():
        part = grid.box_at(index)
        volume.write(part, np.ascontiguousarray(array[(..., *part.relative_to(volume.box.start).slices)]))


@pytest.mark.parametrize("n_channels", [None, 2])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "uint64"])
@pytest.mark.parametrize("name", [key for key in CREATE if key != "precomputed-sharded"])
def test_voxels_size_and_offset_come_back(name, dtype, n_channels):
    url, box, block = (
        f"memory://formats/{name}/{dtype}{n_channels}",
        Box((3, 5, 70), (23, 40, 130)),
        (16, 32, 32),
    )
    channels = () if n_channels is None else (n_channels,)
    volume = Volume.create(
        url,
        box=box,
        dtype=dtype,
        voxel_size_nm=SIZE,
        write_shape=block,
        n_channels=n_channels,
        format=name,
        delete_existing=True,
    )
    array = np.random.default_rng(0).integers(0, 255, (*channels, *box.shape)).astype(dtype)
    fill(volume, block, array)
    again = Volume.open(url)
    assert (again.box, again.dtype, again.n_channels) == (box, np.dtype(dtype), n_channels)
    assert again.voxel_size_nm == SIZE
    found = again.read(box)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, array)
    with pytest.raises(StoreError, match="cut a chunk"):
        again.write(Box(box.start, (19, 37, 101)), np.zeros((*channels, 16, 32, 31), dtype))


@pytest.mark.parametrize("name", PYRAMIDS)
def test_every_level_comes_back(name):
    url, box, block = f"memory://levels/{name}", Box((4, 8, 16), (40, 99, 90)), (16, 32, 32)
    factors = pyramid_factors(box.shape, block, (9, 8, 7), minimum=16)
    assert factors[-1] == (8, 8, 8)
    volume = Volume.create(
        url,
        box=box,
        dtype="uint32",
        voxel_size_nm=(9, 8, 7),
        write_shape=block,
        factors=factors,
        format=name,
    )
    arrays = []
    for level in range(volume.n_levels):
        part = volume.level_box(level)
        arrays.append(np.random.default_rng(level).integers(0, 9, part.shape).astype(np.uint32))
        volume.write(part, arrays[-1], level=level)
    again = Volume.open(url)
    assert [again.level_factor(level) for level in range(again.n_levels)] == factors
    for level, array in enumerate(arrays):
        assert again.level_box(level).start == tuple(a // f for a, f in zip(box.start, factors[level], strict=True))
        np.testing.assert_array_equal(again.read(again.level_box(level), level), array)


@pytest.mark.parametrize(("name", "model"), [("ome-zarr-0.5", Image05), ("ome-zarr-0.4", Image04)])
@pytest.mark.parametrize("n_channels", [None, 3])
def test_ome_metadata_is_valid_and_zarr_reads_it(tmp_path, name, model, n_channels):
    box, block = Box((2, 0, 4), (34, 64, 100)), (32, 32, 32)
    factors = [(1, 1, 1), (1, 2, 2), (2, 4, 4)]
    volume = Volume.create(
        str(tmp_path / "v"),
        box=box,
        dtype="uint16",
        voxel_size_nm=SIZE,
        write_shape=block,
        n_channels=n_channels,
        factors=factors,
        format=name,
    )
    channels = () if n_channels is None else (n_channels,)
    array = np.random.default_rng(0).integers(0, 999, (*channels, *box.shape)).astype(np.uint16)
    fill(volume, block, array)
    group = zarr.open_group(tmp_path / "v", mode="r")
    np.testing.assert_array_equal(group["0"][:], array)
    image = model.from_zarr(group)
    attributes = getattr(image, "ome_attributes", image.attributes)
    multiscale = attributes.multiscales[0]
    assert [axis.name for axis in multiscale.axes] == [*"czyx"][0 if n_channels else 1 :]
    assert {axis.unit for axis in multiscale.axes if axis.type == "space"} == {"nanometer"}
    assert len(multiscale.datasets) == 3
    scale, translation = multiscale.datasets[2].coordinateTransformations
    assert scale.scale[-3:] == [80.0, 32.0, 18.0]
    assert translation.translation[-3:] == [2.5 * 40, 1.5 * 8, 5.5 * 4.5]
    if name == "ome-zarr-0.5":
        assert group["0"].shards[-3:] == (32, 32, 32)
        assert "crc32c" in json.dumps(json.loads(read_key(volume.url, "0/zarr.json")))


def test_units_and_extra_axes_of_others_are_understood(tmp_path):
    root = zarr.open_group(tmp_path / "v", mode="w", zarr_format=2)
    array = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(1, 2, 3, 4, 5)
    root.create_array("full", data=array)
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    steps = [{"type": "scale", "scale": [1, 1, 0.04, 0.008, 0.008]}]
    steps += [{"type": "translation", "translation": [0, 0, 0.4, 0, 0.016]}]
    datasets = [{"path": "full", "coordinateTransformations": steps}]
    root.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    volume = Volume.open(tmp_path / "v")
    assert volume.voxel_size_nm == pytest.approx((40, 8, 8))
    assert (volume.box, volume.n_channels) == (Box((10, 0, 2), (13, 4, 7)), 2)
    np.testing.assert_array_equal(volume.read(volume.box), array[0])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_bare_array_need_not_state_its_voxel_size(tmp_path, zarr_format):
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    root = zarr.open_group(tmp_path / "v.zarr", mode="w", zarr_format=zarr_format)
    bare = root.create_array("volumes/raw", data=array)
    volume = Volume.open(f"{tmp_path}/v.zarr#volumes/raw")
    np.testing.assert_array_equal(volume.read(volume.box), array)
    with pytest.raises(StoreError, match="does not state its voxel size"):
        _ = volume.voxel_size_nm
    assert Volume.open(volume.url, voxel_size_nm=(1, 2, 3)).voxel_size_nm == (1, 2, 3)
    bare.attrs["resolution"] = [40, 4, 4]
    bare.attrs["offset"] = [80, 0, 12]
    assert Volume.open(volume.url).voxel_size_nm == (40, 4, 4)
    assert Volume.open(volume.url).box == Box((2, 0, 3), (5, 4, 8))
    with pytest.raises(StoreError, match="volumes/raw"):
        Volume.open(f"{tmp_path}/v.zarr#volumes/row")


def test_n5_of_others(tmp_path):
    array = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    for level, part in enumerate([array, array[:2, :2, :3]]):
        spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{tmp_path}/v.n5/em/s{level}"}}
        metadata = {"compression": {"type": "gzip"}, "dataType": "uint16", "blockSize": [2, 2, 2]}
        store = ts.open(spec | {"metadata": metadata | {"dimensions": part.shape[::-1]}}, create=True).result()
        store.write(part.T).result()
    pixel = {"pixelResolution": {"dimensions": [4, 4, 40], "unit": "nm"}, "scales": [[1, 1, 1], [2, 2, 2]]}
    write_key(str(tmp_path / "v.n5/em"), "attributes.json", json.dumps(pixel).encode())
    volume = Volume.open(f"{tmp_path}/v.n5#em")
    assert (volume.voxel_size_nm, volume.n_levels, volume.level_factor(1)) == ((40, 4, 4), 2, (2, 2, 2))
    np.testing.assert_array_equal(volume.read(volume.box), array)
    cosem = {"transform": {"axes": [*"zyx"], "scale": [40, 4, 3], "translate": [80, 0, 0], "units": ["nm"] * 3}}
    write_key(str(tmp_path / "v.n5/em"), "attributes.json", json.dumps(cosem).encode())
    assert Volume.open(f"{tmp_path}/v.n5#em").voxel_size_nm == (40, 4, 3)
    assert Volume.open(f"{tmp_path}/v.n5#em").box.start == (2, 0, 0)


def test_sharded_precomputed_is_written_by_its_own_shards():
    url, box = "memory://sharded", Box((10, 20, 30), (110, 150, 330))
    volume = Volume.create(
        url, box=box, dtype="uint64", voxel_size_nm=SIZE, write_shape=box.shape, format="precomputed-sharded"
    )
    info = json.loads(read_key(url, "info"))
    assert (info["type"], info["scales"][0]["encoding"]) == ("segmentation", "compressed_segmentation")
    assert info["scales"][0]["voxel_offset"] == [30, 20, 10]
    assert info["scales"][0]["resolution"] == [4.5, 8, 40]
    array = np.random.default_rng(0).integers(0, 3, box.shape).astype(np.uint64)
    fill(volume, volume.write_shape, array)
    np.testing.assert_array_equal(Volume.open(url).read(box), array)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("zarr.json", "{", "not JSON"),
        ("zarr.json", "[1]", "not a JSON object"),
        ("zarr.json", '{"attributes": {"ome": {"multiscales": [{}]}}}', "cannot be understood"),
        ("info", '{"scales": [{}]}', "cannot be understood"),
        (".zarray", '{"shape": [3, 4]}', "2 dimensions"),
        (".zarray", '{"shape": [3, 4, 5]}', "cannot open level 0"),
    ],
)
def test_broken_metadata(key, text, message):
    url = f"memory://broken/{message.replace(' ', '')}"
    write_key(url, key, text.encode())
    with pytest.raises(StoreError, match=message):
        Volume.open(url)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "zip"}, "unknown volume format 'zip'"),
        ({"format": "n5", "dtype": "bool"}, "N5 holds"),
        ({"format": "precomputed", "encoding": "jpeg"}, "keeps a segmentation as"),
        ({"format": "precomputed", "dtype": "uint16", "encoding": "jpeg"}, "jpeg takes uint8"),
        ({"format": "zarr-v2", "n_levels": 2}, "one level"),
        ({"write_shape": (6, 6, 6), "n_levels": 3}, "2 levels at most"),
        ({"write_shape": (6, 6, 6), "factors": [(1, 1, 1), (4, 4, 4)]}, "does not divide"),
        ({"factors": [(2, 2, 2)]}, "must begin with"),
        ({"factors": [(1, 1, 1), (4, 4, 4), (2, 2, 2)]}, "must pool the one before"),
        ({"voxel_size_nm": (4, 4)}, "three positive lengths"),
        ({"box": Box((0, 0, 0), (4, 0, 4))}, "at least one voxel"),
        ({"write_shape": (0, 8, 8)}, "needs a block"),
        ({"n_channels": 0}, "0 channels"),
        ({"dtype": "complex64"}, "cannot"),
    ],
)
def test_what_cannot_be_created(tmp_path, options, message):
    usual = {
        "box": Box.of_shape((16, 16, 16)),
        "dtype": "uint64",
        "voxel_size_nm": SIZE,
        "write_shape": (8, 8, 8),
    }
    with pytest.raises(StoreError, match=message):
        Volume.create(str(tmp_path / "v"), **(usual | options))
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
