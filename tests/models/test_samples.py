from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.models.augmentation import Augmentation
from connectome.models.deformation import Deformation
from connectome.models.samples import LabelledImage, draw_sample
from connectome.models.training_config import Training
from tests.models.small_networks import configuration, toy, with_classes

PATCH = (8, 8, 8)
SHARES = [name for name in Augmentation.model_fields if name.endswith("_probability")]
CONFIG = configuration(Path("unused"))


def turned(matrix: np.ndarray) -> Deformation:
    return Deformation((3.5, 3.5, 3.5), matrix, Box.of_shape(PATCH))


@pytest.fixture(scope="module")
def labelled() -> LabelledImage:
    volumes = toy()
    return LabelledImage(volumes["toy#image"], volumes["toy#labels"], CONFIG)


@pytest.mark.parametrize("start", [(0, 0, 0), (16, 20, 24), (7, 3, 11)])
def test_a_warp_that_does_nothing_cuts_the_same_patch(labelled: LabelledImage, start: tuple[int, int, int]) -> None:
    straight, warped = labelled.cut(start, PATCH), labelled.cut_warped(start, PATCH, turned(np.eye(3)))
    np.testing.assert_allclose(warped.image, straight.image, atol=1e-3)
    np.testing.assert_array_equal(warped.labels, straight.labels)
    np.testing.assert_array_equal(warped.masks, straight.masks)


def test_a_quarter_turn_is_a_quarter_turn(labelled: LabelledImage) -> None:
    start = (6, 9, 12)
    straight = labelled.cut(start, PATCH)
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    warped = labelled.cut_warped(start, PATCH, turned(turn))
    np.testing.assert_allclose(warped.image, np.rot90(straight.image, -1, (1, 2)), atol=1e-2)
    np.testing.assert_array_equal(warped.labels, np.rot90(straight.labels, -1, (1, 2)))


def test_nothing_is_known_outside_the_labels(labelled: LabelledImage) -> None:
    labels = labelled.cut_warped((0, 0, 0), PATCH, turned(3 * np.eye(3))).labels
    assert (labels[:2] == 0).all()
    assert (labels[8:, 8:, 8:] != 0).any()


def test_warps_are_turns_and_stretches_within_bounds() -> None:
    augmentation = Augmentation(warp_probability=1.0, warp_degrees=30, warp_stretch=0.2)
    for seed in range(50):
        drawn = augmentation.draw_deformation(PATCH, Box.of_shape(PATCH), np.random.default_rng(seed))
        assert drawn is not None
        matrix = drawn.matrix
        lengths = np.linalg.norm(matrix, axis=0)
        assert (lengths <= 1.2 + 1e-9).all()
        assert (lengths >= 1 / 1.2 - 1e-9).all()
        turn = matrix / lengths
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        assert np.trace(turn) >= 1 + 2 * np.cos(np.radians(30)) - 1e-9
    assert Augmentation().draw_deformation(PATCH, Box.of_shape(PATCH), np.random.default_rng(0)) is None


def test_samples_are_repeatable_and_normalised(labelled: LabelledImage) -> None:
    augmentation = Augmentation.model_validate(dict.fromkeys(SHARES, 0.5) | {"section_contrast": 0.2})
    moments = labelled.normalisation()
    for seed in range(6):
        samples = [draw_sample([labelled], CONFIG, moments, augmentation, np.random.default_rng(seed)) for _ in "ab"]
        assert samples[0].image.shape == CONFIG.architecture.input_shape(PATCH)
        assert samples[0].target.shape == (6, *PATCH)
        np.testing.assert_array_equal(samples[0].image, samples[1].image)
        np.testing.assert_array_equal(samples[0].target, samples[1].target)
    whole = configuration(Path("unused"), patch=(24, 28, 32))
    plain = draw_sample([labelled], whole, moments, None, np.random.default_rng(0))
    inside = plain.image[labelled.halo.low[0] :][:24]
    assert abs(float(inside.mean())) < 0.2


def test_image_and_labels_must_match() -> None:
    volumes = toy()
    with pytest.raises(InputError, match="give the same box of both"):
        LabelledImage(volumes["toy#image"], volumes["toy#labels"][1:], CONFIG)


@pytest.fixture(scope="module")
def many_headed() -> Training:
    return with_classes(Path("unused"))


def test_targets_lie_in_the_order_of_the_heads(many_headed: Training) -> None:
    volumes = toy()
    labelled = LabelledImage(volumes["toy#image"], volumes["toy#labels"], many_headed, {"wall": volumes["toy#wall"]})
    sample = draw_sample([labelled], many_headed, labelled.normalisation(), None, np.random.default_rng(1))
    channels = many_headed.architecture.channels(auxiliary=True)
    assert sample.target.shape == sample.known.shape == (3 + 3 + 10 + 2, *PATCH)
    assert set(np.unique(sample.target[channels["affinities"]])) == {0, 1}
    descriptors = sample.target[channels["shape_descriptors"]]
    assert 0 < descriptors[9].min() < descriptors[9].max() < 1
    wall, spot = sample.known[channels["classes"]]
    assert wall.all()
    assert not spot.any()


def test_heads_without_labels_know_nothing(many_headed: Training) -> None:
    volumes = toy()
    labelled = LabelledImage(volumes["toy#image"], None, many_headed, {"spot": volumes["toy#spot"]})
    sample = draw_sample([labelled], many_headed, (128.0, 40.0), Augmentation(), np.random.default_rng(1))
    assert not sample.known[:-1].any()
    assert sample.known[-1].all()


def test_a_class_that_asks_for_patches_gets_them() -> None:
    volumes = toy()
    config = with_classes(Path("unused"), classes={"spot": {"focus": 1.0}})
    labelled = LabelledImage(volumes["toy#image"], volumes["toy#labels"], config, {"spot": volumes["toy#spot"]})
    for seed in range(10):
        sample = draw_sample([labelled], config, (128.0, 40.0), None, np.random.default_rng(seed))
        assert sample.target[-1].any()


def test_warped_masks_follow_the_image(many_headed: Training) -> None:
    volumes = toy()
    bright = (volumes["toy#image"] > 120).astype(np.uint8)
    labelled = LabelledImage(volumes["toy#image"], None, many_headed, {"wall": bright})
    patch = labelled.cut_warped((9, 9, 9), PATCH, turned(0.5 * np.eye(3)))
    halo = many_headed.architecture.halo
    inner = patch.image[tuple(slice(low, low + n) for low, n in zip(halo.low, PATCH, strict=True))]
    assert ((inner > 120) == (patch.masks[0] == 1)).mean() > 0.9
