"""What may be compared with truth, and what is refused."""

import numpy as np
import pytest

from connectome.errors import InputError
from connectome.runtime.evaluation import evaluate


@pytest.fixture
def saved(tmp_path):
    def save(name, array):
        np.save(tmp_path / name, array)
        return str(tmp_path / name)

    return save


def cubes(dtype):
    z, y, x = np.ogrid[:24, :24, :24]
    return (1 + z // 8 + 3 * (y // 8) + 9 * (x // 8)).astype(dtype)


def test_an_image_is_no_truth(saved):
    image = np.random.default_rng(1).normal(120, 30, (24, 24, 24)).clip(0, 255).astype(np.uint8)
    labels = saved("labels.npy", cubes(np.uint32))
    with pytest.raises(InputError, match=r"truth .*image\.npy looks like an image: 9\d%"):
        evaluate(labels, saved("image.npy", image))
    with pytest.raises(InputError, match=r"segmentation .*image\.npy looks like an image"):
        evaluate(saved("image.npy", image), labels)


def test_eight_bits_are_enough_for_labels(saved):
    truth = saved("truth.npy", cubes(np.uint8))
    assert evaluate(saved("labels.npy", cubes(np.uint64)), truth).voi == 0


def test_shapes_must_be_equal(saved):
    labels, part = saved("labels.npy", cubes(np.uint32)), saved("part.npy", cubes(np.uint32)[1:])
    with pytest.raises(InputError, match="give volumes of one shape"):
        evaluate(labels, part)


def test_truth_or_mask_of_zeros_is_no_perfect_score(saved):
    labels, nothing = saved("labels.npy", cubes(np.uint32)), saved("nothing.npy", np.zeros((24, 24, 24), np.uint32))
    with pytest.raises(InputError, match=r"no voxel counts: the truth .*nothing\.npy is 0 in all of"):
        evaluate(labels, nothing)
    with pytest.raises(InputError, match=r"or the mask .*nothing\.npy is 0"):
        evaluate(labels, labels, mask_url=nothing)


def test_negative_labels_and_truth_of_yes_and_no_are_refused(saved):
    labels, signed = saved("labels.npy", cubes(np.uint32)), cubes(np.int32)
    signed[0, 0, 0] = -1
    with pytest.raises(InputError, match=r"the truth holds the label -1, .* write 0 for it"):
        evaluate(labels, saved("signed.npy", signed))
    with pytest.raises(InputError, match=r"truth .*bool\.npy holds bool, wanted are labels"):
        evaluate(labels, saved("bool.npy", cubes(np.uint32) > 9))
    assert evaluate(labels, labels, mask_url=saved("bool.npy", cubes(np.uint32) > 9)).voi == 0
