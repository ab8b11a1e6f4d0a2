import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.geometry import Box, Grid
from connectome.kernels.relabel import relabel_pyramid
from connectome.store.mips import pooling_steps, write_levels, write_pooled
from connectome.store.pyramid import chunk_extent, is_admissible, level_box, level_shape, pyramid_factors, shard_shape
from connectome.store.volume import Volume
from tests.naive.downsample import downsample_mean, downsample_mode


def test_thin_sections_become_isotropic():
    factors = pyramid_factors((1000, 10_000, 10_000), (128, 512, 512), (40, 5, 5))
    assert factors[:5] == [(1, 1, 1), (1, 2, 2), (1, 4, 4), (1, 8, 8), (2, 16, 16)]
    assert pyramid_factors((20, 1024, 1024), (128, 128, 128), (45, 4.6, 4.6))[-1] == (2, 16, 16)


@pytest.mark.parametrize(
    ("block", "deepest"),
    [((250, 250, 250), (4, 4, 4)), ((64, 64, 64), (4, 4, 4)), ((50, 70, 90), (2, 2, 2)), ((51, 64, 64), (1, 1, 1))],
)
def test_blocks_bound_the_depth(block, deepest):
    assert pyramid_factors((250, 250, 250), block, (10, 10, 10))[-1] == deepest


@pytest.mark.parametrize(("extent", "chunk"), [(64, 64), (128, 64), (250, 50), (90, 45), (70, 35), (67, 67), (34, 34)])
def test_chunks_divide_the_shard(extent, chunk):
    assert chunk_extent(extent) == chunk


def test_an_axis_of_one_block_has_chunks_of_64():
    assert shard_shape((251, 40, 130), (512, 512, 65), (1, 1, 1)) == ((256, 40, 65), (64, 40, 65))
    assert shard_shape((251, 40, 130), (512, 512, 64), (1, 1, 1), most=32) == ((256, 64, 64), (32, 32, 32))
    assert all(chunk_extent(extent, 32) <= chunk_extent(extent) for extent in range(1, 400))
    assert [chunk_extent(extent, 32) for extent in (128, 70, 148, 125, 127)] == [32, 35, 37, 25, 127]


@given(st.tuples(*[st.integers(1, 300)] * 3), st.tuples(*[st.integers(1, 300)] * 3), st.integers(1, 64))
def test_factors_are_admissible_and_end(shape, block, minimum):
    factors = pyramid_factors(shape, block, (30, 7, 5), minimum)
    assert factors[0] == (1, 1, 1)
    assert all(is_admissible(shape, block, factor) for factor in factors)
    assert len(set(factors)) == len(factors)
    for factor in factors:
        shard, chunk = shard_shape(shape, block, factor)
        assert all(s % c == 0 for s, c in zip(shard, chunk, strict=True))
        for extent, write, f, s in zip(shape, block, factor, shard, strict=True):
            assert s == write // f if write < extent else s >= -(-extent // f)


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_blocks_pool_to_what_the_whole_pools_to(data):
    shape = data.draw(st.tuples(*[st.integers(1, 20)] * 3))
    block = data.draw(st.tuples(*[st.sampled_from([1, 4, 6, 8, 32])] * 3))
    box = Box.of_shape(shape).shift(data.draw(st.sampled_from([(0, 0, 0), (3, 5, 10)])))
    size = data.draw(st.sampled_from([(1, 1, 1), (4, 1, 1)]))
    is_labels = data.draw(st.booleans())
    factors = pyramid_factors(shape, block, size, minimum=1)
    volume = Volume.create(
        "memory://pyramid",
        box=box,
        dtype="uint16",
        voxel_size_nm=size,
        write_shape=block,
        factors=factors,
        delete_existing=True,
    )
    array = np.random.default_rng(0).integers(0, 4, shape).astype(np.uint16)
    grid = Grid(box, block)
    for index in grid.indices():
        part = grid.box_at(index)
        write_levels(volume, part, array[part.relative_to(box.start).slices], is_labels=is_labels)
    pool = downsample_mode if is_labels else downsample_mean
    for level, factor in enumerate(factors):
        if level:
            array = pool(array, [b // a for a, b in zip(factors[level - 1], factor, strict=True)])
        assert array.shape == level_shape(shape, factor)
        assert volume.level_box(level) == level_box(box, factor)
        np.testing.assert_array_equal(volume.read(volume.level_box(level), level), array)


@pytest.mark.parametrize("factors", [[(1, 1, 1), (1, 2, 2), (2, 4, 4)], [(1, 1, 1), (2, 8, 4), (4, 8, 8)], [(1, 1, 1)]])
def test_what_a_stage_pooled_is_what_is_pooled_when_written(factors):
    labels = np.random.default_rng(0).integers(0, 4, (16, 19, 40)).astype(np.uint64)
    box, nothing, volumes = Box.of_shape(labels.shape), np.zeros(0, np.uint64), []
    for name in ("before", "when"):
        volumes.append(
            Volume.create(
                f"memory://{name}",
                box=box,
                dtype="uint64",
                voxel_size_nm=(4, 1, 1),
                write_shape=(8, 16, 16),
                factors=factors,
                delete_existing=True,
            )
        )
    steps = list(itertools.chain.from_iterable(pooling_steps(volumes[0])))
    grid = Grid(box, (8, 16, 16))
    for part in map(grid.box_at, grid.indices()):
        block = labels[part.slices]
        write_pooled(volumes[0], part, relabel_pyramid(block, nothing, nothing, steps))
        write_levels(volumes[1], part, block, is_labels=True)
    for level in range(len(factors)):
        before, when = (volume.read(volume.level_box(level), level, must_exist=True) for volume in volumes)
        np.testing.assert_array_equal(before, when)
