"""Block-wise equals whole, for the kernels alone: any blocks, any tree, any order, heavy ties."""

import random as python_random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.geometry import Box, Grid, Halo
from connectome.kernels import merge_tree
from connectome.kernels.distance_fragments import DistanceParameters, fragments_by_distance
from connectome.kernels.edges import block_graph
from connectome.kernels.fragments import AFFINITY_HALO, fragments_by_affinity
from connectome.kernels.linkage import SCORE_ONE, Linkage
from connectome.stages.edges import with_all_columns
from tests.naive import agglomeration as naive
from tests.naive.fragments import grown
from tests.strategies import affinity_volumes, crop

LOW = Halo(low=(1, 1, 1))


def leaves(affinities, domain, grid, halo, run, bits, linkage):
    """Pieces of all blocks in one array, and the blocks' graphs."""
    labels, links = np.zeros(domain.shape, np.uint64), {}
    for index in grid.indices():
        box = grid.box_at(index)
        read_box = grown(box, halo, domain)
        pieces, links[index] = run(crop(affinities, domain, read_box), read_box, box, domain)
        labels[box.relative_to(domain.start).slices] = pieces
    graphs = {}
    for index in grid.indices():
        box = grid.box_at(index)
        read_box = grown(box, LOW, domain)
        graphs[index] = block_graph(
            crop(labels, domain, read_box),
            crop(affinities, domain, box),
            links[index],
            read_box,
            box,
            domain,
            hash_bits=bits,
            linkage=linkage.name,
        )
    return labels, graphs


def agglomerate(graphs, grid, linkage, order):
    """Reduce along a random tree over the grid, then expand; returns (names, merges)."""
    domain = grid.box

    def reduce(part):
        if part.n_voxels == 1:
            box = grid.box_at(part.start)
            return box, merge_tree.reduce_node(box, [(box, graphs[part.start])], domain, linkage), []
        axis = order.choice([k for k in range(3) if part.shape[k] > 1])
        cut = order.randrange(part.start[axis] + 1, part.stop[axis])
        halves = [
            Box(part.start, tuple(cut if k == axis else c for k, c in enumerate(part.stop))),
            Box(tuple(cut if k == axis else c for k, c in enumerate(part.start)), part.stop),
        ]
        order.shuffle(halves)
        children = [reduce(half) for half in halves]
        box = Box(
            tuple(map(min, zip(*[child[0].start for child in children], strict=True))),
            tuple(map(max, zip(*[child[0].stop for child in children], strict=True))),
        )
        below = [(child[0], child[1].graph) for child in children]
        return box, merge_tree.reduce_node(box, below, domain, linkage), children

    names, merges = {}, []

    def expand(node, above):
        box, reduced, children = node
        final = merge_tree.expand_names(reduced.names, above, box, domain)
        merges.extend(zip(*(reduced.merges[name].tolist() for name in ("a", "b", "score")), strict=True))
        for child in children:
            expand(child, final)
        if not children:
            names.update(zip(final["old"].tolist(), final["new"].tolist(), strict=True))

    root = reduce(Box.of_shape(grid.shape))
    expand(root, {"old": np.zeros(0, np.uint64), "new": np.zeros(0, np.uint64)})
    assert root[1].graph.clusters["id"].size == 0
    return names, sorted(merges)


def renamed(labels, names):
    return np.array([names.get(v, v) for v in labels.ravel().tolist()], np.uint64).reshape(labels.shape)


@st.composite
def flavours(draw):
    bits = draw(st.sampled_from([0, 1, 2, 24]))
    if draw(st.booleans()):
        low, high = draw(st.sampled_from([0, 20])), draw(st.sampled_from([200, 256]))
        return bits, AFFINITY_HALO, lambda *a: fragments_by_affinity(*a, low=low, high=high, hash_bits=bits)
    parameters = DistanceParameters(
        draw(st.sampled_from([300, 459])),
        (1, 1, 1),
        draw(st.integers(1, 3)),
        draw(st.integers(0, 1)),
        draw(st.booleans()),
        bits,
    )
    return bits, parameters.halo, lambda *a: fragments_by_distance(*a, parameters)


@st.composite
def linkages(draw):
    small, large = sorted(draw(st.tuples(*[st.sampled_from([51, 128, 179])] * 2)))
    name = draw(st.sampled_from(["mean", "mean", "maximum", "quantile"]))
    return Linkage(
        large * SCORE_ONE,
        small * SCORE_ONE,
        draw(st.sampled_from([0, 4])),
        name,
        draw(st.sampled_from([2500, 5000, 10_000])),
        draw(st.sampled_from([0, 3])),
    )


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_blocks_equal_whole(data):
    affinities, domain = data.draw(affinity_volumes(7))
    bits, halo, run = data.draw(flavours())
    linkage = data.draw(linkages())
    shape = tuple(data.draw(st.integers(1, 8)) for _ in range(3))
    whole_labels, whole = leaves(affinities, domain, Grid(domain, domain.shape), halo, run, bits, linkage)
    names, merges = agglomerate(whole, Grid(domain, domain.shape), linkage, python_random)
    expected = renamed(whole_labels, names)

    grid = Grid(domain, shape)
    labels, graphs = leaves(affinities, domain, grid, halo, run, bits, linkage)
    order = python_random.Random(data.draw(st.integers(0, 99)))
    names, block_merges = agglomerate(graphs, grid, linkage, order)
    np.testing.assert_array_equal(renamed(labels, names), expected)
    assert block_merges == merges


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whole_equals_the_global_greedy_algorithm(data):
    affinities, domain = data.draw(affinity_volumes(5))
    bits, halo, run = data.draw(flavours())
    linkage = data.draw(linkages())
    _, graphs = leaves(affinities, domain, Grid(domain, domain.shape), halo, run, bits, linkage)
    graph = graphs[0, 0, 0]
    sizes = dict(zip(graph.clusters["id"].tolist(), graph.clusters["size"].tolist(), strict=True))
    columns = with_all_columns(graph.edges)
    edges = {}
    for a, b, *row in zip(*(columns[name].tolist() for name in ("a", "b", "level", "sum", "count")), strict=True):
        edges[a, b] = (*edges.get((a, b), ()), tuple(row))
    expected = naive.greedy(edges, sizes, linkage)
    names, _ = agglomerate(graphs, Grid(domain, domain.shape), linkage, python_random)
    assert {a: names.get(a, a) for a in sizes} == expected


def test_without_deferral_blocks_would_not_equal_whole(monkeypatch):
    """The control: the comparison above can fail."""
    original = merge_tree.sweep
    differ = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        affinities = random.choice(np.array([10, 128, 250], np.uint8), (3, 5, 5, 5))
        domain = Box.of_shape((5, 5, 5))
        linkage = Linkage(51 * SCORE_ONE, 51 * SCORE_ONE)

        def run(*a):
            return fragments_by_affinity(*a, low=0, high=256)

        results = []
        for shape, defer in (((5, 5, 5), True), ((2, 3, 2), False)):
            monkeypatch.setattr(
                merge_tree,
                "sweep",
                original if defer else lambda edges, sizes, o, k: original(edges, sizes, np.zeros_like(o), k),
            )
            grid = Grid(domain, shape)
            labels, graphs = leaves(affinities, domain, grid, AFFINITY_HALO, run, 24, linkage)
            try:
                names, _ = agglomerate(graphs, grid, linkage, python_random.Random(seed))
            except RuntimeError:
                names = {}
            results.append(renamed(labels, names))
        differ += not np.array_equal(*results)
    assert differ > 5
