"""Sections: which level, which place, which colours."""

import base64
import io

import numpy as np
import PIL.Image
import pytest

from connectome.geometry import Box
from connectome.store.array_volume import ArrayVolume
from connectome.store.volume import Volume
from connectome.web.matching import match_labels
from connectome.web.scene import Layer
from connectome.web.sections import (
    FILL,
    LINE,
    MOST_PIXELS,
    colour_labels,
    colours_of_ids,
    detail_field,
    draw,
    grey,
    read_field,
    whole_field,
)

SIZE = (40.0, 10.0, 5.0)


def _layer(array, kind="image"):
    channels = array.shape[0] if array.ndim == 4 else None
    box = Box.of_shape(array.shape[-3:]).shift((7, 8, 9))
    return Layer("a", kind, ArrayVolume("a", array, box, channels, SIZE))


@pytest.mark.parametrize(
    ("normal", "plane", "extent", "voxels"),
    [
        (0, "yx", (25.0, 40.0), np.s_[3]),
        (1, "zx", (25.0, 240.0), np.s_[:, 2]),
        (2, "zy", (40.0, 240.0), np.s_[:, :, 2]),
    ],
)
def test_planes_go_through_the_middle(normal, plane, extent, voxels):
    array = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
    field = whole_field(_layer(array).volume, normal)
    assert (field.plane, field.extent_nm(SIZE)) == (plane, extent)
    np.testing.assert_array_equal(read_field(_layer(array), field), array[voxels])
    channels = np.stack([array, array + 1, array + 2])
    np.testing.assert_array_equal(read_field(_layer(channels, "channels"), field)[1], array[voxels] + 1)


def test_large_planes_come_from_a_coarser_level(tmp_path):
    volume = Volume.create(
        tmp_path / "v",
        box=Box.of_shape((8, 8, 2 * MOST_PIXELS)),
        dtype="uint8",
        voxel_size_nm=(1, 1, 1),
        write_shape=(8, 8, 2 * MOST_PIXELS),
        factors=[(1, 1, 1), (1, 1, 2)],
    )
    assert [whole_field(volume, normal).level for normal in range(3)] == [1, 1, 0]
    assert detail_field(volume, 0).box.shape == (1, 8, 400)
    flat = ArrayVolume(
        "a", np.zeros((2, 2, MOST_PIXELS + 1), np.uint8), Box.of_shape((2, 2, MOST_PIXELS + 1)), None, None
    )
    assert whole_field(flat, 0) is None


def test_colours_are_a_function_of_the_id():
    ids = np.array([1, 2, 3, 2**63 + 1, 2**64 - 1], np.uint64)
    np.testing.assert_array_equal(colours_of_ids(ids)[::-1], colours_of_ids(ids[::-1]))
    many = colours_of_ids(np.arange(1, 2001, dtype=np.uint64))
    assert len(np.unique(many, axis=0)) > 1950
    hsv = np.asarray(PIL.Image.fromarray(many[np.newaxis]).convert("HSV"))[0]
    assert hsv[:, 1].min() > 150
    assert hsv[:, 2].min() > 190
    share = np.bincount(hsv[:, 0] // 32, minlength=8) / 2000
    assert share.min() > 0.08
    assert share.max() < 0.17


def test_borders_show_and_background_does_not():
    labels = np.zeros((20, 30), np.uint64)
    labels[5:15, 5:15], labels[5:15, 15:25] = 3, 4
    picture = colour_labels(labels)
    repeat = picture.shape[0] // 20
    assert picture.shape == (20 * repeat, 30 * repeat, 4)
    assert picture[:repeat, :repeat, 3].max() == 0
    inside = picture[10 * repeat, 10 * repeat]
    assert inside[3] == FILL
    np.testing.assert_array_equal(inside[:3], colours_of_ids(np.array([3], np.uint64))[0])
    assert picture[10 * repeat, 15 * repeat - 1, 3] == LINE
    assert set(np.unique(picture[..., 3])) == {0, FILL, LINE}


def test_other_types_are_spread_over_their_range():
    ramp = np.linspace(-3, 8, 1000).reshape(10, 100)
    spread = grey(ramp)
    assert spread.dtype == np.uint8
    assert (spread.min(), spread.max()) == (0, 255)
    assert np.all(grey(np.full((3, 3), 7.0)) == 0)
    np.testing.assert_array_equal(grey(np.full((3, 3), 7, np.uint8)), 7)


@pytest.mark.parametrize(
    ("array", "kind", "mode"),
    [
        (np.full((4, 4), 9, np.uint8), "image", "L"),
        (np.full((2, 4, 4), 9, np.uint8), "channels", "RGB"),
        (np.full((4, 4), 9, np.int64), "labels", "RGBA"),
    ],
)
def test_pictures_are_data_urls(array, kind, mode):
    url = draw(Layer("a", kind, None), array)
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2])))
    assert picture.mode == mode


def test_labels_take_the_colour_of_their_partners():
    segments = np.array([[5, 5, 6], [5, 5, 6], [7, 7, 0]], np.uint64)
    truth = np.array([[1, 1, 1], [1, 1, 1], [2, 3, 3]], np.uint64)
    matches = match_labels([(truth, segments)])
    assert matches == {1: 5, 2: 7}  # 3 overlaps 7 as well, but 2 comes first
    pictures = colour_labels(truth, matches), colour_labels(segments)
    repeat = pictures[0].shape[0] // 3
    np.testing.assert_array_equal(*(picture[repeat // 2, repeat // 2, :3] for picture in pictures))
    assert match_labels([]) == {}
    assert match_labels([(truth, np.zeros_like(truth))]) == {}
