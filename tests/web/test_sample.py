"""Bounded looks: the same numbers as looking at everything, where everything fits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome.geometry import Box
from connectome.store.array_volume import ArrayVolume
from connectome.store.volume import Volume
from connectome.web.sample import centre_box, choose_sample, read_pooled_labels, segment_sizes

SIZE = (20.0, 10.0, 10.0)


def _volume(array):
    return ArrayVolume("a", array, Box.of_shape(array.shape).shift((3, 5, 7)), None, None)


def test_sizes_are_those_of_the_whole_volume():
    labels = np.random.default_rng(0).integers(0, 30, (20, 140, 150)).astype(np.int32)
    found = segment_sizes(_volume(labels), labels.size)
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    assert found.sample.is_whole
    assert dict(zip(found.ids.tolist(), found.sizes.tolist(), strict=True)) == dict(
        zip(ids.tolist(), counts.tolist(), strict=True)
    )
    assert np.all(np.diff(found.sizes) <= 0)


def test_a_background_volume_has_no_segments():
    found = segment_sizes(_volume(np.zeros((4, 4, 4), np.uint64)), 1000)
    assert found.ids.size == found.sizes.size == 0


@pytest.fixture
def pyramid(tmp_path):
    volume = Volume.create(
        tmp_path / "v",
        box=Box.of_shape((16, 32, 32)),
        dtype="uint64",
        voxel_size_nm=SIZE,
        write_shape=(16, 32, 32),
        factors=[(1, 1, 1), (1, 2, 2), (2, 4, 4)],
    )
    for level in range(3):
        box = volume.level_box(level)
        volume.write(box, np.full(box.shape, level + 1, np.uint64), level)
    return volume


def test_the_finest_level_that_fits_is_taken(pyramid):
    assert [choose_sample(pyramid, n).level for n in (16384, 16383, 4096, 4095, 512)] == [0, 1, 1, 2, 2]
    cut = choose_sample(pyramid, 511)
    assert (cut.level, cut.is_whole) == (2, False)
    assert cut.box.n_voxels <= 511
    # Sizes are in voxels of level 0.
    assert segment_sizes(pyramid, 512).sizes.tolist() == [16384]


def test_pooling_makes_what_the_volume_has_no_level_for():
    labels = np.arange(1, 16 * 32 * 32 + 1, dtype=np.uint64).reshape(16, 32, 32)
    pooled, sample = read_pooled_labels(_volume(labels), SIZE, 4096)
    assert (pooled.shape, sample.factor, sample.is_whole) == ((16, 16, 16), (1, 2, 2), True)
    np.testing.assert_array_equal(pooled, labels[:, ::2, ::2])  # the smallest of all-different labels
    pooled, sample = read_pooled_labels(_volume(labels), SIZE, 500)
    assert not sample.is_whole
    assert pooled.size <= 500


@given(
    st.tuples(*[st.integers(1, 300)] * 3),
    st.tuples(*[st.integers(-5, 5)] * 3),
    st.integers(1, 1 << 20),
)
def test_centre_boxes_are_inside_and_small(shape, start, n_voxels):
    whole = Box.of_shape(shape).shift(start)
    centre = centre_box(whole, n_voxels)
    assert whole.contains(centre)
    assert 1 <= centre.n_voxels <= n_voxels
    assert all(
        abs((a + b) - (c + d)) <= 1
        for a, b, c, d in zip(whole.start, whole.stop, centre.start, centre.stop, strict=True)
    )
    if math.prod(shape) <= n_voxels:
        assert centre.n_voxels >= n_voxels / 8 or centre == whole
