import itertools
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome.kernels import relabel as kernel
from connectome.kernels.relabel import relabel, relabel_pyramid
from tests.naive import downsample as naive_downsample
from tests.naive import relabel as naive

STEPS = list(itertools.product((1, 2), repeat=3))


@st.composite
def names(draw):
    """(old, new, labels to draw from): ids far apart, dense, in clusters, and 0."""
    seed, spread = draw(st.integers(0, 2**32)), draw(st.sampled_from([1, 3, 64, 4096]))
    random = np.random.default_rng(seed)
    old = draw(st.sets(st.integers(0, 2**64 - 1))) | {n * spread for n in draw(st.sets(st.integers(0, 300)))}
    old = np.array(sorted(old), np.uint64)
    new = random.integers(0, 2**64 - 1, old.size, np.uint64)
    if draw(st.booleans()):
        new = random.choice(np.array([0, 3, 7], np.uint64), old.size)
    return old, new, np.concatenate([old, np.array([0, 1, 5, 2**64 - 1], np.uint64)]), random


@given(names())
def test_relabel_equals_naive(drawn):
    old, new, pool, random = drawn
    labels = random.choice(pool, (3, 4, 5))
    wanted = naive.relabel(labels, old, new)
    np.testing.assert_array_equal(relabel(labels, old, new), wanted)
    assert relabel(labels, old, new, in_place=True) is labels
    np.testing.assert_array_equal(labels, wanted)


@given(names(), st.tuples(*[st.integers(1, 9)] * 3), st.lists(st.sampled_from(STEPS), max_size=4), st.booleans())
def test_pyramid_equals_naive(drawn, shape, steps, are_few):
    old, new, pool, random = drawn
    labels = random.choice(pool[-5:] if are_few else pool, shape)
    found = relabel_pyramid(labels, old, new, steps)
    again = relabel_pyramid(labels, old, new, steps, out=[np.full_like(level, 7) for level in found])
    in_place = labels.copy()
    for level, other, third in zip(
        found, again, relabel_pyramid(in_place, old, new, steps, out=[in_place]), strict=True
    ):
        np.testing.assert_array_equal(level, other)
        np.testing.assert_array_equal(level, third)
    wanted = naive.relabel(labels, old, new)
    np.testing.assert_array_equal(found[0], wanted)
    assert len(found) == len(steps) + 1
    for level, step in zip(found[1:], steps, strict=True):
        wanted = naive_downsample.downsample_mode(wanted, step)
        np.testing.assert_array_equal(level, wanted)


def test_slabs_and_strips_are_pooled_as_the_whole():
    labels = np.random.default_rng(0).integers(0, 3, (19, 9, 900)).astype(np.uint64)
    labels = np.concatenate([labels] * 3, axis=1)
    old, new = np.array([1, 2], np.uint64), np.array([9, 4], np.uint64)
    wanted = naive.relabel(labels, old, new)
    steps = [(2, 2, 2)] * 3
    copy = labels.copy()
    in_place = relabel_pyramid(copy, old, new, steps, out=[copy])
    assert in_place[0] is copy
    for level, other in zip(relabel_pyramid(labels, old, new, steps), in_place, strict=True):
        np.testing.assert_array_equal(level, other)
    for level, step in zip(in_place[1:], steps, strict=True):
        wanted = naive_downsample.downsample_mode(wanted, step)
        np.testing.assert_array_equal(level, wanted)


@pytest.mark.parametrize("run", [1, 3, 40])
@pytest.mark.parametrize("spread", [1, 7, 5000])
def test_short_and_long_runs_of_near_and_far_labels(run, spread):
    random = np.random.default_rng(run)
    old = np.unique(random.integers(0, 900, 500)).astype(np.uint64) * np.uint64(spread) + np.uint64(64)
    new = random.integers(0, 2**64 - 1, old.size, np.uint64)
    pool = np.concatenate([old, np.array([0, 63, 65, 10**9, 2**64 - 1], np.uint64)])
    labels = np.repeat(random.choice(pool, 6000 // run), run)[:4800].reshape(10, 12, -1)
    wanted = naive.relabel(labels, old, new)
    np.testing.assert_array_equal(relabel(labels, old, new), wanted)
    with patch.object(kernel, "STRIP", 100):
        np.testing.assert_array_equal(relabel(labels, old, new, in_place=True), wanted)


def test_only_what_lies_in_order_is_renamed_in_place():
    labels, old = np.arange(24, dtype=np.uint64).reshape(2, 3, 4), np.arange(3, dtype=np.uint64)
    with pytest.raises(ValueError, match="in C order"):
        relabel(labels.T, old, old, in_place=True)


def test_views_are_read():
    labels = np.arange(4 * 6 * 8, dtype=np.uint64).reshape(8, 6, 4).T
    old = np.arange(100, dtype=np.uint64)
    found = relabel_pyramid(labels, old, old[::-1].copy(), [(1, 2, 2)])
    np.testing.assert_array_equal(found[0], naive.relabel(labels, old, old[::-1]))


@pytest.mark.parametrize(
    ("labels", "factors", "message"),
    [
        (np.zeros((2, 2), np.uint64), [], "z y x"),
        (np.zeros((2, 2, 2), np.uint32), [], "got uint32"),
        (np.zeros((2, 2, 2), np.uint64), [(4, 1, 1)], "1 or 2 per axis"),
    ],
)
def test_what_is_no_block_of_labels(labels, factors, message):
    none = np.zeros(0, np.uint64)
    with pytest.raises(ValueError, match=message):
        relabel_pyramid(labels, none, none, factors)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros((2, 2, 3), np.uint64), r"level 1 of out is uint64 \(2, 2, 3\) in C order, wanted uint64 \(2, 2, 2\)"),
        (np.zeros((2, 2, 2), np.int64), "is int64"),
        (np.zeros((2, 2, 2), np.uint64).T, "in another order"),
    ],
)
def test_memory_for_a_level_that_does_not_fit(out, message):
    labels, none = np.zeros((4, 4, 4), np.uint64), np.zeros(0, np.uint64)
    with pytest.raises(ValueError, match=message):
        relabel_pyramid(labels, none, none, [(2, 2, 2)], out=[labels, out])
