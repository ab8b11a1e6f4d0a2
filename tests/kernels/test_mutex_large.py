"""Volumes above 2^16 voxels: mutexes read off the affinities equal mutexes kept, whole equals blocks.

Batches of weights, parts of them, and clusters with records but without mutexes come up in these.
"""

import random as python_random

import numpy as np
import pytest

from connectome.geometry import Box, Grid
from connectome.kernels.location_noise import hash_mask
from connectome.kernels.mutex_sets import SURE, entries_needed, exclude, is_excluded, record_of, singletons, unite
from connectome.kernels.mutex_tree import MutexChannels
from connectome.kernels.mutex_watershed import checked_channels, mutex_watershed, watershed
from tests.kernels.test_mutex_tree import segment, smooth_volume

OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (-2, 0, 0), (0, -3, 0), (0, 0, -3), (-3, 0, 3), (0, -9, 4))
LEVELS = {"constant": [128], "ends": [0, 255], "ties": [0, 100, 155, 255], "even": [127, 128]}


def all_edges_in_turn(affinities, strides=None, hash_bits=24):
    """Labels by the path that blocks take: every edge in turn, every mutex kept."""
    offsets, pitch = checked_channels(affinities, OFFSETS, 3, strides, hash_bits)
    shape, no_ghosts = affinities.shape[1:], np.zeros(0, np.bool_)
    frame = (True, (0, 0, 0), shape, shape)
    parent, _, _ = watershed(affinities, offsets, 3, pitch, frame, hash_mask(hash_bits), no_ghosts)
    return (np.where(parent >= 0, parent, np.arange(parent.size)) + 1).reshape(shape)


def volume_of_kind(kind, seed, shape):
    random, full = np.random.default_rng(seed), (len(OFFSETS), *shape)
    if kind == "blobs":
        return smooth_volume(seed, shape, OFFSETS)
    if kind == "saturated":
        return np.clip(smooth_volume(seed, shape, OFFSETS).astype(np.int64) * 3 - 255, 0, 255).astype(np.uint8)
    if kind == "noise":
        return random.integers(0, 256, full).astype(np.uint8)
    return random.choice(np.array(LEVELS[kind], np.uint8), full)


@pytest.mark.parametrize("seed", [7, 8, 9])
@pytest.mark.parametrize("kind", ["blobs", "saturated", "noise", *LEVELS])
def test_equals_all_edges_in_turn(kind, seed):
    affinities = volume_of_kind(kind, seed, ((20, 60, 70), (40, 45, 50), (48, 48, 48))[seed - 7])
    hash_bits = 1 if seed == 9 else 24
    strides = [(1, 1, 1)] * 4 + [(1, 2, 2)] * 4 if seed == 9 else None
    found = mutex_watershed(affinities, OFFSETS, strides=strides, hash_bits=hash_bits)
    np.testing.assert_array_equal(found, all_edges_in_turn(affinities, strides, hash_bits))


@pytest.mark.parametrize("kind", ["blobs", "ties"])
def test_equals_blocks(kind):
    shape = (20, 60, 60)
    affinities = volume_of_kind(kind, 8, shape)
    grid = Grid(Box.of_shape(shape), (20, 30, 60))
    blocks = segment(affinities, grid, MutexChannels(OFFSETS), python_random.Random(1))
    np.testing.assert_array_equal(mutex_watershed(affinities, OFFSETS), blocks)


def test_a_join_of_records_without_mutexes_leaves_the_lists_of_others():
    parent, records, entries, table, counters = singletons(6)
    state = (parent, records, entries, table, counters)
    exclude(*state, 0, 1, SURE)
    record_of(parent, records, counters, 2)
    record_of(parent, records, counters, 3)
    unite(*state, 2, 3)
    exclude(*state, 4, 5, SURE)
    exclude(*state, 2, 4, SURE)
    assert entries_needed(parent, records, 0, 4) == 4
    unite(*state, 0, 4)
    assert [is_excluded(parent, table, 0, other) for other in (1, 2, 5)] == [True] * 3
