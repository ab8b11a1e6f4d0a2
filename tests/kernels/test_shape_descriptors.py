import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.kernels.shape_descriptors import descriptor_margin, shape_descriptors
from tests.naive.shape_descriptors import shape_descriptors as naive_shape_descriptors


def blobs(shape, seed, n_labels=3):
    """Labels of a few voxels' extent, ids far apart, with some background."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, n_labels + 1, [-(-n // 2) for n in shape])
    return (coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2)[tuple(slice(n) for n in shape)] * 10**12).astype(np.int64)


@given(
    st.integers(0, 2**20),
    st.tuples(*[st.floats(0.5, 1.6)] * 3),
    st.tuples(*[st.integers(1, 2)] * 3),
    st.tuples(*[st.integers(1, 4)] * 3),
)
@settings(max_examples=25, deadline=None)
def test_equals_the_plain_twin(seed, sigma, step, inner):
    margin = descriptor_margin(sigma, step)
    labels = blobs([n + 2 * m for n, m in zip(inner, margin, strict=True)], seed)
    found = shape_descriptors(labels, sigma, step)
    np.testing.assert_allclose(found, naive_shape_descriptors(labels, sigma, step), atol=2e-6)


@pytest.mark.parametrize("step", [(1, 1, 1), (1, 2, 2)])
def test_a_part_equals_the_whole(step):
    sigma = (1.0, 2.0, 1.5)
    m_z, m_y, m_x = descriptor_margin(sigma, step)
    labels = blobs((8 + 2 * m_z, 8 + 2 * m_y, 10 + 2 * m_x), 5)
    whole = shape_descriptors(labels, sigma, step)
    part = shape_descriptors(np.ascontiguousarray(labels[2 : 6 + 2 * m_z, 4:, 2 : 8 + 2 * m_x]), sigma, step)
    np.testing.assert_array_equal(part, whole[:, 2:6, 4:, 2:8])


def test_inside_a_large_object_everything_is_even():
    values = shape_descriptors(np.ones((13, 13, 13), np.uint64), (2.0, 2.0, 2.0))
    assert values.shape == (10, 1, 1, 1)
    np.testing.assert_allclose(values[[0, 1, 2, 6, 7, 8], 0, 0, 0], 0.5)
    np.testing.assert_allclose(values[3:6, 0, 0, 0], 0.97, atol=0.02)
    assert values[9] == 1


def test_the_offset_points_to_the_middle_of_the_object():
    labels = np.zeros((14, 14, 14), np.int32)
    labels[:, :, 7:] = 4
    values = shape_descriptors(labels, (2.0, 2.0, 2.0))
    assert (values[:, :, :, 0] == 0).all()
    assert (values[2, :, :, 1] > 0.7).all()
    np.testing.assert_allclose(values[9, :, :, 1], 0.6, atol=0.02)


def test_refuses_what_it_cannot_sum_exactly():
    with pytest.raises(ValueError, match="raise the step"):
        shape_descriptors(np.ones((400, 400, 400), np.uint8), (60.0, 60.0, 60.0))
    with pytest.raises(ValueError, match="larger box"):
        shape_descriptors(np.ones((4, 4, 4), np.uint8), (2.0, 2.0, 2.0))
