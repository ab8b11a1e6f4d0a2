from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connectome.geometry import Box
from connectome.models.augmentation import Augmentation
from connectome.models.deformation import Deformation
from connectome.models.section_defects import defocus_sections, stain_sections, thicken_sections

OUTPUT = (6, 8, 10)
BOX = Box((-3, -5, -4), (9, 14, 15))


def offsets(deformation: Deformation, box: Box = BOX) -> np.ndarray:
    """How far each voxel lies from where it would lie in a straight patch (axis, z, y, x)."""
    straight = Deformation(deformation.middle, np.eye(3), BOX)
    return np.array(deformation.places(box)) - np.array(straight.places(box))


@given(st.integers(0, 2**20))
@settings(max_examples=25, deadline=None)
def test_elastic_warps_are_bounded_smooth_and_do_not_fold(seed: int) -> None:
    augmentation = Augmentation(elastic_probability=1, elastic_voxels=(1, 2, 3), elastic_spacing=(4, 5, 7))
    drawn = augmentation.draw_deformation(OUTPUT, BOX, np.random.default_rng(seed))
    assert drawn is not None
    moved = offsets(drawn)
    for axis, largest in enumerate((1, 2, 3)):
        assert 0 < np.abs(moved[axis]).max() <= largest
        assert np.diff(moved[axis], axis=axis).min() > -1
    part = Box((0, -2, 1), (4, 8, 9))
    np.testing.assert_allclose(offsets(drawn, part), moved[(slice(None), *part.relative_to(BOX.start).slices)])


def test_a_shift_moves_all_sections_from_one_on_and_a_slip_one() -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        shift = Augmentation(shift_probability=1, misalignment_voxels=4).draw_deformation(OUTPUT, BOX, random)
        slip = Augmentation(slip_probability=1, misalignment_voxels=4).draw_deformation(OUTPUT, BOX, random)
        assert shift is not None
        assert slip is not None
        for drawn, n_moved in ((shift, None), (slip, 1)):
            moved = offsets(drawn)
            assert np.abs(moved).max() <= 4 + 1e-9
            np.testing.assert_allclose(moved, np.broadcast_to(moved[:, :, :1, :1], moved.shape), atol=1e-12)
            sections = np.flatnonzero((np.abs(moved[:, :, 0, 0]) > 1e-9).any(axis=0))
            assert 3 <= sections[0] < 3 + OUTPUT[0]
            assert sections.size == (n_moved or BOX.shape[0] - sections[0])


def test_sections_are_defocused_in_their_plane() -> None:
    random = np.random.default_rng(0)
    image = random.normal(size=(6, 20, 20)).astype(np.float32)
    for seed in range(10):
        blurred = image.copy()
        defocus_sections(blurred, 3.0, np.random.default_rng(seed))
        changed = np.flatnonzero((blurred != image).any(axis=(1, 2)))
        assert changed.size
        assert (np.diff(changed) == 1).all()
        assert (blurred[changed].std(axis=(1, 2)) < image[changed].std(axis=(1, 2))).all()
        np.testing.assert_allclose(blurred.mean(axis=(1, 2)), image.mean(axis=(1, 2)), atol=0.05)


def test_every_section_has_a_stain_of_its_own() -> None:
    image = np.random.default_rng(0).normal(size=(5, 30, 30)).astype(np.float32)
    stained = image.copy()
    stain_sections(stained, 0.3, np.random.default_rng(1))
    ratios = stained.std(axis=(1, 2)) / image.std(axis=(1, 2))
    assert len(np.unique(ratios.round(3))) == 5
    assert (np.abs(ratios - 1) <= 0.3 + 1e-5).all()


def test_thick_sections_repeat_the_mean_of_what_they_hold() -> None:
    image = np.random.default_rng(0).normal(size=(9, 4, 4)).astype(np.float32)
    for seed in range(10):
        thick = image.copy()
        thicken_sections(thick, 3, np.random.default_rng(seed))
        np.testing.assert_allclose(thick.mean(axis=0), image.mean(axis=0), atol=1e-5)
        runs = np.flatnonzero((np.diff(thick, axis=0) != 0).any(axis=(1, 2))) + 1
        assert np.diff(runs).max(initial=0) <= 3
        assert runs.size < 8


def test_folds_are_refused() -> None:
    with pytest.raises(ValidationError, match="tissue would fold"):
        Augmentation(elastic_voxels=(1, 2, 8), elastic_spacing=(4, 5, 16))
