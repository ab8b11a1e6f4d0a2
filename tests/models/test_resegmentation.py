"""Two objects are one if each is found from the other."""

import numpy as np
import pytest

from connectome.models.flood_filling import FillOptions
from connectome.models.resegmentation import PairScores, deepest_place, pair_scores, resegment_pair
from tests.models.filling_networks import FIELD, hand_made

SIZE = (10.0, 10.0, 10.0)


def rod(*, wall):
    """A bright rod along x, cut in two objects where a dark wall stands or does not."""
    image = np.full((15, 15, 31), 50, np.uint8)
    image[4:11, 4:11, 2:29] = 200
    if wall:
        image[:, :, 14:17] = 50
    x = np.indices(image.shape)[2]
    return image, ((image == 200) & (x < 15), (image == 200) & (x >= 15))


def score(image, objects, obstacles=None):
    nothing = np.zeros(image.shape, np.bool_)
    return resegment_pair(hand_made(), image, objects, nothing if obstacles is None else obstacles, FillOptions(), SIZE)


def test_halves_of_one_object_find_each_other():
    scores = score(*rod(wall=False))
    assert scores.recovered > 0.9
    assert scores.overlap > 0.95
    assert scores.deleted == 0


def test_what_a_wall_parts_stays_apart():
    scores = score(*rod(wall=True))
    assert (scores.b_from_a, scores.a_from_b, scores.overlap) == (0, 0, 0)
    assert min(scores.a_from_a, scores.b_from_b) > 0.9


def test_other_objects_stop_a_fill():
    image, (a, b) = rod(wall=False)
    obstacles = np.indices(image.shape)[2] == 20
    for x in range(15, 21):
        b[:, :, x] = False
    scores = score(image, (a, b), obstacles | (np.indices(image.shape)[2] == 19) | (np.indices(image.shape)[2] == 18))
    assert scores.b_from_a == scores.a_from_b == 0


def test_without_a_place_for_a_seed_there_is_no_score():
    image, (a, _) = rod(wall=False)
    corner = np.zeros(image.shape, np.bool_)
    corner[:2, :2, :2] = True
    assert score(image, (a, corner)) == PairScores()


def test_seeds_are_the_deepest_places():
    mask = np.zeros((11, 11, 21), np.bool_)
    mask[3:8, 3:8, 2:9] = mask[1:10, 1:10, 12:21] = True
    assert deepest_place(mask, FIELD, SIZE) == (5, 5, 16)
    assert deepest_place(mask, (11, 11, 21), SIZE) is None
    assert deepest_place(np.zeros_like(mask), FIELD, SIZE) is None


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_sets_of_voxels(seed):
    random = np.random.default_rng(seed)
    masks = random.random((4, 5, 6, 7)) < random.random((4, 1, 1, 1))
    masks[:, 0, 0, 0] = True
    a, b, from_a, from_b = ({tuple(v) for v in np.argwhere(mask)} for mask in masks)
    found = pair_scores((masks[0], masks[1]), (masks[2], masks[3]), 0.25)
    wanted = [len(each & fill) / len(each) for fill in (from_a, from_b) for each in (a, b)]
    assert [found.a_from_a, found.b_from_a, found.a_from_b, found.b_from_b] == pytest.approx(wanted)
    assert found.overlap == pytest.approx(len(from_a & from_b) / len(from_a | from_b))
    assert found.deleted == 0.25
    assert found.recovered == pytest.approx(min(wanted))
