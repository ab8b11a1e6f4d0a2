"""Connected pieces, and the consensus of two segmentations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from connectome.geometry import Box
from connectome.kernels.components import connected_pieces, consensus
from tests.naive import components as naive

shapes = array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)
ids = st.sampled_from([0, 1, 2, 2**32 - 1, 2**63 + 5])


@given(shapes.flatmap(lambda shape: arrays(np.uint64, shape, elements=ids)), st.tuples(*[st.integers(0, 3)] * 6))
def test_pieces_equal_their_plain_twin(labels, margins):
    start, beyond = margins[:3], margins[3:]
    box = Box.of_shape(labels.shape).shift(start)
    domain = Box((0, 0, 0), tuple(a + b for a, b in zip(box.stop, beyond, strict=True)))
    np.testing.assert_array_equal(connected_pieces(labels, box, domain), naive.connected_pieces(labels, box, domain))


two = shapes.flatmap(lambda shape: st.tuples(*[arrays(np.uint64, shape, elements=ids)] * 2))


@given(two)
def test_consensus_equals_its_plain_twin(pair):
    np.testing.assert_array_equal(consensus(*pair), naive.consensus(*pair))


@given(two)
def test_consensus_has_no_order_and_nothing_is_added_by_agreement(pair):
    first, second = pair
    joint = consensus(first, second)
    np.testing.assert_array_equal(joint, consensus(second, first))
    np.testing.assert_array_equal(joint, consensus(joint, joint))
    np.testing.assert_array_equal(joint > 0, (first > 0) & (second > 0))


def test_a_merge_of_one_segmentation_is_undone_by_the_other():
    truth = np.ones((4, 4, 8), np.uint64)
    truth[:, :, 4:] = 2
    merged, split = np.ones_like(truth), truth.copy()
    split[2:, :, 4:] = 3
    joint = consensus(merged, split)
    assert len(np.unique(joint)) == 3
    assert not set(np.unique(joint[:, :, :4])) & set(np.unique(joint[:, :, 4:]))


def test_shapes_must_be_equal():
    with pytest.raises(ValueError, match="shapes must be equal"):
        consensus(np.zeros((2, 2, 2), np.uint64), np.zeros((2, 2, 3), np.uint64))
