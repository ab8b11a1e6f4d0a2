"""The phantom is a pure function of place and seed, dense, connected, and dark at its membranes."""

from concurrent.futures import ThreadPoolExecutor

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings

from connectome.errors import InputError
from connectome.geometry import Box, Grid
from connectome.phantom import Appearance, generate, tissue, working_bytes
from tests.strategies import boxes_in, crop

WHOLE = Box((-20, -31, 5), (21, 17, 52))


@pytest.fixture(scope="module")
def whole():
    return generate(WHOLE, seed=5)


@pytest.fixture(scope="module")
def cube():
    return generate(Box.of_shape((96, 96, 96)), seed=3)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(box=boxes_in(WHOLE))
def test_a_crop_is_the_same_crop_of_the_whole(whole, box):
    for part, array in zip(generate(box, seed=5), whole, strict=True):
        np.testing.assert_array_equal(part, crop(array, WHOLE, box))


@pytest.mark.parametrize("shape", [(1, 48, 47), (41, 1, 47), (41, 48, 1), (37, 43, 31), (1, 1, 1)])
def test_thin_and_prime_boxes(whole, shape):
    box = Box(WHOLE.start, tuple(a + n for a, n in zip(WHOLE.start, shape, strict=True)))
    for part, array in zip(generate(box, seed=5), whole, strict=True):
        np.testing.assert_array_equal(part, crop(array, WHOLE, box))


def test_blocks_made_in_parallel_and_any_order_make_the_whole(whole):
    grid = Grid(WHOLE, (19, 23, 30))
    with ThreadPoolExecutor(2) as threads:
        boxes = [grid.box_at(index) for index in grid.indices()][::-1]
        for box, parts in zip(boxes, threads.map(lambda box: generate(box, seed=5), boxes), strict=True):
            for part, array in zip(parts, whole, strict=True):
                np.testing.assert_array_equal(part, crop(array, WHOLE, box))


def test_bricks_change_nothing(whole, monkeypatch):
    monkeypatch.setattr(tissue, "BRICK_VOXELS", 29)
    for part, array in zip(generate(WHOLE, seed=5), whole, strict=True):
        np.testing.assert_array_equal(part, array)


def test_far_from_the_origin_crops_are_crops():
    box = Box((10**9, -(10**9), 7), (10**9 + 12, -(10**9) + 20, 30))
    part = Box((10**9 + 3, -(10**9) + 8, 11), (10**9 + 9, -(10**9) + 9, 30))
    for small, large in zip(generate(part, seed=1), generate(box, seed=1), strict=True):
        np.testing.assert_array_equal(small, crop(large, box, part))


def test_seeds_differ_and_any_integer_is_one():
    box = Box.of_shape((24, 24, 24))
    made = [generate(box, seed=seed) for seed in (0, 1, -1, 2**80 + 1)]
    cells = [set(np.unique(truth)) for _, truth in made]
    assert not any(cells[a] & cells[b] for a, b in ((0, 1), (0, 2), (1, 2)))
    assert cells[3] == cells[1]  # seeds count modulo 2^64


def test_noise_leaves_the_truth_alone():
    box = Box.of_shape((20, 30, 30))
    plain, noisy = generate(box), generate(box, appearance=Appearance(1.0, 40.0, 20.0))
    np.testing.assert_array_equal(plain[1], noisy[1])
    assert noisy[0].std() > plain[0].std()


def test_every_voxel_has_a_cell_and_cells_touch(cube):
    _, truth = cube
    assert truth.min() > 0
    assert truth.max() <= 2**62
    assert 15 <= len(np.unique(truth)) <= 400
    assert 0.05 < _at_boundary(truth).mean() < 0.3


def test_a_cell_is_in_one_piece(cube):
    """Pieces that touch the crop's faces may be joined outside; the others must be next to nothing."""
    _, truth = cube
    labels = np.unique(truth, return_inverse=True)[1].reshape(truth.shape).astype(np.uint32) + 1
    pieces, n = cc3d.connected_components(labels, connectivity=6, return_N=True)
    sizes = np.bincount(pieces.ravel())
    largest = np.zeros(labels.max() + 1, np.int64)
    label_of = np.zeros(n + 1, np.int64)
    label_of[pieces.ravel()] = labels.ravel()
    np.maximum.at(largest, label_of, sizes)
    outer = {int(p) for axis in range(3) for face in (0, -1) for p in np.unique(np.take(pieces, face, axis))}
    islands = [p for p in range(1, n + 1) if p not in outer and sizes[p] < largest[label_of[p]]]
    assert sizes[islands].sum() / truth.size < 1e-4
    assert largest.sum() / truth.size > 0.9


def test_membranes_are_darker_but_no_threshold_finds_them(cube):
    image, truth = cube
    membrane = _at_boundary(truth)
    assert image[membrane].mean() < image[~membrane].mean() - 20
    dark = image < np.percentile(image, 100 * membrane.mean())
    found = (dark & membrane).sum() / membrane.sum()
    assert found < 0.75  # of the darkest voxels, as many as there are membrane voxels
    assert 20 < image.std() < 45
    assert ((image == 0) | (image == 255)).mean() < 1e-3


def test_another_voxel_size_shows_the_same_tissue():
    _, fine = generate(Box.of_shape((48, 48, 48)), seed=2)
    _, coarse = generate(Box.of_shape((16, 24, 12)), seed=2, voxel_size_nm=(30.0, 20.0, 40.0))
    # centres of coarse voxels: 3, 2 and 4 fine ones; between two fine centres both must agree to be compared
    low, high = fine[1::3, 0::2, 1::4], fine[1::3, 1::2, 2::4]
    clear = low == high
    assert clear.mean() > 0.7
    assert (coarse == low)[clear].mean() > 0.98


def test_anisotropic_crops_are_crops():
    box, size = Box((-3, 5, -9), (6, 40, 31)), (40.0, 8.0, 8.0)
    part = Box((2, 11, -2), (3, 34, 29))
    for small, large in zip(
        generate(part, seed=1, voxel_size_nm=size), generate(box, seed=1, voxel_size_nm=size), strict=True
    ):
        np.testing.assert_array_equal(small, crop(large, box, part))


def test_an_empty_box_is_empty():
    image, truth = generate(Box((3, 3, 3), (3, 9, 9)))
    assert image.shape == truth.shape == (0, 6, 6)


@pytest.mark.parametrize("size", [(0.5, 10.0, 10.0), (10.0, 10.0), (10.0, 10.0, 400.0), (float("nan"),) * 3])
def test_odd_voxel_sizes_are_refused(size):
    with pytest.raises(InputError, match="voxel size"):
        generate(Box.of_shape((2, 2, 2)), voxel_size_nm=size)


def test_memory_is_bounded_by_the_brick():
    size = (10.0, 10.0, 10.0)
    assert working_bytes(Box.of_shape((10**5,) * 3), size) == working_bytes(Box.of_shape((500,) * 3), size)
    assert working_bytes(Box.of_shape((16,) * 3), size) < working_bytes(Box.of_shape((64,) * 3), size)


def _at_boundary(truth):
    """Mark the voxels with a face neighbour of another cell."""
    marked = np.zeros(truth.shape, bool)
    for axis in range(3):
        cells, out = np.moveaxis(truth, axis, 0), np.moveaxis(marked, axis, 0)
        differ = cells[1:] != cells[:-1]
        out[1:] |= differ
        out[:-1] |= differ
    return marked
