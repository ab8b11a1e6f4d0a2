import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.errors import InputError
from connectome.geometry import Box, Halo
from connectome.kernels.edges import block_graph, pool_edges
from connectome.kernels.fragments import AFFINITY_HALO, fragments_by_affinity
from tests.naive import edges as naive
from tests.naive.fragments import grown
from tests.strategies import affinity_volumes, boxes_in, crop

LINKAGES = st.sampled_from(["mean", "maximum", "quantile"])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_block_graph_equals_naive(data):
    affinities, domain = data.draw(affinity_volumes(6))
    write_box = data.draw(boxes_in(domain))
    options = {"low": data.draw(st.sampled_from([0, 20])), "high": data.draw(st.sampled_from([200, 256]))}
    bits = data.draw(st.sampled_from([0, 2, 24]))
    kind = {"linkage": data.draw(LINKAGES), "bins": data.draw(st.sampled_from([1, 5, 16, 64, 256]))}
    whole, _ = fragments_by_affinity(affinities, domain, domain, domain, **options, hash_bits=bits)
    arguments = _block(affinities, whole, write_box, domain, hash_bits=bits, **options)
    graph = block_graph(*arguments, hash_bits=bits, **kind)
    sizes, edges, seam, alias = naive.block_graph(*arguments, hash_bits=bits, **kind)
    assert dict(zip(graph.clusters["id"].tolist(), graph.clusters["size"].tolist(), strict=True)) == sizes
    assert graph.clusters["id"].tolist() == sorted(sizes)
    assert list(_rows(graph.edges).items()) == sorted(edges.items())
    assert list(_rows(graph.seam).items()) == sorted(seam.items())
    assert dict(zip(graph.alias["raw"].tolist(), graph.alias["faces"].tolist(), strict=True)) == alias


def _block(affinities, whole, write_box, domain, **options):
    """Arguments of block_graph for one block, whose low neighbours carry the labels of the whole."""
    read_box = grown(write_box, AFFINITY_HALO, domain)
    labels, face_links = fragments_by_affinity(
        crop(affinities, domain, read_box), read_box, write_box, domain, **options
    )
    with_low = grown(write_box, Halo(low=(1, 1, 1)), domain)
    surrounded = crop(whole, domain, with_low)
    surrounded[write_box.relative_to(with_low.start).slices] = labels
    return surrounded, crop(affinities, domain, write_box), face_links, with_low, write_box, domain


def _rows(table):
    keys = zip(*(table[name].tolist() for name in ("a", "b", "level") if name in table), strict=True)
    table = {"sum": np.zeros(table["a"].size, np.int64), **table}
    values = zip(*(table[name].tolist() for name in ("sum", "count", "linked") if name in table), strict=True)
    return {key: list(row) for key, row in zip(keys, values, strict=True)}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_blocks_pooled_are_the_whole(data):
    affinities, domain = data.draw(affinity_volumes(8))
    linkage = data.draw(LINKAGES)
    # Labels that blocks do not rename: one voxel is one piece.
    names = (1 + np.arange(domain.n_voxels, dtype=np.uint64)).reshape(domain.shape)
    whole = block_graph(names, affinities, _no_links(domain), domain, domain, domain, linkage=linkage)
    steps = [data.draw(st.integers(1, n)) for n in domain.shape]
    tables = []
    for start in itertools.product(*map(range, domain.start, domain.stop, steps)):
        stop = tuple(min(a + n, b) for a, n, b in zip(start, steps, domain.stop, strict=True))
        box = Box(start, stop)
        read_box = grown(box, Halo(low=(1, 1, 1)), domain)
        arguments = (crop(names, domain, read_box), crop(affinities, domain, box), _no_links(box), read_box, box)
        graph = block_graph(*arguments, domain, linkage=linkage)
        low, high = np.minimum(graph.seam["a"], graph.seam["b"]), np.maximum(graph.seam["a"], graph.seam["b"])
        tables += [graph.edges, {**{k: v for k, v in graph.seam.items() if k != "linked"}, "a": low, "b": high}]
    rows = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    assert _rows(pool_edges(rows, linkage)) == _rows(whole.edges)


def _no_links(box):
    nz, ny, nx = box.shape
    return np.zeros(ny * nx + nz * nx + nz * ny, np.bool_)


def test_many_edges_grow_the_table():
    random = np.random.default_rng(1)
    affinities = random.integers(0, 2, (3, 24, 24, 24)).astype(np.uint8) * 255
    box = Box.of_shape((24, 24, 24))
    labels = np.arange(1, 24**3 + 1, dtype=np.uint64).reshape(24, 24, 24)
    graph = block_graph(labels, affinities, _no_links(box), box, box, box)
    assert graph.edges["a"].size == 3 * 23 * 24 * 24
    assert int(graph.edges["count"].sum()) == graph.edges["a"].size


@pytest.mark.parametrize("late", [False, True])
def test_a_hub_finds_all_its_neighbours(late):
    """The plate in the middle touches every voxel of the other sections, as the larger or the smaller label."""
    shape = (3, 48, 48)
    labels = np.arange(1, 1 + 3 * 48 * 48, dtype=np.uint64).reshape(shape)
    labels[1] = labels[1, 0, 0] if late else 1
    labels[0, 0, 0] = labels[0, 0, 1] if late else 1
    labels = np.unique(labels, return_inverse=True)[1].reshape(shape).astype(np.uint64) + 1
    box = Box.of_shape(shape)
    affinities = np.full((3, *shape), 7, np.uint8)
    graph = block_graph(labels, affinities, _no_links(box), box, box, box)
    pairs = set()
    for axis in range(3):
        a = np.take(labels, range(1, shape[axis]), axis=axis).ravel().tolist()
        b = np.take(labels, range(shape[axis] - 1), axis=axis).ravel().tolist()
        pairs |= {(min(pair), max(pair)) for pair in zip(a, b, strict=True) if pair[0] != pair[1]}
    assert list(zip(graph.edges["a"].tolist(), graph.edges["b"].tolist(), strict=True)) == sorted(pairs)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_pool_edges_equals_naive(data):
    linkage = data.draw(LINKAGES)
    most = data.draw(st.sampled_from([3, 40, 2**62]))
    ends = st.integers(0, most)
    levels = st.integers(0, 3) if linkage == "quantile" else st.just(0)
    counts = st.integers(1, 1 if linkage == "maximum" else 5)
    sums = st.just(0) if linkage == "quantile" else st.integers(0, 99)
    row = st.tuples(ends, ends, levels, sums, counts, st.booleans())
    rows = data.draw(st.lists(row, max_size=120))
    names = {"a": np.uint64, "b": np.uint64, "level": np.uint8, "sum": np.int64, "count": np.uint32, "linked": np.bool_}
    columns = {name: np.array([row[k] for row in rows], dtype) for k, (name, dtype) in enumerate(names.items())}
    n_keys = 3 if linkage == "quantile" else 2
    del columns["sum" if linkage == "quantile" else "level"]
    pooled = pool_edges(columns, linkage)
    assert pooled.keys() == columns.keys()
    assert all(pooled[name].dtype == columns[name].dtype for name in columns)
    expected = naive.pool_edges([(row[:n_keys], list(row[3:])) for row in rows], linkage)
    assert list(_rows(pooled).items()) == list(expected.items())


def test_pool_edges_sorts_long_lists_of_one_cluster():
    random = np.random.default_rng(0)
    b = random.permutation(5000).astype(np.uint64)
    columns = {"a": np.zeros(5000, np.uint64), "b": b, "sum": b.astype(np.int64), "count": np.ones(5000, np.uint32)}
    pooled = pool_edges(columns)
    assert pooled["b"].tolist() == pooled["sum"].tolist() == list(range(5000))


def test_block_graph_refuses_what_it_does_not_know():
    box = Box.of_shape((1, 1, 1))
    arguments = (np.ones((1, 1, 1), np.uint64), np.zeros((3, 1, 1, 1), np.uint8), _no_links(box), box, box, box)
    with pytest.raises(InputError, match="linkage is 'median'"):
        block_graph(*arguments, linkage="median")
    with pytest.raises(InputError, match="bins is 257"):
        block_graph(*arguments, bins=257)


@pytest.mark.parametrize("counts", [[2**31 - 1], [2**31 - 2, 1], [2**31], [2**32 - 1, 1]])
def test_pool_edges_refuses_more_voxel_edges_than_can_be_scored(counts):
    n = len(counts)
    ends = {"a": np.zeros(n, np.uint64), "b": np.ones(n, np.uint64)}
    columns = {**ends, "level": np.zeros(n, np.uint8), "count": np.array(counts, np.uint32)}
    if sum(counts) < 2**31:
        assert pool_edges(columns, "quantile")["count"].tolist() == [sum(counts)]
    else:
        with pytest.raises(InputError, match="segment parts of the volume"):
            pool_edges(columns, "quantile")
