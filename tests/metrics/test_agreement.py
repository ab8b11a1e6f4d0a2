import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import adapted_rand_error, variation_of_information

from connectome.geometry import Box
from connectome.kernels.contingency import add_tables, contingency
from connectome.metrics import agreement
from tests.naive.contingency import contingency as naive_contingency


@st.composite
def labellings(draw, most_labels=6):
    shape = tuple(draw(st.integers(1, 6)) for _ in range(3))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    highest = draw(st.integers(0, most_labels))
    return [random.integers(0, highest + 1, shape).astype(np.uint64) for _ in range(2)] + [random.random(shape) < 0.7]


@given(labellings())
def test_contingency_equals_naive(arrays):
    pairs, counts = contingency(*arrays)
    assert dict(zip(map(tuple, pairs.tolist()), counts.tolist(), strict=True)) == naive_contingency(*arrays)


@given(labellings())
def test_scores_equal_scikit_image(arrays):
    truth, segmentation, _ = arrays
    scores = agreement(*contingency(truth, segmentation))
    if not (truth != 0).any():
        assert scores.n_voxels == 0
        return
    split, merge = variation_of_information(truth, segmentation, ignore_labels=(0,))
    assert (scores.voi_split, scores.voi_merge) == pytest.approx((split, merge), abs=1e-9)
    pairs = np.unique(truth[truth != 0], return_counts=True)[1]
    segments = np.unique(segmentation[truth != 0], return_counts=True)[1]
    if pairs.max() > 1 and segments.max() > 1:  # otherwise scikit-image divides by zero
        error, _, _ = adapted_rand_error(truth, segmentation)
        assert scores.adapted_rand_error == pytest.approx(error, abs=1e-9)


@given(labellings(), st.integers(1, 5))
def test_tables_of_parts_add_up(arrays, cut):
    parts = [contingency(*(a[s] for a in arrays)) for s in (slice(None, cut), slice(cut, None))]
    for got, wanted in zip(add_tables(parts), contingency(*arrays), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("wide", [0, 40, 63])
def test_labels_of_any_width_are_sorted(wide):
    random = np.random.default_rng(wide)
    first, second = random.integers(0, 3, (2, 500)).astype(np.uint64)
    first, second = first << np.uint64(wide), second << np.uint64(min(wide, 62))
    pairs, counts = contingency(first, second)
    assert [tuple(pair) for pair in pairs.tolist()] == sorted(naive_contingency(first, second))
    assert dict(zip(map(tuple, pairs.tolist()), counts.tolist(), strict=True)) == naive_contingency(first, second)


def test_many_pairs_grow_the_table():
    labels = np.arange(1, 5001, dtype=np.uint64)
    pairs, counts = contingency(labels, labels[::-1].copy())
    assert len(pairs) == 5000
    assert (counts == 1).all()


def test_figures_of_the_published_segmentation(real_data):
    with np.load(real_data / "fib25_ts2.npz") as arrays:
        truth, published = arrays["neurons"].astype(np.uint64), arrays["ffn_published"].astype(np.uint64)
    slab = Box((162, 0, 0), (250, 250, 250)).slices
    scores = agreement(*contingency(truth, published, published != 0))
    assert (scores.voi_split, scores.voi_merge) == pytest.approx((0.613, 0.263), abs=5e-4)
    scores = agreement(*contingency(truth[slab], published[slab], published[slab] != 0))
    assert (scores.voi_split, scores.voi_merge) == pytest.approx((0.637, 0.285), abs=5e-4)
