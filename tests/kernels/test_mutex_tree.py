"""Block-wise mutex watershed equals the whole: any blocks, any tree, any order, heavy ties."""

import random as python_random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.geometry import Box, Grid
from connectome.kernels import mutex_tree
from connectome.kernels.merge_tree import apply_names
from connectome.kernels.mutex_tree import MutexChannels, expand_mutex_names, mutex_block, reduce_mutexes
from connectome.kernels.mutex_watershed import mutex_watershed
from tests.kernels.test_mutex_watershed import offset_lists
from tests.naive import mutex_watershed as naive
from tests.strategies import LEVELS, crop


def halves_of(part, order):
    """Cut a box of grid positions in two at a random place, in random order."""
    axis = order.choice([k for k in range(3) if part.shape[k] > 1])
    cut = order.randrange(part.start[axis] + 1, part.stop[axis])
    low = Box(part.start, tuple(cut if k == axis else c for k, c in enumerate(part.stop)))
    high = Box(tuple(cut if k == axis else c for k, c in enumerate(part.start)), part.stop)
    return order.sample([low, high], 2)


def segment(affinities, grid, channels, order):
    """Segment block by block, reduce along a random tree over the grid, expand; returns labels."""
    domain = grid.box
    labels = np.zeros(domain.shape, np.uint64)

    def reduce(part):
        if part.n_voxels == 1:
            box = grid.box_at(part.start)
            read_box = box.grow(channels.halo).intersect(domain)
            return box, *mutex_block(crop(affinities, domain, read_box), read_box, box, domain, channels)
        children = [reduce(half) for half in halves_of(part, order)]
        box = Box(
            tuple(map(min, zip(*[child[0].start for child in children], strict=True))),
            tuple(map(max, zip(*[child[0].stop for child in children], strict=True))),
        )
        node = reduce_mutexes(box, [(child[0], child[2]) for child in children], domain, channels)
        return box, (node.names, children), node.graph

    def expand(child, above):
        box, inside, _ = child
        if isinstance(inside, np.ndarray):
            labels[box.relative_to(domain.start).slices] = apply_names(above, inside)
            return
        names = expand_mutex_names(inside[0], above)
        for grandchild in inside[1]:
            expand(grandchild, names)

    root = reduce(Box.of_shape(grid.shape))
    expand(root, {"old": np.zeros(0, np.uint64), "new": np.zeros(0, np.uint64)})
    for table in (root[2].clusters, root[2].edges, root[2].mutexes, root[2].voxels):
        assert all(column.size == 0 for column in table.values())
    return labels


@st.composite
def volumes(draw, most=7):
    """(affinities, domain, channels) with few levels, at some offset."""
    offsets, n_attractive = draw(offset_lists())
    shape = tuple(draw(st.integers(1, most)) for _ in range(3))
    levels = np.array(draw(st.sampled_from([*LEVELS, [127, 128], [0, 100, 155]])), np.uint8)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    affinities = random.choice(levels, size=(len(offsets), *shape))
    strides = draw(st.sampled_from([None, tuple(map(tuple, random.integers(1, 4, (len(offsets), 3)).tolist()))]))
    channels = MutexChannels(tuple(offsets), n_attractive, strides, draw(st.sampled_from([0, 1, 2, 24])))
    return affinities, Box.of_shape(shape).shift(draw(st.sampled_from([(0, 0, 0), (3, 1, 20)]))), channels


@settings(max_examples=300, deadline=None)
@given(volumes(), st.tuples(*[st.integers(1, 8)] * 3), st.integers(0, 99))
def test_blocks_equal_whole(volume, block_shape, seed):
    affinities, domain, channels = volume
    expected = naive.mutex_watershed(
        affinities, channels.offsets, channels.n_attractive, strides=channels.strides, hash_bits=channels.hash_bits
    )
    got = segment(affinities, Grid(domain, block_shape), channels, python_random.Random(seed))
    np.testing.assert_array_equal(got, expected)


def smooth_volume(seed, shape, offsets):
    """Affinities of a few blobs with noise: clusters that span many blocks."""
    random = np.random.default_rng(seed)
    seeds, names = random.integers(0, shape, (6, 3)), random.integers(0, 4, 6)
    place = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    cells = names[((place[..., None, :] - seeds) ** 2).sum(axis=-1).argmin(axis=-1)]
    affinities = np.zeros((len(offsets), *shape), np.uint8)
    for channel, offset in enumerate(offsets):
        same = cells == np.roll(cells, tuple(-d for d in offset), axis=(0, 1, 2))
        affinities[channel] = np.clip(random.normal(np.where(same, 200, 60), 40), 0, 255)
    return affinities


def test_blocks_equal_whole_on_blobs():
    offsets = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, -3, 0), (0, 0, -3), (-2, 0, 0), (0, -3, 3))
    for seed in range(8):
        shape = (8, 20, 24)
        affinities, domain = smooth_volume(seed, shape, offsets), Box.of_shape(shape)
        expected = mutex_watershed(affinities, offsets)
        for block_shape in ((8, 7, 9), (3, 20, 5)):
            order = python_random.Random(seed)
            got = segment(affinities, Grid(domain, block_shape), MutexChannels(offsets), order)
            np.testing.assert_array_equal(got, expected)


def test_without_deferral_blocks_would_not_equal_whole(monkeypatch):
    """The control: the comparison above can fail."""
    original = mutex_tree._sweep

    def rash(n, owner, is_open, *rest):
        return original(n, owner, np.zeros_like(is_open), *rest)

    offsets = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, -2, 0), (0, 0, -2))
    differ = 0
    for seed in range(60):
        affinities = np.random.default_rng(seed).choice(np.array([10, 128, 250], np.uint8), (5, 5, 5, 5))
        monkeypatch.setattr(mutex_tree, "_sweep", rash)
        try:
            grid = Grid(Box.of_shape((5, 5, 5)), (2, 3, 2))
            got = segment(affinities, grid, MutexChannels(offsets), python_random.Random(seed))
            differ += not np.array_equal(got, mutex_watershed(affinities, offsets))
        except (RuntimeError, AssertionError):
            differ += 1
    assert differ > 20
