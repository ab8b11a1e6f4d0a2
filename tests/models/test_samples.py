from __future__ import annotations

import numpy as np
import pytest

from connectome.errors import InputError
from connectome.models.architecture import Architecture
from connectome.models.augmentation import Augmentation
from connectome.models.samples import LabelledImage, draw_sample
from tests.models.small_networks import CUBIC, toy

PATCH = (8, 8, 8)


@pytest.fixture(scope="module")
def labelled() -> LabelledImage:
    volumes = toy()
    return LabelledImage(volumes["toy#image"], volumes["toy#labels"], Architecture.model_validate(CUBIC))


@pytest.mark.parametrize("start", [(0, 0, 0), (16, 20, 24), (7, 3, 11)])
def test_a_warp_that_does_nothing_cuts_the_same_patch(labelled: LabelledImage, start: tuple[int, int, int]) -> None:
    image, labels = labelled.cut(start, PATCH)
    warped, warped_labels = labelled.cut_warped(start, PATCH, np.eye(3))
    np.testing.assert_allclose(warped, image, atol=1e-3)
    np.testing.assert_array_equal(warped_labels, labels)


def test_a_quarter_turn_is_a_quarter_turn(labelled: LabelledImage) -> None:
    start = (6, 9, 12)
    image, labels = labelled.cut(start, PATCH)
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    warped, warped_labels = labelled.cut_warped(start, PATCH, turn)
    np.testing.assert_allclose(warped, np.rot90(image, -1, (1, 2)), atol=1e-2)
    np.testing.assert_array_equal(warped_labels, np.rot90(labels, -1, (1, 2)))


def test_nothing_is_known_outside_the_labels(labelled: LabelledImage) -> None:
    _, labels = labelled.cut_warped((0, 0, 0), PATCH, 3 * np.eye(3))
    assert (labels[:2] == 0).all()
    assert (labels[8:, 8:, 8:] != 0).any()


def test_warps_are_turns_and_stretches_within_bounds() -> None:
    augmentation = Augmentation(warp_probability=1.0, warp_degrees=30, warp_stretch=0.2)
    for seed in range(50):
        matrix = augmentation.draw_warp(np.random.default_rng(seed))
        assert matrix is not None
        lengths = np.linalg.norm(matrix, axis=0)
        assert (lengths <= 1.2 + 1e-9).all()
        assert (lengths >= 1 / 1.2 - 1e-9).all()
        turn = matrix / lengths
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        assert np.trace(turn) >= 1 + 2 * np.cos(np.radians(30)) - 1e-9
    assert Augmentation().draw_warp(np.random.default_rng(0)) is None


def test_samples_are_repeatable_and_normalised(labelled: LabelledImage) -> None:
    augmentation = Augmentation(warp_probability=0.5)
    moments = labelled.normalisation()
    for seed in range(6):
        samples = [draw_sample([labelled], PATCH, moments, augmentation, np.random.default_rng(seed)) for _ in "ab"]
        assert samples[0].image.shape == Architecture.model_validate(CUBIC).input_shape(PATCH)
        assert samples[0].same.shape == (6, *PATCH)
        np.testing.assert_array_equal(samples[0].image, samples[1].image)
        np.testing.assert_array_equal(samples[0].same, samples[1].same)
    plain = draw_sample([labelled], (24, 28, 32), moments, None, np.random.default_rng(0))
    inside = plain.image[labelled.architecture.halo.low[0] :][:24]
    assert abs(float(inside.mean())) < 0.2


def test_image_and_labels_must_match() -> None:
    volumes = toy()
    with pytest.raises(InputError, match="give the same box of both"):
        LabelledImage(volumes["toy#image"], volumes["toy#labels"][1:], Architecture.model_validate(CUBIC))
