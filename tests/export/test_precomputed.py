import json

import numpy as np
import pytest
import tensorstore as ts

from connectome.export.precomputed import export_precomputed
from connectome.geometry import Box
from connectome.store import precomputed
from connectome.store.array_volume import ArrayVolume
from connectome.store.checksum import checksum
from connectome.store.ingest import ingest
from connectome.store.locations import StoreError
from connectome.store.volume import Volume, is_volume
from tests.naive.downsample import downsample_mean, downsample_mode

SIZE = (16.0, 8.0, 8.0)


def held(array, start=(0, 0, 0), size=SIZE):
    box = Box.of_shape(array.shape[-3:]).shift(start)
    return ArrayVolume("held", array, box, array.shape[0] if array.ndim == 4 else None, size)


def random_labels(shape, dtype=np.uint64):
    coarse = np.random.default_rng(0).integers(0, 5, [-(-n // 8) for n in shape])
    labels = coarse.repeat(8, 0).repeat(8, 1).repeat(8, 2)[: shape[0], : shape[1], : shape[2]]
    return (labels * 1_000_003).astype(dtype)


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of a few chunks, so that a small volume has many of them."""
    monkeypatch.setattr(precomputed, "CHUNK", (16, 16, 16))
    monkeypatch.setattr(precomputed, "SHARD_BYTES", 16**3 * 8 * 8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.uint64, np.int64])
def test_labels_and_their_pyramid(tmp_path, small_shards, dtype):
    labels = random_labels((40, 90, 150), dtype)
    calls = []
    target = export_precomputed(
        held(labels, start=(8, 16, 4)),
        str(tmp_path / "p"),
        kind="segmentation",
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls[-1][0] == calls[-1][1]
    assert target.dtype == (np.uint64 if np.dtype(dtype).itemsize == 8 else np.uint32)
    assert len(list((tmp_path / "p").glob("8_8_16/*.shard"))) > 4
    assert [target.level_factor(level) for level in range(target.n_levels)] == [(1, 1, 1), (1, 2, 2), (2, 4, 4)]
    wanted = labels
    for level, step in enumerate([(1, 1, 1), (1, 2, 2), (2, 2, 2)]):
        wanted = downsample_mode(wanted, step)
        np.testing.assert_array_equal(target.read(target.level_box(level), level), wanted)


def test_another_reader_finds_the_same(tmp_path):
    labels = random_labels((70, 90, 150))
    export_precomputed(held(labels, start=(8, 16, 4)), str(tmp_path / "p"), kind="segmentation")
    info = json.loads((tmp_path / "p/info").read_text())
    assert (info["type"], info["data_type"], info["num_channels"]) == ("segmentation", "uint64", 1)
    first = info["scales"][0]
    assert (first["size"], first["voxel_offset"]) == ([150, 90, 70], [4, 16, 8])
    assert first["resolution"] == [8, 8, 16]
    assert first["encoding"] == "compressed_segmentation"
    assert first["sharding"]["@type"] == "neuroglancer_uint64_sharded_v1"
    spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{tmp_path}/p/"}}
    array = ts.open(spec, open=True).result()[..., 0].read().result()
    np.testing.assert_array_equal(array, labels.T)


def test_levels_that_exist_are_copied(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (64, 128, 200)).astype(np.uint8)
    np.save(tmp_path / "a.npy", image)
    volume = ingest(str(tmp_path / "a.npy"), str(tmp_path / "v"), voxel_size_nm=SIZE, block=(32, 64, 50))
    marked = np.full(volume.level_box(1).shape, 77, np.uint8)
    volume.write(volume.level_box(1), marked, level=1)
    assert volume.n_levels == 2
    target = export_precomputed(volume, str(tmp_path / "p"), kind="image")
    assert target.n_levels == 3
    assert checksum(target) == checksum(volume)
    np.testing.assert_array_equal(target.read(target.level_box(1), 1), marked)
    assert (target.read(target.level_box(2), 2) == 77).all()


def test_images_with_channels_and_of_floats(tmp_path):
    image = np.random.default_rng(0).random((3, 20, 70, 40)).astype(np.float64)
    target = export_precomputed(held(image), str(tmp_path / "p"), kind="image")
    assert (target.n_channels, target.dtype) == (3, np.float32)
    np.testing.assert_array_equal(target.read(target.box), image.astype(np.float32))
    pooled = downsample_mean(image.astype(np.float32), (1, 2, 2))
    np.testing.assert_array_equal(target.read(target.level_box(1), 1), pooled)


def test_jpeg_is_close(tmp_path):
    z, y, x = np.ogrid[:64, :64, :64]
    image = (128 + 100 * np.sin(z / 9) * np.cos(y / 7) * np.sin(x / 8)).astype(np.uint8)
    target = export_precomputed(held(image), str(tmp_path / "p"), kind="image", encoding="jpeg")
    difference = np.abs(target.read(target.box).astype(int) - image)
    assert 0 < difference.mean() < 2


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.zeros((4, 4, 4), np.float32), {"kind": "segmentation"}, "export an image"),
        (np.zeros((2, 4, 4, 4), np.uint64), {"kind": "segmentation"}, "2 channels"),
        (np.full((4, 4, 4), -3), {"kind": "segmentation"}, "negative label -3"),
        (np.zeros((4, 4, 4), np.uint16), {"kind": "image", "encoding": "jpeg"}, "take raw"),
        (np.zeros((4, 4, 4), np.uint8), {"kind": "image", "encoding": "png"}, "raw or jpeg"),
    ],
)
def test_what_cannot_be_exported(tmp_path, array, options, message):
    with pytest.raises(StoreError, match=message):
        export_precomputed(held(array), str(tmp_path / "p"), **options)
    assert not is_volume(str(tmp_path / "p"))
    with pytest.raises(StoreError, match="voxel size"):
        export_precomputed(held(array, size=None), str(tmp_path / "p"), kind="image")
    volume = Volume.create(
        str(tmp_path / "p"), box=Box.of_shape((4, 4, 4)), dtype="u1", voxel_size_nm=SIZE, write_shape=(4, 4, 4)
    )
    with pytest.raises(StoreError, match="exists already"):
        export_precomputed(held(np.zeros((4, 4, 4), np.uint8)), volume.url, kind="image")
