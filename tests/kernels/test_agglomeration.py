from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.errors import InputError
from connectome.kernels import agglomeration
from connectome.kernels.agglomeration import sweep
from connectome.kernels.linkage import SCORE_ONE, Linkage
from connectome.stages.edges import with_all_columns, without_idle_column
from tests.naive import agglomeration as naive

LEVELS = [0, 96, 128, 208, 240]


@st.composite
def graphs(draw, most=14):
    """A random graph with heavy ties for one linkage: {(a, b): rows}, sizes, linkage."""
    n = draw(st.integers(2, most))
    name = draw(st.sampled_from(["mean", "maximum", "quantile"]))
    pairs = draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] < p[1])))
    noise = st.sampled_from([0, 0, 1, SCORE_ONE - 1])
    edges = {}
    for pair in sorted(pairs):
        count = draw(st.integers(1, 5)) if name == "mean" else 1
        rows = [(0, count * draw(st.sampled_from(LEVELS)) * SCORE_ONE + draw(noise), count)]
        if name == "quantile":
            levels = sorted(draw(st.sets(st.sampled_from(LEVELS), min_size=1)))
            counts = [draw(st.sampled_from([1, 1, 2, 7, 40])) for _ in levels]
            rows = [(k, 0, n) for k, n in zip(levels, counts, strict=True)]
        edges[pair] = tuple(rows)
    sizes = {a: draw(st.integers(1, 9)) for a in range(n)}
    small, large = sorted(draw(st.tuples(*[st.sampled_from([0, 97, 128, 150, 200])] * 2)))
    quantile = draw(st.sampled_from([1, 2500, 5000, 9000, 10000]))
    linkage = Linkage(large * SCORE_ONE, small * SCORE_ONE, draw(st.sampled_from([0, 5, 12])), name, quantile)
    return edges, sizes, linkage


def run(edges, sizes, is_open, linkage, most=agglomeration.MOST_EDGES):
    rows = [(*pair, *row) for pair in sorted(edges) for row in edges[pair]]
    a, b, level, sums, counts = (np.array([row[k] for row in rows], np.int64) for k in range(5))
    columns = {"a": a, "b": b, "level": level.astype(np.uint8), "sum": sums, "count": counts}
    columns = without_idle_column(columns, linkage.name)
    opened = np.array([s in is_open for s in sorted(sizes)])
    with (
        patch.object(agglomeration, "MOST_EDGES", most),
        patch.object(agglomeration, "LEAST_CANDIDATES", 2 + most % 32),
    ):
        return sweep(columns, np.array([sizes[s] for s in sorted(sizes)], np.int64), opened, linkage)


def check(edges, sizes, is_open, linkage, most=agglomeration.MOST_EDGES):
    """`most` is how many edges a cluster may have before it is a hub, and gives the room for candidates, too."""
    result = run(edges, sizes, is_open, linkage, most)
    names, left_sizes, merges, left = naive.sweep(edges, sizes, is_open, linkage)
    assert dict(enumerate(result.labels.tolist())) == names
    assert {a: int(result.sizes[a]) for a in left_sizes} == left_sizes
    got = {(low, high): score for score, low, high in result.merges.tolist()}
    assert got == merges
    columns = with_all_columns(result.edges)
    rows = {}
    for a, b, *row in zip(*(columns[name].tolist() for name in ("a", "b", "level", "sum", "count")), strict=True):
        rows.setdefault((a, b), []).append(tuple(row))
    assert rows == {pair: pooled(left[pair], linkage) for pair in sorted(left)}
    assert list(rows) == sorted(left)
    ends = zip(columns["a"].tolist(), columns["b"].tolist(), strict=True)
    assert result.acts.tolist() == [naive.acts(left[pair], pair, left_sizes, linkage) for pair in ends]


def pooled(rows, linkage):
    """Rows of one pair as a table has them: one per level."""
    if linkage.name == "maximum":
        return [(0, max(row[1] for row in rows), 1)]
    levels = sorted({row[0] for row in rows})
    return [(k, sum(r[1] for r in rows if r[0] == k), sum(r[2] for r in rows if r[0] == k)) for k in levels]


@settings(max_examples=500, deadline=None)
@given(graphs(), st.data())
def test_sweep_equals_naive(graph, data):
    edges, sizes, linkage = graph
    is_open = data.draw(st.sets(st.sampled_from(sorted(sizes))))
    check(edges, sizes, is_open, linkage, data.draw(st.sampled_from([0, 3, agglomeration.MOST_EDGES])))


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_with_nothing_open_it_is_the_global_greedy_algorithm(graph):
    edges, sizes, linkage = graph
    labels = run(edges, sizes, set(), linkage).labels
    assert dict(enumerate(labels.tolist())) == naive.greedy(edges, sizes, linkage)


def random_edges(name, hub):
    random = np.random.default_rng(3)
    pairs = np.sort(random.integers(0, 260, (900, 2)), axis=1)
    if hub:
        pairs = np.concatenate([pairs, [(k, 300) for k in range(250)], [(k, 301) for k in range(80, 250)]])
    edges, step = {}, 16 if hub else 3  # more levels than a word has
    for a, b in np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0).tolist():
        level = int(random.integers(0, 256 // step)) * step
        count = 1 if name == "maximum" else int(random.integers(1, 30))
        noise = 0 if name == "quantile" else int(random.integers(0, SCORE_ONE))
        edges[a, b] = ((level, 0, count) if name == "quantile" else (0, count * level * SCORE_ONE + noise, count),)
    return edges, {int(k): 1 for k in range(302)}


@pytest.mark.parametrize("name", ["mean", "quantile"])
def test_full_tables_of_hubs_are_made_anew(name):
    with patch.object(agglomeration, "_make_hubs", wraps=agglomeration._make_hubs) as made:
        check(*random_edges(name, True), {1, 7}, Linkage(70 * SCORE_ONE, 40 * SCORE_ONE, 3, name), most=15)
    assert made.call_count > 2


@pytest.mark.parametrize("name", ["mean", "maximum", "quantile"])
@pytest.mark.parametrize("hub", [False, True])
def test_larger_graphs_with_hubs_equal_naive(name, hub):
    edges, sizes = random_edges(name, hub)
    for most in (0, 20, agglomeration.MOST_EDGES):
        check(edges, sizes, {1, 7}, Linkage(70 * SCORE_ONE, 40 * SCORE_ONE, 3, name), most)


def test_scores_do_not_pass_through_floats():
    total, count = (1 << 62) + 1, (1 << 30) + 1
    columns = {name: np.array([value]) for name, value in (("a", 0), ("b", 1), ("sum", total), ("count", count))}
    result = sweep(columns, np.ones(2, np.int64), np.zeros(2, np.bool_), Linkage(0, 0))
    assert result.merges["score"].tolist() == [naive.score([(0, total, count)], Linkage(0, 0))]


@pytest.mark.parametrize(("count", "n"), [(1 << 31, 1), (1 << 30, 2)])
def test_counts_that_cannot_be_summed_are_refused(count, n):
    a, b, counts = np.array([0, 0, 1][: n + 1]), np.array([1, 2, 2][: n + 1]), np.array([5, count, count][: n + 1])
    columns = {"a": a, "b": b, "sum": counts * 100 * SCORE_ONE, "count": counts}
    columns["sum"][0] = 5 * 255 * SCORE_ONE
    with pytest.raises(InputError, match="segment parts of the volume"):
        sweep(columns, np.ones(3, np.int64), np.zeros(3, np.bool_), Linkage(0, 0))


def test_an_edge_of_two_hubs_that_rises_and_falls_is_looked_at_once_each_time():
    """Each rise gives it one more candidate; were all lowered at each fall, this took half a minute."""
    n, edges = 16_000, {(0, 1): (100 * SCORE_ONE, 1)}
    total, count = 100 * SCORE_ONE + n * 201 * SCORE_ONE, n + 1
    for leaf in range(2, n + 2):
        edges[0, leaf], edges[1, leaf] = (250 * SCORE_ONE, 1), (201 * SCORE_ONE, 1)
    edges[0, n + 2], edges[1, n + 2] = (249 * SCORE_ONE, 1), ((total // count + 10) * 40 * n, 40 * n)
    total, count = total + edges[1, n + 2][0], count + 40 * n
    before = total / count * 1.0001
    for leaf in range(n + 3, 2 * n + 3):
        edges[0, leaf], edges[1, leaf] = (int((before + total / count) / 2), 1), (0, 1)
        before, count = total / count, count + 1
    edges |= {(0, leaf): (1, 1) for leaf in range(2 * n + 3, 22 * n + 3)}
    a, b, sums, counts = np.array([(*pair, *edges[pair]) for pair in sorted(edges)], np.int64).T.copy()
    columns = {"a": a, "b": b, "sum": sums, "count": counts}
    sizes = np.ones(22 * n + 3, np.int64)
    result = sweep(columns, sizes, np.zeros(sizes.size, np.bool_), Linkage(70 * SCORE_ONE, 70 * SCORE_ONE))
    assert result.merges.size == 2 * n + 2
