import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from skimage.measure import label
from skimage.metrics import adapted_rand_error

from connectome.metrics.classes import boundary_rand, intersection_over_union, object_agreement

MASKS = hnp.arrays(np.bool_, (3, 6, 7))


@given(MASKS, MASKS)
@settings(max_examples=25, deadline=None)
def test_boundaries_are_scored_as_scikit_image_does(truth, found):
    scores = []
    for a, b in zip(truth, found, strict=True):
        pieces = label(~a, connectivity=1), label(~b, connectivity=1)
        with np.errstate(all="ignore"):
            scores.append(1 - adapted_rand_error(*pieces)[0] if (pieces[0] > 0).any() else np.nan)
    expected = np.mean(scores)
    if np.isfinite(expected):
        assert boundary_rand(truth, found) == pytest.approx(expected, abs=1e-9)


def cubes(*starts, side=2):
    mask = np.zeros((4, 12, 12), bool)
    for z, y, x in starts:
        mask[z : z + side, y : y + side, x : x + side] = True
    return mask


def test_objects_match_one_to_one():
    truth = cubes((0, 0, 0), (0, 0, 6), (0, 6, 0))
    found = cubes((0, 0, 1), (0, 6, 0), (0, 8, 8))
    agreed = object_agreement(truth, found)
    assert (agreed.n_true, agreed.n_found, agreed.n_matched) == (3, 3, 2)
    assert (agreed.precision, agreed.recall, agreed.f1) == (2 / 3, 2 / 3, 2 / 3)
    assert object_agreement(truth, found, min_ratio=0.5).n_matched == 1


def test_one_object_over_two_matches_one_of_them():
    truth, found = cubes((0, 0, 0), (0, 0, 4)), np.zeros((4, 12, 12), bool)
    found[0:2, 0:2, 0:6] = True
    assert object_agreement(truth, found).n_matched == 1


def test_dust_does_not_count():
    found = cubes((0, 0, 0))
    found[3, 11, 11] = True
    assert object_agreement(cubes((0, 0, 0)), found, min_voxels=2).f1 == 1
    assert object_agreement(cubes((0, 0, 0)), found).n_found == 2


def test_nothing_agrees_with_nothing():
    empty = np.zeros((2, 3, 3), bool)
    assert object_agreement(empty, empty).f1 == 1
    assert intersection_over_union(empty, empty) == 1
    assert intersection_over_union(cubes((0, 0, 0)), cubes((0, 0, 1))) == pytest.approx(1 / 3)
