"""The phantom's kernels against their plain twins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.kernels import phantom_noise
from connectome.kernels.phantom import own_voxels
from connectome.kernels.phantom_image import expose, paint
from connectome.kernels.phantom_noise import as_seed, smooth_noise
from connectome.kernels.phantom_rods import count_lanes
from connectome.kernels.phantom_skeleton import (
    LONGEST_NM,
    MITOCHONDRION,
    REACH_NM,
    _lane_segments,
    neurite_segments,
    seed_rotation,
)
from tests.naive import phantom as naive

SEEDS = st.integers(0, 2**64 - 1)
PLACES = st.integers(-(2**40), 2**40)
SIZES = st.sampled_from([4.0, 8.0, 10.0, 16.0, 40.0])
few = settings(max_examples=12, deadline=None, derandomize=True)


@st.composite
def crops(draw, most=5):
    start = draw(st.tuples(*[st.integers(-500, 500)] * 3))
    shape = draw(st.tuples(*[st.integers(1, most)] * 3))
    return start, shape, draw(st.tuples(SIZES, SIZES, SIZES))


@settings(deadline=None, derandomize=True)
@given(seed=SEEDS, kind=st.integers(0, 6000), place=st.tuples(PLACES, PLACES, PLACES))
def test_hash4(seed, kind, place):
    bits = naive.hash4(seed, kind, *place)
    assert int(phantom_noise.hash4(np.uint64(seed), kind, *place)) == bits
    assert phantom_noise.uniform(np.uint64(bits)) == naive.uniform(bits)


def test_hash4_is_even_and_tells_neighbours_apart():
    bits = np.array([naive.hash4(3, 1, a, b, c) for a in range(-8, 8) for b in range(16) for c in range(16)], np.uint64)
    assert len(np.unique(bits)) == len(bits)
    set_bits = (bits[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert np.abs(set_bits.mean(axis=0) - 0.5).max() < 0.04


@few
@given(crop=crops(), pitch=st.sampled_from([7.5, 32.0, 130.0]), seed=SEEDS)
def test_smooth_noise(crop, pitch, seed):
    fast = smooth_noise(*crop, pitch, seed, 5)
    np.testing.assert_allclose(fast, naive.smooth_noise(*crop, pitch, seed, 5), atol=1e-6)


def test_smooth_noise_refuses_no_pitch():
    with pytest.raises(ValueError, match="above 0 nm"):
        smooth_noise((0, 0, 0), (1, 1, 1), (10, 10, 10), 0.0, 1, 1)


@few
@given(seed=SEEDS, axis=st.integers(0, 2), i=st.integers(-9, 9), j=st.integers(-9, 9), data=st.data())
def test_lane_segments(seed, axis, i, j, data):
    rod = naive.rod_of(seed, axis, i, j)
    lane = data.draw(st.integers(0, count_lanes(np.uint64(rod)) - 1))
    first = data.draw(st.integers(-40, 40))
    segments, owners, kinds = np.empty((99, 8)), np.empty(99, np.uint64), np.empty(99, np.int8)
    everywhere = np.full(3, 1e9)
    n = _lane_segments(
        -everywhere, everywhere, as_seed(seed), seed_rotation(as_seed(seed)), axis, i, j, np.uint64(rod), lane,
        first, first + 24, segments, owners, kinds, 0,
    )  # fmt: skip
    wanted = [
        row
        for row in naive.lane_segments(seed, axis, i, j, lane, first, first + 24)
        if row[3] == MITOCHONDRION or np.linalg.norm(row[0][:3] - row[1][:3]) <= LONGEST_NM
    ]
    np.testing.assert_allclose(segments[:n], [np.append(*row[:2]) for row in wanted], atol=0.02)
    assert [int(owner) for owner in owners[:n]] == [row[2] for row in wanted]
    assert list(kinds[:n]) == [row[3] for row in wanted]


def test_branches_join_their_dendrites():
    segments, owners, kinds = neurite_segments(np.zeros(3), np.full(3, 2000.0), 4)
    lengths = np.linalg.norm(segments[:, 4:7] - segments[:, :3], axis=1)
    is_connector = (segments[:, 3] == segments[:, 7]) & (lengths > 250) & (kinds != MITOCHONDRION)
    inside = (np.abs(segments[:, 4:7] - 1000) < 1500).all(axis=1)  # so that the dendrite is listed, too
    connectors = np.flatnonzero(is_connector & inside)
    assert len(connectors) > 5
    for n in connectors:
        ends = segments[owners == owners[n]][:, :3]
        assert (np.abs(ends - segments[n, 4:7]).max(axis=1) < 1e-6).any()


@few
@given(
    seed=st.integers(0, 3),
    low=st.tuples(*[st.integers(-20_000, 20_000)] * 3),
    size=st.tuples(*[st.integers(10, 1500)] * 3),
    data=st.data(),
)
def test_segments_of_a_part_are_those_of_the_whole_that_reach_it(seed, low, size, data):
    low, high = np.array(low, float), np.add(low, size).astype(float)
    inner_low = low + [data.draw(st.integers(0, n - 1)) for n in size]
    inner_high = np.minimum(high, inner_low + 10)
    whole, part = neurite_segments(low, high, seed), neurite_segments(inner_low, inner_high, seed)
    least = np.minimum(whole[0][:, :3], whole[0][:, 4:7])
    most = np.maximum(whole[0][:, :3], whole[0][:, 4:7])
    neurites = whole[2] != MITOCHONDRION
    reaches = ((most >= inner_low - REACH_NM) & (least <= inner_high + REACH_NM)).all(axis=1)
    here = part[2] != MITOCHONDRION
    np.testing.assert_array_equal(part[0][here], whole[0][reaches & neurites])
    np.testing.assert_array_equal(part[1][here], whole[1][reaches & neurites])


@few
@given(crop=crops(4), seed=st.integers(0, 9))
def test_own_voxels(crop, seed):
    start, shape, spacing = crop
    random = np.random.default_rng(seed)
    wobble = random.uniform(-60, 60, (3, *shape)).astype(np.float32)
    middle = np.multiply(start, spacing)
    n = 40
    segments = np.concatenate([middle, [30.0], middle, [30.0]]) + random.uniform(-300, 300, (n, 8)) * [
        1, 1, 1, 0.1, 1, 1, 1, 0.1
    ]  # fmt: skip
    owners = random.integers(1, 12, n).astype(np.uint64)
    kinds = (random.random(n) < 0.2).astype(np.int8)
    segments[kinds == 1, 7] = segments[kinds == 1, 3]
    fast = own_voxels(start, spacing, wobble, segments, owners, kinds)
    slow = naive.own_voxels(start, spacing, wobble, segments, owners, kinds)
    np.testing.assert_array_equal(fast[0], slow[0])
    for one, other in zip(fast[1:], slow[1:], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3, rtol=1e-4)


def test_culling_loses_nothing():
    """Large volumes use culled lists: sampled voxels must get what they get alone."""
    start, shape, spacing = (-40, 7, 100), (70, 75, 66), (10.0, 10.0, 10.0)
    segments, owners, kinds = neurite_segments(np.multiply(start, 10.0) - 200, np.add(start, shape) * 10.0 + 200, 2)
    wobble = 60 * np.stack([smooth_noise(start, shape, spacing, 90.0, 2, k) for k in range(3)])
    whole = own_voxels(start, spacing, wobble, segments, owners, kinds)
    random = np.random.default_rng(0)
    for voxel in random.integers(0, shape, (60, 3)):
        place = tuple(slice(a, a + 1) for a in voxel)
        alone = own_voxels(np.add(start, voxel), spacing, wobble[(slice(None), *place)], segments, owners, kinds)
        for one, other in zip(whole, alone, strict=True):
            np.testing.assert_array_equal(one[place], other)


def test_own_voxels_refuses_a_wobble_without_axes():
    with pytest.raises(ValueError, match=r"wanted \(3, z, y, x\)"):
        own_voxels((0, 0, 0), (10, 10, 10), np.zeros((2, 4, 4, 4), np.float32), *neurite_segments(*np.zeros((2, 3)), 0))


@few
@given(crop=crops(), seed=SEEDS)
def test_paint(crop, seed):
    start, shape, spacing = crop
    random = np.random.default_rng(seed)
    truth = random.integers(1, 2**62, shape, dtype=np.uint64)
    margin, smear, depth = (random.uniform(0, 60, shape).astype(np.float32) for _ in range(3))
    textures = tuple(random.uniform(-1, 1, shape).astype(np.float32) for _ in range(4))
    given_all = (start, spacing, seed, 0.9, truth, margin, smear, depth - 40, textures)
    np.testing.assert_allclose(paint(*given_all), naive.paint(*given_all), atol=1e-3)


@few
@given(crop=crops(), seed=SEEDS)
def test_expose(crop, seed):
    start, shape, _ = crop
    scene = np.random.default_rng(seed).uniform(-20, 280, np.add(shape, 2)).astype(np.float32)
    fast, slow = expose(start, seed, 16.0, 5.0, scene), naive.expose(start, seed, 16.0, 5.0, scene)
    assert fast.shape == shape
    assert np.abs(fast.astype(int) - slow).max() <= 1  # sums in another order may round otherwise
