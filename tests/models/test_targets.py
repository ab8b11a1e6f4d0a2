from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from connectome.models.augmentation import Augmentation
from connectome.models.targets import absorb_enclosed, affinity_targets, offsets_of


@given(hnp.arrays(np.int64, (7, 8, 9), elements=st.integers(0, 2)))
@settings(max_examples=25)
def test_affinities_equal_the_definition(labels: np.ndarray) -> None:
    offsets = offsets_of([2])
    same, known = affinity_targets(labels, offsets, (2, 2, 2))
    assert same.shape == (6, 3, 4, 5)
    for channel, offset in enumerate(offsets):
        for place in np.ndindex(3, 4, 5):
            here = tuple(p + 2 for p in place)
            there = tuple(h - d for h, d in zip(here, offset, strict=True))
            assert same[(channel, *place)] == (labels[here] == labels[there])
            assert known[(channel, *place)] == (labels[here] != 0 and labels[there] != 0)


def test_nearest_neighbours_come_first_along_z_y_x() -> None:
    assert offsets_of([9]) == [(1, 0, 0), (0, 1, 0), (0, 0, 1), (9, 0, 0), (0, 9, 0), (0, 0, 9)]


def test_affinities_turn_with_the_labels() -> None:
    # Flipped labels give flipped affinities, one voxel on: the pair stays at its higher voxel.
    labels = np.random.default_rng(0).integers(1, 3, (6, 6, 6))
    same, _ = affinity_targets(labels, [(1, 0, 0)], (1, 1, 1))
    flipped, _ = affinity_targets(labels[::-1], [(1, 0, 0)], (1, 1, 1))
    np.testing.assert_array_equal(flipped[0][1:], same[0][::-1][:-1])


def cell_with_organelles() -> np.ndarray:
    labels = np.ones((20, 20, 20), np.int64)
    labels[:, :, 12:] = 2
    labels[4:9, 4:9, 4:9] = 3  # inside cell 1
    labels[6, 6, 6] = 4  # inside organelle 3
    labels[10:14, 10:14, 10:14] = 5  # between both cells
    labels[0, 0, 0] = 0
    return labels


def test_enclosed_objects_join_what_is_around_them() -> None:
    labels = cell_with_organelles()
    absorbed = absorb_enclosed(labels, max_voxels=1000, min_share=0.8)
    expected = labels.copy()
    expected[np.isin(labels, (3, 4))] = 1
    np.testing.assert_array_equal(absorbed, expected)


def test_large_objects_and_background_stay() -> None:
    labels = cell_with_organelles()
    absorbed = absorb_enclosed(labels, max_voxels=100, min_share=0.8)
    assert np.unique(absorbed).tolist() == [0, 1, 2, 3, 5]
    np.testing.assert_array_equal(absorb_enclosed(labels, 0, 0.8), labels)


def test_augmentation_keeps_image_and_labels_together() -> None:
    labels = np.arange(6 * 6 * 6).reshape(6, 6, 6)
    for seed in range(20):
        image, turned = Augmentation().orient((labels.astype(np.float32)[None], labels), np.random.default_rng(seed))
        np.testing.assert_array_equal(image[0], turned)
        (section,) = Augmentation(symmetry="section").orient((labels,), np.random.default_rng(seed))
        assert {int(value) // 36 for value in section[0].ravel()} in ({0}, {5})


def test_degraded_images_are_finite_and_repeatable() -> None:
    augmentation = Augmentation(blur_probability=0.6, defect_probability=0.6)
    for seed in range(30):
        image = np.random.default_rng(99).normal(size=(8, 9, 10)).astype(np.float32)
        once = augmentation.degrade(image.copy(), np.random.default_rng(seed))
        again = augmentation.degrade(image.copy(), np.random.default_rng(seed))
        assert once.dtype == np.float32
        assert np.isfinite(once).all()
        np.testing.assert_array_equal(once, again)
