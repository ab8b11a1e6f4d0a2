"""A root in parts gives what one root gives: the same names and merges, whatever top nodes, groups and rounds."""

import random as python_random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.geometry import Grid
from connectome.kernels import merge_tree, root
from connectome.kernels.linkage import SCORE_ONE, Linkage
from tests.kernels.test_merge_tree import agglomerate, flavours, leaves, linkages, renamed
from tests.naive import root as naive
from tests.strategies import affinity_volumes


def in_rounds(nodes, lower, linkages_of_rounds, linkage):
    """Names, merges and the left edges of top nodes {index: node}; `lower`: the indices below each over its faces."""
    order = list(nodes)
    opened = {i: root.open_shard(nodes[i].graph, [nodes[j].graph for j in lower(i)], linkage) for i in order}
    names, merges = {}, []
    linked = root.link([pairs for _, _, pairs in opened.values()])
    shards = {}
    for i, (shard, _, _) in opened.items():
        around = [
            united for j, (_, united, _) in opened.items() if max(abs(p - q) for p, q in zip(i, j, strict=True)) < 2
        ]
        shards[i] = root.update([shard.rows], shard.own, [linked, *around], linkage)
    for rule in linkages_of_rounds:
        groups = root.group([root.acting_pairs(shard.rows, rule) for shard in shards.values()], len(order))
        moved = {i: root.move(shard.rows, groups) for i, shard in shards.items()}
        made = [root.merge_group([rows for rows, _ in moved.values()], n, rule) for n in range(len(order))]
        for each in made:
            merges += zip(*(each.merges[name].tolist() for name in ("a", "b", "score")), strict=True)
        for n, i in enumerate(order):
            rows = [moved[i][1], made[n].rows]
            shards[i] = root.update(rows, shards[i].own, [each.names for each in made], linkage)
    for shard in shards.values():
        final = root.final_names(shard.own, linkage.dust_size)
        names |= dict(zip(final["old"].tolist(), final["new"].tolist(), strict=True))
    return names, merges


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_rounds_over_top_nodes_equal_one_root(data):
    affinities, domain = data.draw(affinity_volumes(7))
    bits, halo, run = data.draw(flavours())
    linkage = data.draw(linkages())
    grid = Grid(domain, tuple(data.draw(st.integers(1, 8)) for _ in range(3)))
    labels, graphs = leaves(affinities, domain, grid, halo, run, bits, linkage)
    names, merges = agglomerate(graphs, grid, linkage, python_random.Random(0))
    expected = renamed(labels, names)

    boxes = {i: grid.box_at(i) for i in grid.indices()}
    nodes = {i: merge_tree.reduce_node(boxes[i], [(boxes[i], graphs[i])], domain, linkage) for i in boxes}

    def lower(i):
        return [j for k in range(3) if (j := tuple(n - (axis == k) for axis, n in enumerate(i))) in nodes]

    rules = root.rounds(linkage, data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3)))
    above, root_merges = in_rounds(nodes, lower, rules, linkage)
    above = {"old": np.array(sorted(above), np.uint64), "new": np.array([above[i] for i in sorted(above)], np.uint64)}
    got = {}
    for i, node in nodes.items():
        final = merge_tree.expand_names(node.names, above, boxes[i], domain)
        got |= dict(zip(final["old"].tolist(), final["new"].tolist(), strict=True))
        root_merges += zip(*(node.merges[name].tolist() for name in ("a", "b", "score")), strict=True)
    np.testing.assert_array_equal(renamed(labels, got), expected)
    assert sorted(root_merges) == merges


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_components_at_falling_thresholds_equal_the_global_greedy_algorithm(data):
    """The argument itself, in plain Python on random graphs."""
    n = data.draw(st.integers(2, 9))
    linkage = data.draw(linkages())
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    sizes = {a: int(random.integers(1, 9)) for a in range(1, n + 1)}
    edges = {}
    for a in range(1, n + 1):
        for b in range(a + 1, n + 1):
            if random.random() < 0.5:
                level, count = int(random.choice([10, 100, 180, 250])), int(random.integers(1, 4))
                count = 1 if linkage.name == "maximum" else count
                edges[a, b] = ((level, level * SCORE_ONE * count, count),)
    rules = root.rounds(linkage, data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3)))
    assert naive.by_components(edges, sizes, rules) == naive.at_once(edges, sizes, linkage)


@pytest.mark.parametrize("n_groups", [1, 3])
def test_groups_are_even_and_keep_components_whole(n_groups):
    pairs = {
        name: np.array(values, np.uint64) for name, values in (("a", [1, 2, 10, 20, 30]), ("b", [2, 3, 11, 21, 31]))
    }
    pairs |= {"a_size": np.ones(5, np.int64), "b_size": np.ones(5, np.int64)}
    groups = root.group([pairs], n_groups)
    assert groups["component"].tolist() == [1, 1, 1, 10, 10, 20, 20, 30, 30]
    assert groups["group"].tolist() == ([0, 0, 0, 1, 1, 2, 2, 1, 1] if n_groups == 3 else [0] * 9)


def test_rounds_end_at_the_thresholds():
    linkage = Linkage(150 * SCORE_ONE, 50 * SCORE_ONE, 9)
    rules = root.rounds(linkage, 3, 2)
    assert [rule.threshold // SCORE_ONE for rule in rules] == [220, 185, 150, 150, 150]
    assert rules[-1] == linkage
    assert rules[2].small_size == 0
    assert len(root.rounds(Linkage(150 * SCORE_ONE, 150 * SCORE_ONE), 3, 2)) == 3
