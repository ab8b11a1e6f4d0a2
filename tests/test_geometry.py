import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome import ids
from connectome.geometry import Box, Grid, Halo

TRIPLES = st.tuples(*[st.integers(1, 9)] * 3)


@given(TRIPLES, TRIPLES, st.tuples(*[st.integers(-5, 5)] * 3))
def test_blocks_tile_the_box(shape, block, offset):
    box = Box.of_shape(shape).shift(offset)
    grid = Grid(box, block)
    indices = list(grid.indices())
    assert len(indices) == len(set(indices)) == len(grid)
    assert sorted(grid.number(index) for index in indices) == list(range(len(grid)))
    voxels = [v for i in indices for v in itertools.product(*map(range, grid.box_at(i).start, grid.box_at(i).stop))]
    assert len(voxels) == len(set(voxels)) == box.n_voxels


@given(TRIPLES, TRIPLES, st.data())
def test_covering_finds_the_blocks_that_meet_a_box(shape, block, data):
    grid = Grid(Box.of_shape(shape).shift((2, 0, 7)), block)
    start = tuple(data.draw(st.integers(-2, 12)) for _ in range(3))
    box = Box(start, tuple(a + data.draw(st.integers(0, 6)) for a in start))
    found = grid.covering(box)
    meeting = {i for i in grid.indices() if not grid.box_at(i).intersect(box).is_empty}
    assert set(itertools.product(*map(range, found.start, found.stop))) == meeting


def test_morton_order_finishes_octants():
    order = list(Grid(Box.of_shape((4, 4, 4)), (1, 1, 1)).indices())
    assert {tuple(i // 2 for i in index) for index in order[:8]} == {(0, 0, 0)}


def test_box_operations():
    box = Box((1, 2, 3), (4, 6, 8))
    assert (box.shape, box.n_voxels, str(box)) == ((3, 4, 5), 60, "1:4,2:6,3:8")
    assert Box.parse("1:4,2:6,3:8") == box
    assert box.grow(Halo((1, 0, 0), (0, 2, 0))) == Box((0, 2, 3), (4, 8, 8))
    assert box.intersect(Box((9, 9, 9), (10, 10, 10))).is_empty
    assert box.contains(Box((1, 2, 3), (2, 3, 4)))


@pytest.mark.parametrize("text", ["1:2,3:4", "1:2,3:4,x:5", "2:1,0:1,0:1", ""])
def test_a_bad_box_is_refused(text):
    with pytest.raises(ValueError, match="box"):
        Box.parse(text)


@given(st.tuples(*[st.integers(1, 10**5)] * 3), st.data())
def test_ids_decode_to_their_voxel(shape, data):
    voxel = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    assert ids.voxel_of_id(ids.id_of_voxel(voxel, shape), shape) == voxel
