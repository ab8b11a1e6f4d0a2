import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome.geometry import Box, Grid, Halo
from connectome.kernels.contingency import contingency
from connectome.metrics import agreement
from connectome.metrics.run_length import run_length
from connectome.metrics.skeletons import Skeletons, find_pieces, join_pieces, spanning_forest
from connectome.metrics.worst_errors import worst_errors
from tests.metrics.test_agreement import labellings
from tests.naive import run_length as naive


@st.composite
def graphs(draw):
    n = draw(st.integers(1, 12))
    ends = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))
    return n, draw(st.lists(ends, max_size=25))


@given(graphs())
def test_forest_equals_naive(graph):
    n, edges = graph
    found = spanning_forest(n, np.array(edges, np.int64).reshape(-1, 2))
    assert found.tolist() == naive.spanning_forest(n, edges)


@given(graphs(), st.integers(0, 2**32))
def test_run_length_equals_naive(graph, seed):
    n, edges = graph
    random = np.random.default_rng(seed)
    cells = random.integers(1, 4, n).astype(np.uint64)
    edges = [(a, b) for a, b in edges if cells[a] == cells[b]]
    segments, lengths = random.integers(0, 5, n).astype(np.uint64), random.random(len(edges)) + 0.1
    skeletons = Skeletons(cells, np.zeros((n, 3), np.int64), np.array(edges, np.int64).reshape(-1, 2), lengths)
    found = run_length(skeletons, segments)
    wanted = naive.run_length(cells.tolist(), edges, lengths.tolist(), segments.tolist())
    assert found.expected_nm == pytest.approx(wanted)
    assert found.total_nm == pytest.approx(lengths.sum())


CUBE, SIZE = (3, 4, 5), (10.0, 20.0, 30.0)


@given(labellings(3), st.sampled_from([(3, 4, 5), (6, 4, 10), (30, 30, 30)]))
def test_skeletons_do_not_depend_on_blocks(arrays, block):
    """The graph by boxes of whole cubes is that of the whole; its trees hold what truth connects."""
    truth = np.kron(arrays[0], np.ones((2, 2, 2), np.uint64))
    domain = Box.of_shape(truth.shape).shift((2, -1, 7))

    def skeletons(shape):
        parts, grid = [], Grid(domain, shape)
        for index in grid.indices():
            box = grid.box_at(index)
            read = box.grow(Halo(low=CUBE)).intersect(domain)
            parts.append(find_pieces(truth[read.relative_to(domain.start).slices], read, box, domain, CUBE))
        return join_pieces(parts, SIZE)

    whole, found = skeletons(tuple(10 * n for n in CUBE)), skeletons(block)
    for name in ("cells", "voxels", "edges", "lengths_nm"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    places = whole.voxels - np.array(domain.start)
    np.testing.assert_array_equal(truth[tuple(places.T)], whole.cells)
    pieces = find_pieces(truth, domain, domain, domain, tuple(truth.shape))
    assert len(whole.cells) - len(whole.edges) == len(pieces.ids)


def test_a_straight_cell_has_its_length():
    truth = np.zeros((5, 5, 40), np.uint64)
    truth[1:4, 1:4] = 7
    box = Box.of_shape(truth.shape)
    skeletons = join_pieces([find_pieces(truth, box, box, box, (5, 5, 8))], (10.0, 10.0, 10.0))
    assert skeletons.voxels.tolist() == [[2, 2, x] for x in (3, 11, 19, 27, 35)]
    assert skeletons.lengths_nm.tolist() == [80.0] * 4
    perfect, cut = np.full(5, 3, np.uint64), np.array([3, 3, 3, 4, 4], np.uint64)
    assert run_length(skeletons, perfect).expected_nm == 320
    assert run_length(skeletons, cut).expected_nm == (160**2 + 80**2) / 320
    assert run_length(skeletons, 0 * cut).expected_nm == 0


@given(labellings())
def test_bits_of_errors_add_up_to_the_scores(arrays):
    truth, segmentation, _ = arrays
    segmentation = segmentation + np.uint64(1)  # without background
    table = contingency(truth, segmentation)
    scores = agreement(*table)
    for kind, wanted in (("split", scores.voi_split), ("merge", scores.voi_merge)):
        errors = worst_errors(*table, kind, 100)
        assert sum(each.bits for each in errors) == pytest.approx(wanted, abs=1e-9)
        assert [each.bits for each in errors] == sorted((each.bits for each in errors), reverse=True)
        for each in errors:
            assert sum(size for _, size in each.parts) == each.n_voxels
            assert len(each.parts) > 1
            assert all(((truth == cell) & (segmentation == segment)).any() for cell, segment in each.pair)


def test_background_is_no_merge_and_the_last_part_of_a_split():
    pairs = np.array([[1, 0], [1, 5], [2, 0], [2, 6], [2, 7]], np.uint64)
    counts = np.array([90, 10, 50, 20, 10], np.int64)
    assert worst_errors(pairs, counts, "merge", 9) == []
    splits = worst_errors(pairs, counts, "split", 1)
    assert [(each.label, each.parts) for each in splits] == [(2, ((6, 20), (7, 10), (0, 50)))]
    assert splits[0].pair == ((2, 6), (2, 7))
