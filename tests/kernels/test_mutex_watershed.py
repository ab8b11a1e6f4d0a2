"""Mutex watershed of a whole volume equals its plain twin, and mwatershed where no two weights are equal."""

import mwatershed
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.errors import InputError
from connectome.kernels.mutex_small import MOST_MEMBERS
from connectome.kernels.mutex_watershed import mutex_watershed
from tests.naive import mutex_watershed as naive
from tests.strategies import LEVELS

NEAREST = [(-1, 0, 0), (0, -1, 0), (0, 0, -1)]


@st.composite
def offset_lists(draw, reach=3):
    """Offsets with a negative first component, the nearest neighbours in front, and how many attract."""
    component = st.integers(-reach, reach)
    far = draw(st.lists(st.tuples(component, component, component).filter(lambda o: o < (0, 0, 0)), max_size=6))
    offsets = NEAREST + far
    return offsets, draw(st.sampled_from([3, draw(st.integers(0, len(offsets)))]))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_equals_naive(data):
    offsets, n_attractive = data.draw(offset_lists())
    shape = tuple(data.draw(st.integers(1, 6)) for _ in range(3))
    levels = np.array(data.draw(st.sampled_from([*LEVELS, [127, 128]])), np.uint8)
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    affinities = random.choice(levels, size=(len(offsets), *shape))
    strides = data.draw(st.sampled_from([None, random.integers(1, 4, (len(offsets), 3)).tolist()]))
    options = {"strides": strides, "hash_bits": data.draw(st.sampled_from([0, 1, 2, 24]))}
    expected = naive.mutex_watershed(affinities, offsets, n_attractive, **options)
    np.testing.assert_array_equal(mutex_watershed(affinities, offsets, n_attractive, **options), expected)


def same_partition(a, b):
    """Compare up to names; mwatershed gives 0 to voxels that stay alone."""
    b = np.where(b == 0, b.max() + 1 + np.arange(b.size, dtype=np.uint64).reshape(b.shape), b)
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]).astype(np.int64), axis=1)
    return pairs.shape[1] == np.unique(a).size == np.unique(b).size


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), offset_lists())
def test_equals_mwatershed_where_no_two_weights_are_equal(seed, drawn):
    offsets, n_attractive = drawn
    random = np.random.default_rng(seed)
    n = len(offsets) * 27
    weights = np.zeros(n, np.uint8)
    weights[random.permutation(n)[:255]] = random.permutation(255)[: min(n, 255)] + 1
    weights = weights.reshape(len(offsets), 3, 3, 3)
    attracts = (np.arange(len(offsets)) < n_attractive)[:, None, None, None]
    affinities = np.where(attracts, weights, 255 - weights).astype(np.uint8)
    signed = np.where(attracts, affinities, affinities - 255.0)
    expected = mwatershed.agglom(signed, [list(offset) for offset in offsets])
    assert same_partition(mutex_watershed(affinities, offsets, n_attractive), expected)


def test_a_weight_with_very_many_edges_is_taken_in_parts():
    """A level above the batch is split by hash; the twin is the same volume in which nothing is split."""
    random = np.random.default_rng(3)
    offsets = [*NEAREST, (0, -4, 0), (0, 0, -4), (0, -3, 3), (-2, 0, 0)]
    affinities = random.choice(np.array([120, 135], np.uint8), size=(len(offsets), 12, 24, 24), p=[0.3, 0.7])
    expected = naive.mutex_watershed(affinities, offsets)
    np.testing.assert_array_equal(mutex_watershed(affinities, offsets), expected)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("hash_bits", [1, 24])
def test_clusters_that_grow_past_the_size_from_which_mutexes_are_kept(seed, hash_bits):
    """Blobs of tens of voxels between walls: small clusters join small ones, large ones, and large join large."""
    random = np.random.default_rng(seed)
    offsets = [*NEAREST, (0, -3, 0), (0, 0, -3), (-2, 0, 0), (0, -4, 4)]
    shape, size = (8, 16, 16), 2 + seed
    blobs = np.kron(random.integers(0, 9, [-(-n // size) for n in shape]), np.ones((size, size, size), np.int64))
    blobs = blobs[tuple(slice(n) for n in shape)]
    same = np.stack([blobs == np.roll(blobs, [-d for d in offset], (0, 1, 2)) for offset in offsets])
    affinities = np.where(same, 170, 80) + random.integers(-75, 76, same.shape)
    affinities = affinities.astype(np.uint8)
    expected = naive.mutex_watershed(affinities, offsets, hash_bits=hash_bits)
    found = mutex_watershed(affinities, offsets, hash_bits=hash_bits)
    np.testing.assert_array_equal(found, expected)
    assert np.unique(found, return_counts=True)[1].max() > MOST_MEMBERS


def test_input_is_not_changed_and_may_be_strided():
    random = np.random.default_rng(0)
    affinities = random.integers(0, 256, (4, 8, 6, 10), dtype=np.uint8)
    view, offsets = affinities[:, ::2, :, ::2], [*NEAREST, (0, -2, 1)]
    expected = naive.mutex_watershed(view, offsets)
    before = affinities.copy()
    np.testing.assert_array_equal(mutex_watershed(view, offsets), expected)
    np.testing.assert_array_equal(affinities, before)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"affinities": np.zeros((3, 2, 2, 2), np.float32)}, "uint8"),
        ({"offsets": [(-1, 0, 0)]}, "offsets have shape"),
        ({"offsets": [(0, 0, 1), (0, -1, 0), (-1, 0, 0)]}, "must be negative"),
        ({"n_attractive": 4}, "n_attractive is 4"),
        ({"strides": [(1, 1, 0)] * 3}, "at least 1"),
        ({"hash_bits": 25}, "hash_bits 25"),
    ],
)
def test_bad_input_is_refused(change, words):
    arguments = {"affinities": np.zeros((3, 2, 2, 2), np.uint8), "offsets": NEAREST, **change}
    with pytest.raises(InputError, match=words):
        mutex_watershed(**arguments)
