import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.kernels.agglomeration import Linkage, scores_of, sweep
from tests.naive import agglomeration as naive

SCORE_ONE = 1 << 24


@st.composite
def graphs(draw):
    """A random graph with heavy ties: {(a, b): (sum, count)} and sizes."""
    n = draw(st.integers(2, 14))
    pairs = draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] < p[1])))
    level = st.sampled_from([0, 100, 128, 129, 200, 255])
    noise = st.sampled_from([0, 0, 1, SCORE_ONE - 1])
    edges = {}
    for pair in sorted(pairs):
        count = draw(st.integers(1, 5))
        edges[pair] = (count * draw(level) * SCORE_ONE + draw(noise), count)
    sizes = {a: draw(st.integers(1, 9)) for a in range(n)}
    return edges, sizes


@st.composite
def linkages(draw):
    small, large = sorted(draw(st.tuples(*[st.sampled_from([0, 101, 128, 150, 200])] * 2)))
    return Linkage(large * SCORE_ONE, small * SCORE_ONE, draw(st.sampled_from([0, 5, 12])))


def run(edges, sizes, is_open, linkage):
    a, b = (np.array([p[k] for p in sorted(edges)], np.int64) for k in range(2))
    sums, counts = (np.array([edges[p][k] for p in sorted(edges)], np.int64) for k in range(2))
    opened = np.array([s in is_open for s in sorted(sizes)])
    return sweep(a, b, sums, counts, np.array([sizes[s] for s in sorted(sizes)], np.int64), opened, linkage)


@settings(max_examples=400, deadline=None)
@given(graphs(), linkages(), st.data())
def test_sweep_equals_naive(graph, linkage, data):
    edges, sizes = graph
    is_open = data.draw(st.sets(st.sampled_from(sorted(sizes))))
    result = run(edges, sizes, is_open, linkage)
    names, left_sizes, merges, left = naive.sweep(edges, sizes, is_open, linkage)
    assert dict(enumerate(result.labels.tolist())) == names
    assert {a: int(result.sizes[a]) for a in left_sizes} == left_sizes
    got = {tuple(pair): s for pair, s in zip(result.merges.tolist(), result.scores.tolist(), strict=True)}
    assert got == merges
    a, b, sums, counts = (values.tolist() for values in result.edges)
    assert dict(zip(zip(a, b, strict=True), zip(sums, counts, strict=True), strict=True)) == left
    assert list(zip(a, b, strict=True)) == sorted(left)
    assert result.acts.tolist() == [naive.acts(left[p], p, left_sizes, linkage) for p in sorted(left)]


@settings(max_examples=200, deadline=None)
@given(graphs(), linkages())
def test_with_nothing_open_it_is_the_global_greedy_algorithm(graph, linkage):
    edges, sizes = graph
    labels = run(edges, sizes, set(), linkage).labels
    assert dict(enumerate(labels.tolist())) == naive.greedy(edges, sizes, linkage)


def test_large_random_graph_equals_naive_on_names():
    random = np.random.default_rng(3)
    pairs = np.unique(np.sort(random.integers(0, 300, (1500, 2)), axis=1), axis=0)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    edges = {(int(a), int(b)): (int(random.integers(0, 255 * SCORE_ONE)), int(random.integers(1, 4))) for a, b in pairs}
    sizes = dict.fromkeys(range(300), 1)
    linkage = Linkage(40 * SCORE_ONE, 40 * SCORE_ONE)
    assert (
        dict(enumerate(run(edges, sizes, {1, 7}, linkage).labels.tolist()))
        == naive.sweep(edges, sizes, {1, 7}, linkage)[0]
    )


def test_scores_do_not_pass_through_floats():
    sums, counts = np.array([(1 << 62) + 1]), np.array([(1 << 30) + 1])
    assert scores_of(sums, counts).tolist() == [naive.score(int(sums[0]), int(counts[0]))]


def test_thresholds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="small_threshold <= threshold"):
        Linkage(10, 20)
