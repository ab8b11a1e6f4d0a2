import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.geometry import Halo
from connectome.kernels.edges import block_graph, pool_edges
from connectome.kernels.fragments import AFFINITY_HALO, fragments_by_affinity
from tests.naive import edges as naive
from tests.naive.fragments import grown
from tests.strategies import affinity_volumes, boxes_in, crop


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_block_graph_equals_naive(data):
    affinities, domain = data.draw(affinity_volumes(6))
    write_box = data.draw(boxes_in(domain))
    options = {"low": data.draw(st.sampled_from([0, 20])), "high": data.draw(st.sampled_from([200, 256]))}
    bits = data.draw(st.sampled_from([0, 2, 24]))
    whole, _ = fragments_by_affinity(affinities, domain, domain, domain, **options, hash_bits=bits)
    read_box = grown(write_box, AFFINITY_HALO, domain)
    labels, face_links = fragments_by_affinity(
        crop(affinities, domain, read_box), read_box, write_box, domain, **options, hash_bits=bits
    )
    with_low = grown(write_box, Halo(low=(1, 1, 1)), domain)
    surrounded = crop(whole, domain, with_low)
    surrounded[write_box.relative_to(with_low.start).slices] = labels
    arguments = (surrounded, crop(affinities, domain, write_box), face_links, with_low, write_box, domain)
    graph = block_graph(*arguments, hash_bits=bits)
    sizes, edges, seam, alias = naive.block_graph(*arguments, hash_bits=bits)
    assert dict(zip(graph.clusters["id"].tolist(), graph.clusters["size"].tolist(), strict=True)) == sizes
    assert _rows(graph.edges, "sum", "count") == edges
    assert _rows(graph.seam, "sum", "count", "linked") == seam
    assert dict(zip(graph.alias["raw"].tolist(), graph.alias["faces"].tolist(), strict=True)) == alias
    assert graph.clusters["id"].tolist() == sorted(sizes)
    assert list(zip(graph.edges["a"].tolist(), graph.edges["b"].tolist(), strict=True)) == sorted(edges)


def _rows(table, *names):
    pairs = zip(table["a"].tolist(), table["b"].tolist(), strict=True)
    values = zip(*(table[name].tolist() for name in names), strict=True)
    return {pair: list(row) for pair, row in zip(pairs, values, strict=True)}


def test_many_edges_grow_the_table():
    random = np.random.default_rng(1)
    affinities = random.integers(0, 2, (3, 24, 24, 24)).astype(np.uint8) * 255
    from connectome.geometry import Box

    box = Box.of_shape((24, 24, 24))
    labels = np.arange(1, 24**3 + 1, dtype=np.uint64).reshape(24, 24, 24)
    graph = block_graph(labels, affinities, np.zeros(3 * 576, bool), box, box, box)
    assert graph.edges["a"].size == 3 * 23 * 24 * 24
    assert int(graph.edges["count"].sum()) == graph.edges["a"].size


def test_pool_edges_adds_up_equal_pairs():
    pooled = pool_edges(
        {
            "a": np.array([2, 1, 2], np.uint64),
            "b": np.array([3, 2, 3], np.uint64),
            "sum": np.array([5, 1, 7]),
            "count": np.array([1, 1, 2]),
            "linked": np.array([False, False, True]),
        }
    )
    assert {name: values.tolist() for name, values in pooled.items()} == {
        "a": [1, 2],
        "b": [2, 3],
        "sum": [1, 12],
        "count": [1, 3],
        "linked": [False, True],
    }
