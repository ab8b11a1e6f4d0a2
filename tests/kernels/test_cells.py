"""Cells: what the octree over blocks makes of them is what their plain definition says, whatever the blocks."""

import random as python_random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.geometry import Box, Grid
from connectome.kernels import merge_tree
from connectome.kernels.fragments import AFFINITY_HALO, fragments_by_affinity
from connectome.kernels.linkage import SCORE_ONE, Linkage
from connectome.stages.edges import with_all_columns
from connectome.workflow.tree import Tree
from tests.kernels.test_merge_tree import flavours, leaves, linkages, renamed
from tests.naive import cells as naive
from tests.strategies import affinity_volumes

NOTHING = {"old": np.zeros(0, np.uint64), "new": np.zeros(0, np.uint64)}


def agglomerate(graphs, tree, linkage, order):
    """Reduce over a tree in random order and expand; returns (names, merges)."""
    domain, nodes = tree.grid.box, {}
    for level in range(tree.n_levels):
        indices = list(np.ndindex(tree.shape(level)))
        for index in order.sample(indices, len(indices)):
            box = tree.box(level, index)
            below = [
                (tree.box(level - 1, child), nodes[level - 1, child].graph) for child in tree.children(level, index)
            ]
            order.shuffle(below)
            below = below or [(box, graphs[index])]
            nodes[level, index] = merge_tree.reduce_node(box, below, domain, linkage, tree.cells)
    names, final, merges = {}, {}, []
    for (level, index), node in reversed(nodes.items()):
        above = NOTHING if level == tree.n_levels - 1 else final[level + 1, tree.parent(level, index)]
        final[level, index] = merge_tree.expand_names(node.names, above, tree.box(level, index), domain)
        merges += zip(*(node.merges[name].tolist() for name in ("a", "b", "score")), strict=True)
        if level == 0:
            columns = final[level, index]
            names.update(zip(columns["old"].tolist(), columns["new"].tolist(), strict=True))
    root = nodes[tree.n_levels - 1, (0, 0, 0)]
    assert root.graph.clusters["id"].size == 0
    return names, sorted(merges)


def as_rows(columns):
    """Edges as {(a, b): rows (level, sum, count)}."""
    columns = with_all_columns(columns)
    rows = {}
    for a, b, *row in zip(*(columns[name].tolist() for name in ("a", "b", "level", "sum", "count")), strict=True):
        rows[a, b] = (*rows.get((a, b), ()), tuple(row))
    return rows


def as_cell(graph):
    """A cell as the plain definition takes it."""
    seam, sizes = graph.seam, dict(zip(*(graph.clusters[name].tolist() for name in ("id", "size")), strict=True))
    linked = {
        (a, b): value for a, b, value in zip(*(seam[name].tolist() for name in ("a", "b", "linked")), strict=True)
    }
    faces = dict(zip(graph.alias["id"].tolist(), graph.alias["faces"].tolist(), strict=True))
    return sizes, as_rows(graph.edges), {pair: (rows, linked[pair]) for pair, rows in as_rows(seam).items()}, faces


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_blocks_give_what_cells_are_defined_to_give(data):
    affinities, domain = data.draw(affinity_volumes(7))
    bits, halo, run = data.draw(flavours())
    linkage = data.draw(linkages())
    order = python_random.Random(data.draw(st.integers(0, 99)))
    block = tuple(data.draw(st.integers(1, 4)) for _ in range(3))
    cells = tuple(n * data.draw(st.integers(1, 3)) for n in block)

    whole = Grid(domain, cells)
    labels, graphs = leaves(affinities, domain, whole, halo, run, bits, linkage)
    n_levels = 1 + (max(whole.shape) - 1).bit_length()
    expected, expected_merges = naive.agglomerate({i: as_cell(g) for i, g in graphs.items()}, n_levels, linkage)
    expected_labels = renamed(labels, expected)

    grid = Grid(domain, block)
    labels, graphs = leaves(affinities, domain, grid, halo, run, bits, linkage)
    names, merges = agglomerate(graphs, Tree(grid, cells), linkage, order)
    np.testing.assert_array_equal(renamed(labels, names), expected_labels)
    assert merges == expected_merges


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_cells_that_cover_the_volume_change_nothing(data):
    affinities, domain = data.draw(affinity_volumes(7))
    bits, halo, run = data.draw(flavours())
    linkage = data.draw(linkages())
    grid = Grid(domain, tuple(data.draw(st.integers(1, 4)) for _ in range(3)))
    _, graphs = leaves(affinities, domain, grid, halo, run, bits, linkage)
    cells = tuple(n + data.draw(st.integers(0, 3)) for n in domain.shape)
    results = [agglomerate(graphs, Tree(grid, c), linkage, python_random.Random(0)) for c in (None, cells)]
    assert results[0] == results[1]


def test_cells_do_change_the_result():
    """The control: what is compared above is not the same without cells."""
    differ = 0
    for seed in range(30):
        affinities = np.random.default_rng(seed).choice(np.array([10, 128, 250], np.uint8), (3, 6, 6, 6))
        domain, linkage = Box.of_shape((6, 6, 6)), Linkage(51 * SCORE_ONE, 51 * SCORE_ONE)
        grid = Grid(domain, (3, 3, 3))

        def run(*a):
            return fragments_by_affinity(*a, low=0, high=256)

        labels, graphs = leaves(affinities, domain, grid, AFFINITY_HALO, run, 24, linkage)
        trees = (Tree(grid), Tree(grid, (3, 3, 3)))
        segments = [renamed(labels, agglomerate(graphs, tree, linkage, python_random.Random(0))[0]) for tree in trees]
        differ += not np.array_equal(*segments)
    assert differ > 5


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_nodes_tile_the_volume_and_keep_to_their_cell(data):
    domain = Box.of_shape(data.draw(st.tuples(*[st.integers(1, 40)] * 3))).shift((3, -2, 7))
    block = data.draw(st.tuples(*[st.integers(1, 9)] * 3))
    cells = tuple(n * data.draw(st.integers(1, 5)) for n in block)
    tree = Tree(Grid(domain, block), data.draw(st.sampled_from([None, cells])))
    assert tree.shape(0) == tree.grid.shape
    assert tree.shape(tree.n_levels - 1) == (1, 1, 1)
    for level in range(tree.n_levels):
        boxes = {index: tree.box(level, index) for index in np.ndindex(tree.shape(level))}
        assert sum(box.n_voxels for box in boxes.values()) == domain.n_voxels
        for index, box in boxes.items():
            children = list(tree.children(level, index))
            assert level == 0 or sum(tree.box(level - 1, child).n_voxels for child in children) == box.n_voxels
            assert all(tree.parent(level - 1, child) == index for child in children)
            assert all(box.contains(tree.box(level - 1, child)) for child in children)
            if level <= tree.cell_level and tree.cells is not None:
                assert Grid(domain, cells).covering(box).n_voxels == 1


@pytest.mark.parametrize(("cells", "n_levels"), [(None, 4), ((6, 6, 6), 5), ((12, 12, 12), 5), ((30, 30, 30), 4)])
def test_a_tree_has_the_levels_of_a_cell_and_those_over_cells(cells, n_levels):
    assert Tree(Grid(Box.of_shape((14, 14, 14)), (2, 2, 2)), cells).n_levels == n_levels
