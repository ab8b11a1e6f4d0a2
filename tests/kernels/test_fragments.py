from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.geometry import Box
from connectome.kernels.choices import CHOOSES, TIE, break_few_ties, break_ties, count_ties
from connectome.kernels.distance_fragments import DistanceParameters, distance_heights, fragments_by_distance
from connectome.kernels.flags import row_of_flags
from connectome.kernels.fragments import AFFINITY_HALO, fragments_by_affinity
from connectome.kernels.location_noise import hash_mask, location_hashes
from tests.naive import fragments as naive
from tests.naive.location_noise import location_hash
from tests.strategies import affinity_volumes, boxes_in, crop

HASH_BITS = st.sampled_from([0, 1, 2, 24])


@given(st.lists(st.integers(0, 2**52), min_size=1), st.integers(0, 2), HASH_BITS)
def test_location_hash_equals_naive(indices, axis, bits):
    hashes = location_hashes(np.array(indices, np.int64), axis, bits)
    assert hashes.tolist() == [location_hash(index, axis, bits) for index in indices]


@given(st.integers(0, 2**32), st.integers(1, 150), HASH_BITS)
def test_few_ties_fall_as_many_do(seed, n, bits):
    random = np.random.default_rng(seed)
    candidates = random.integers(1, 64, n)
    is_tied = (candidates & (candidates - 1) != 0) & random.integers(0, 2, n, dtype=bool)
    row = (candidates | is_tied * TIE | random.integers(0, 2, n) * CHOOSES).astype(np.uint8)
    offsets, axes, index = random.integers(-300, 300, 6), random.integers(0, 3, 6), int(random.integers(1 << 40))
    hashes = [
        location_hashes(index + np.arange(n) + offset, axis, bits).astype(np.int32)
        for offset, axis in zip(offsets, axes, strict=True)
    ]
    many, few, (flags, words) = row.copy(), row.copy(), row_of_flags(n)
    break_ties(many, *hashes)
    break_few_ties(few, flags, words, np.empty(n, np.int32), index, offsets, axes, hash_mask(bits))
    assert few.tolist() == many.tolist()
    assert count_ties(row) == np.count_nonzero(is_tied)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_affinity_flavour_equals_naive(data):
    affinities, domain = data.draw(affinity_volumes(5))
    write_box = data.draw(boxes_in(domain))
    read_box = naive.grown(write_box, AFFINITY_HALO, domain)
    options = {
        "low": data.draw(st.sampled_from([0, 20])),
        "high": data.draw(st.sampled_from([5, 200, 256])),
        "hash_bits": data.draw(HASH_BITS),
    }
    arguments = (crop(affinities, domain, read_box), read_box, write_box, domain)
    expected = naive.fragments_by_affinity(*arguments, **options)
    for got, wanted in zip(fragments_by_affinity(*arguments, **options), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


@st.composite
def distance_parameters(draw):
    return DistanceParameters(
        boundary_sum=draw(st.sampled_from([1, 300, 459, 760])),
        voxel_size=draw(st.sampled_from([(1, 1, 1), (10, 10, 10), (3, 1, 2), (330, 70, 70)])),
        cap=draw(st.sampled_from([1, 3, 25, 2000])),
        n_smoothing=draw(st.integers(0, 2)),
        per_section=draw(st.booleans()),
        hash_bits=draw(HASH_BITS),
    )


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_distance_flavour_equals_naive(data):
    affinities, domain = data.draw(affinity_volumes(5))
    parameters = data.draw(distance_parameters())
    write_box = data.draw(boxes_in(domain))
    read_box = naive.grown(write_box, parameters.halo, domain)
    arguments = (crop(affinities, domain, read_box), read_box, write_box, domain, parameters)
    expected = naive.fragments_by_distance(*arguments)
    for got, wanted in zip(fragments_by_distance(*arguments), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_long_rows_equal_naive(data):
    """Rows longer than a vector register, and than eight of its bytes, take other paths than short ones."""
    affinities, domain = data.draw(affinity_volumes(2, st.integers(60, 150)))
    start = data.draw(st.integers(0, 40))
    write_box = Box((*domain.start[:2], domain.start[2] + start), domain.stop)
    parameters = data.draw(distance_parameters())
    for halo, run, run_naive in (
        (
            AFFINITY_HALO,
            partial(fragments_by_affinity, low=20, high=200),
            partial(naive.fragments_by_affinity, low=20, high=200),
        ),
        (
            parameters.halo,
            partial(fragments_by_distance, parameters=parameters),
            partial(naive.fragments_by_distance, parameters=parameters),
        ),
    ):
        read_box = naive.grown(write_box, halo, domain)
        arguments = (crop(affinities, domain, read_box), read_box, write_box, domain)
        for got, wanted in zip(run(*arguments), run_naive(*arguments), strict=True):
            np.testing.assert_array_equal(got, wanted)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_heights_equal_naive(data):
    affinities, domain = data.draw(affinity_volumes(5, st.integers(1, 80)))
    parameters = data.draw(distance_parameters())
    arguments = (affinities, domain, domain, parameters)
    np.testing.assert_array_equal(distance_heights(*arguments), naive.distance_heights(*arguments))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_pieces_of_blocks_depend_on_the_volume_alone(data):
    """The pieces seen in a block are the components, inside it, of the links of the whole volume."""
    affinities, domain = data.draw(affinity_volumes(6))
    parameters = data.draw(distance_parameters())
    write_box = data.draw(boxes_in(domain))
    for halo, run in (
        (AFFINITY_HALO, lambda *a: fragments_by_affinity(*a, low=20, high=256)),
        (parameters.halo, lambda *a: fragments_by_distance(*a, parameters)),
    ):
        read_box = naive.grown(write_box, halo, domain)
        small = run(crop(affinities, domain, read_box), read_box, write_box, domain)
        large = run(affinities, domain, write_box, domain)
        for got, wanted in zip(small, large, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_heights_are_distances_in_sixteenths():
    affinities = np.full((3, 1, 1, 9), 255, np.uint8)
    affinities[:, 0, 0, 4] = 0
    box = Box.of_shape((1, 1, 9))
    heights = distance_heights(affinities, box, box, DistanceParameters(300, (10, 10, 10), 30, 0))
    assert heights.ravel().tolist() == [480, 480, 320, 160, 0, 160, 320, 480, 480]


@pytest.mark.parametrize(("low", "high"), [(-1, 256), (256, 256), (0, 257), (0, -1)])
def test_thresholds_out_of_range_are_refused(low, high):
    box = Box.of_shape((1, 1, 2))
    with pytest.raises(ValueError, match="low must be 0-255 and high 0-256"):
        fragments_by_affinity(np.zeros((3, 1, 1, 2), np.uint8), box, box, box, low=low, high=high)
