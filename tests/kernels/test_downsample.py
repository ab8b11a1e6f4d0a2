import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.kernels.downsample import downsample_mean, downsample_mode
from tests.naive import downsample as naive

INTEGERS = ["uint8", "uint16", "uint32", "uint64", "int8", "int64"]


@st.composite
def arrays(draw, dtypes):
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    channels = draw(st.sampled_from([(), (2,)]))
    shape = (*channels, *(draw(st.integers(1, 5)) for _ in range(3)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    if dtype.kind == "f":
        return random.choice([-1.5, 0.25, 3e30, 7.0], size=shape).astype(dtype)
    info = np.iinfo(dtype)
    levels = draw(st.sampled_from([[0, 1, 2], [info.min, info.max, info.max - 1, 0], [0, 5]]))
    return random.choice(np.array(levels, dtype), size=shape)


factors = st.tuples(*[st.sampled_from([1, 2])] * 3)


@settings(deadline=None)
@given(arrays([*INTEGERS, "float32", "float64"]), factors)
def test_mean_is_the_twins(array, factor):
    found = downsample_mean(array, factor)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, naive.downsample_mean(array, factor))


@settings(deadline=None)
@given(arrays(INTEGERS), factors)
def test_mode_is_the_twins(labels, factor):
    found = downsample_mode(labels, factor)
    assert found.dtype == labels.dtype
    np.testing.assert_array_equal(found, naive.downsample_mode(labels, factor))


def test_ties_keep_objects_and_choose_the_smallest():
    labels = np.array([[[0, 9], [9, 0]], [[7, 7], [0, 8]]], np.uint64)
    assert downsample_mode(labels, (1, 2, 2)).ravel().tolist() == [9, 7]
    assert downsample_mode(labels, (2, 2, 2)).ravel().tolist() == [0]


def test_views_are_read_and_not_changed():
    array = np.arange(4 * 6 * 8, dtype=np.uint16).reshape(8, 6, 4).T
    copy = array.copy()
    np.testing.assert_array_equal(downsample_mean(array, (2, 1, 2)), naive.downsample_mean(array, (2, 1, 2)))
    np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("array", "factor", "message"),
    [
        (np.zeros((2, 2, 2), np.uint8), (3, 1, 1), "1 or 2 per axis"),
        (np.zeros((2, 2), np.uint8), (1, 1, 1), "z y x"),
        (np.zeros((2, 2, 2), bool), (1, 1, 1), "got bool"),
        (np.zeros((2, 2, 2), np.float16), (1, 1, 1), "float32"),
    ],
)
def test_what_cannot_be_pooled(array, factor, message):
    with pytest.raises(ValueError, match=message):
        downsample_mean(array, factor)


def test_mode_wants_integers():
    with pytest.raises(ValueError, match="labels are integers"):
        downsample_mode(np.zeros((2, 2, 2), np.float32), (1, 1, 1))
