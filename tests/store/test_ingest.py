import signal
import subprocess
import sys

import h5py
import numpy as np
import PIL.Image
import pytest

from connectome.errors import DiskFullError
from connectome.geometry import Box
from connectome.store.checksum import checksum
from connectome.store.formats import CREATE
from connectome.store.ingest import ingest
from connectome.store.locations import StoreError
from connectome.store.sources import open_source, open_volume
from connectome.store.volume import Volume, is_volume
from tests.naive.downsample import downsample_mean, downsample_mode

SIZE = (40.0, 10.0, 10.0)


@pytest.fixture
def source(tmp_path):
    array = np.random.default_rng(0).integers(0, 250, (37, 50, 61)).astype(np.uint8)
    np.savez_compressed(tmp_path / "a.npz", raw=array, labels=array.astype(np.uint64) % 3)
    return f"{tmp_path}/a.npz"


def test_image_with_its_pyramid(source, tmp_path):
    array = open_source(f"{source}#raw").read()
    calls = []
    ingest(
        f"{source}#raw",
        str(tmp_path / "v"),
        voxel_size_nm=SIZE,
        offset=(3, 5, 8),
        block=(16, 16, 16),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls[-1] == (array.size, array.size)
    assert calls == sorted(calls)
    again = Volume.open(str(tmp_path / "v"))
    assert (again.box, again.voxel_size_nm) == (Box((3, 5, 8), (40, 55, 69)), SIZE)
    assert again.write_shape == (16, 16, 16)
    np.testing.assert_array_equal(again.read(again.box), array)
    for level in range(1, again.n_levels):
        steps = [b // a for a, b in zip(again.level_factor(level - 1), again.level_factor(level), strict=True)]
        array = downsample_mean(array, steps)
        np.testing.assert_array_equal(again.read(again.level_box(level), level), array)


def test_labels_are_pooled_by_the_mode(source, tmp_path):
    array = open_source(f"{source}#labels").read()
    # 37 sections in blocks of 64 are one slab; 50 and 61 are cut by blocks of 32.
    volume = ingest(f"{source}#labels", str(tmp_path / "v"), voxel_size_nm=(10, 10, 10), block=(64, 32, 64))
    assert volume.dtype == np.uint64
    np.testing.assert_array_equal(volume.read(volume.box), array)
    # This one fits in 64^3 and has one level; a bigger one has more.
    tall = np.tile(array, (2, 2, 2))
    np.save(tmp_path / "tall.npy", tall)
    volume = ingest(str(tmp_path / "tall.npy"), str(tmp_path / "w"), voxel_size_nm=(10, 10, 10), block=(32, 32, 32))
    assert volume.n_levels == 2
    np.testing.assert_array_equal(volume.read(volume.level_box(1), 1), downsample_mode(tall, (2, 2, 2)))


@pytest.mark.parametrize("name", [key for key in CREATE if key != "precomputed-sharded"])
def test_every_format_has_the_checksum_of_the_file(source, name):
    url = f"memory://ingest/{name}"
    ingest(f"{source}#raw", url, voxel_size_nm=SIZE, block=(16, 32, 16), format=name)
    assert checksum(Volume.open(url)) == checksum(open_volume(f"{source}#raw"))
    # ... and again from that volume, which states its own voxel size.
    copy = ingest(url, f"{url}-copy", block=(64, 64, 64))
    assert (checksum(copy), copy.voxel_size_nm) == (checksum(Volume.open(url)), SIZE)


def test_channels_and_lazy_sources(tmp_path):
    array = np.random.default_rng(0).random((3, 20, 30, 40)).astype(np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["affinities"] = array
    volume = ingest(f"{tmp_path}/a.h5", str(tmp_path / "v"), voxel_size_nm=SIZE, block=(8, 16, 16))
    assert (volume.n_channels, volume.dtype) == (3, np.float32)
    np.testing.assert_array_equal(volume.read(volume.box), array)


@pytest.mark.parametrize(
    ("values", "window", "wanted"),
    [
        (np.array([0, 1000, 1500, 2000, 60000], np.uint16), (1000, 2000), [0, 0, 128, 255, 255]),
        (np.array([-3.0, 0.0, 0.5, 1.0, np.nan, np.inf], np.float32), (0, 1), [0, 0, 128, 255, 0, 255]),
        (np.array([-128, 0, 127], np.int8), (-128, 127), [0, 128, 255]),
        (np.array([True, False]), None, [1, 0]),
        (np.array([1.5, 2.5], np.float16), None, [1.5, 2.5]),
        (np.array([1, 2], ">u2"), None, [1, 2]),
    ],
)
def test_conversions(tmp_path, values, window, wanted):
    np.save(tmp_path / "a.npy", values.reshape(1, 1, -1))
    volume = ingest(str(tmp_path / "a.npy"), str(tmp_path / "v"), voxel_size_nm=SIZE, window=window)
    assert volume.read(volume.box).ravel().tolist() == wanted
    assert volume.dtype.isnative


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voxel_size_nm": None}, "does not state its voxel size"),
        ({"voxel_size_nm": (1, 2)}, "three positive lengths"),
        ({"window": (5, 5)}, "low below high"),
        ({"block": (0, 4, 4)}, "at least one voxel"),
        ({"format": "tar"}, "unknown volume format"),
    ],
)
def test_what_cannot_be_ingested(source, tmp_path, options, message):
    with pytest.raises(StoreError, match=message):
        ingest(f"{source}#raw", str(tmp_path / "v"), **({"voxel_size_nm": SIZE} | options))
    assert not (tmp_path / "v").exists()


def test_nothing_of_a_failed_ingest_stays(tmp_path):
    (tmp_path / "sections").mkdir()
    for z in range(6):
        array = np.random.default_rng(z).integers(0, 255, (40, 40)).astype(np.uint8)
        PIL.Image.fromarray(array).save(tmp_path / f"sections/{z}.png")
    whole = (tmp_path / "sections/4.png").read_bytes()
    (tmp_path / "sections/4.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match=r"cannot read .*4\.png"):
        ingest(str(tmp_path / "sections"), str(tmp_path / "v"), voxel_size_nm=SIZE, block=(2, 40, 40))
    assert not is_volume(str(tmp_path / "v"))
    (tmp_path / "sections/4.png").write_bytes(whole)
    ingest(str(tmp_path / "sections"), str(tmp_path / "v"), voxel_size_nm=SIZE, block=(2, 40, 40))
    assert is_volume(str(tmp_path / "v"))
    with pytest.raises(StoreError, match="exists already"):
        ingest(str(tmp_path / "sections"), str(tmp_path / "v"), voxel_size_nm=SIZE)


def test_a_killed_ingest_is_no_volume_and_is_replaced(source, tmp_path):
    code = (
        "import sys, time; from connectome.store.ingest import ingest\n"
        "def report(done, total): print(done, flush=True); time.sleep(60)\n"
        "ingest(sys.argv[1], sys.argv[2], voxel_size_nm=(4, 4, 4), block=(8, 64, 64), progress=report)\n"
    )
    arguments = [sys.executable, "-c", code, f"{source}#raw", str(tmp_path / "v")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / "v" / "zarr.json").exists()
    assert not is_volume(str(tmp_path / "v"))
    with pytest.raises(StoreError, match="never finished"):
        Volume.open(str(tmp_path / "v"))
    volume = ingest(f"{source}#raw", str(tmp_path / "v"), voxel_size_nm=SIZE, block=(16, 16, 16))
    assert checksum(Volume.open(volume.url)) == checksum(open_volume(f"{source}#raw"))


def test_a_folder_with_other_things_is_left_alone(source, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter.txt").write_text("dear reader")
    with pytest.raises(StoreError, match=r"not empty, it holds letter\.txt"):
        ingest(f"{source}#raw", str(tmp_path / "home"), voxel_size_nm=SIZE)
    assert (tmp_path / "home/letter.txt").read_text() == "dear reader"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_said_in_one_sentence(small_disk, tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 255, (64, 256, 256)).astype(np.uint8))
    with pytest.raises(DiskFullError, match=r"the disk is full: writing .* free space and run the command again"):
        ingest(str(tmp_path / "a.npy"), str(small_disk / "v"), voxel_size_nm=SIZE, block=(16, 64, 64))
    assert not any(path.is_file() for path in small_disk.rglob("*"))
    ingest(str(tmp_path / "a.npy"), str(tmp_path / "v"), voxel_size_nm=SIZE, block=(16, 64, 64))
