import pickle

import numpy as np
import pytest

from connectome.geometry import Box, Grid
from connectome.store.locations import StoreError
from connectome.store.pyramid import pyramid_factors
from connectome.store.volume import Volume

SIZE = (40.0, 8.0, 8.0)


def random_array(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 200, size=shape).astype(dtype)


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    return str(tmp_path / "v") if request.param == "file" else f"memory://{tmp_path}/v"


@pytest.mark.parametrize("n_channels", [None, 3])
@pytest.mark.parametrize("block", [(16, 16, 16), (50, 70, 90), (33, 20, 20)])
def test_blocks_come_back(url, n_channels, block):
    box = Box.of_shape((33, 40, 50)).shift((5, 7, 900))
    volume = Volume.create(url, box=box, dtype="uint64", voxel_size_nm=SIZE, n_channels=n_channels, write_shape=block)
    channels = () if n_channels is None else (n_channels,)
    array = random_array((*channels, *box.shape), np.uint64)
    grid = Grid(box, block)
    for index in grid.indices():
        part = grid.box_at(index)
        volume.write(part, array[(..., *part.relative_to(box.start).slices)])
    again = pickle.loads(pickle.dumps(Volume.open(url)))
    assert (again.box, again.dtype, again.n_channels) == (box, np.uint64, n_channels)
    assert (again.voxel_size_nm, again.n_levels) == (SIZE, 1)
    np.testing.assert_array_equal(again.read(box), array)
    part = Box((10, 10, 920), (11, 30, 930))
    np.testing.assert_array_equal(again.read(part), array[(..., *part.relative_to(box.start).slices)])


def test_levels_have_their_boxes(url):
    box = Box.of_shape((33, 100, 129)).shift((5, 7, 9))
    factors = pyramid_factors(box.shape, (32, 64, 64), (10, 10, 10), minimum=16)
    assert factors == [(1, 1, 1), (2, 2, 2), (4, 4, 4), (8, 8, 8), (16, 16, 16)]
    volume = Volume.create(
        url, box=box, dtype="uint8", voxel_size_nm=(10, 10, 10), write_shape=(32, 64, 64), factors=factors
    )
    assert volume.n_levels == 5
    assert volume.write_shape == (32, 64, 64)
    assert volume.level_box(1) == Box((2, 3, 4), (19, 53, 69))
    assert volume.level_factor(2) == (4, 4, 4)
    array = random_array(volume.level_box(1).shape)
    volume.write(volume.level_box(1), array, level=1)
    np.testing.assert_array_equal(Volume.open(url).read(Box((2, 3, 4), (19, 53, 69)), level=1), array)


def test_writes_that_cut_a_shard_are_refused(url):
    box = Box.of_shape((40, 40, 40)).shift((1, 2, 3))
    volume = Volume.create(url, box=box, dtype="uint8", voxel_size_nm=SIZE, write_shape=(16, 16, 16))
    for start, shape in [((0, 0, 0), (16, 16, 8)), ((8, 0, 0), (16, 16, 16)), ((0, 0, 32), (16, 16, 7))]:
        part = Box.of_shape(shape).shift(start).shift(box.start)
        with pytest.raises(StoreError, match="cut a chunk"):
            volume.write(part, np.zeros(shape, np.uint8))
    with pytest.raises(StoreError, match="uint8"):
        volume.write(box, np.zeros(box.shape, np.uint16))
    with pytest.raises(StoreError, match="shape"):
        volume.write(box, np.zeros((2, *box.shape), np.uint8))
    with pytest.raises(StoreError, match="not inside"):
        volume.write(box.shift((0, 0, 1)), np.zeros(box.shape, np.uint8))
    with pytest.raises(StoreError, match="outside"):
        volume.read(box.shift((0, 0, 1)))
    volume.write(box, np.ones(box.shape, np.uint8))


def test_existing_volumes_are_kept(url):
    options = {
        "box": Box.of_shape((4, 4, 4)),
        "dtype": "uint8",
        "voxel_size_nm": SIZE,
        "write_shape": (4, 4, 4),
    }
    Volume.create(url, **options).write(Box.of_shape((4, 4, 4)), np.ones((4, 4, 4), np.uint8))
    with pytest.raises(StoreError, match="exists already"):
        Volume.create(url, **options)
    volume = Volume.create(url, **options, delete_existing=True)
    assert not volume.read(volume.box).any()


def test_missing_volume(url):
    with pytest.raises(StoreError, match="no volume"):
        Volume.open(url)
