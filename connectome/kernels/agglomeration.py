"""One sweep of agglomeration over a graph whose open clusters must wait.

A pair that is the best of both its ends, under the strict order (score, lower id, higher id), larger first,
merges; what leads to an open cluster (it goes on outside) is blocked. The result is that of merging every
mutually best closed pair until none is left, and where nothing is open, that of the global greedy algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.kernels.candidates import CANDIDATE, HUB
from connectome.kernels.chains import LINK, merge_along_chains
from connectome.kernels.clusters import CHUNK, NODE, begin, label_all
from connectome.kernels.edge_pool import Columns
from connectome.kernels.edge_records import Histograms, columns_of, records_of, score_all
from connectome.kernels.hubs import N_MERGES, N_PAIRS, PROGRESS, make_hubs, room_of_hubs
from connectome.kernels.jit import jit, jit_bare
from connectome.kernels.linkage import KINDS, Linkage, fraction_bits, score_of
from connectome.kernels.memory import give_back
from connectome.kernels.pair_table import new_pair_table

Integers = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int32]
Records = npt.NDArray[Any]
MOST_EDGES = 192
"""Clusters with more edges are hubs: walking their list would cost more than look-ups."""
LEAST_CANDIDATES = 16
"""Room for candidates that every hub has at least."""
MERGE = np.dtype([("score", np.uint64), ("low", np.int32), ("high", np.int32)])
"""A merged pair: its score and the labels of its two sides."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep leaves.

    Attributes
    ----------
    labels : int32 array, shape (clusters,)
        Cluster to the lowest member of the cluster that it now belongs to.
    sizes : int64 array, shape (clusters,)
        Voxels, right at the lowest members.
    merges : MERGE records, shape (merges,)
        Each merged pair's score in 32.32 fixed point, and its lower and higher label.
    edges : columns ``a``, ``b``, ``sum``, ``count`` (for a quantile ``level`` in the place of ``sum``)
        Pooled edges between the clusters that are left, a < b, sorted; positions int32, sums int64, counts uint32,
        levels uint8.
    acts : bool array
        Whether each of these edges acts.
    """

    labels: Positions
    sizes: Integers
    merges: npt.NDArray[Any]
    edges: Columns
    acts: npt.NDArray[np.bool_]


def sweep(edges: Columns, sizes: Integers, is_open: npt.NDArray[np.bool_], linkage: Linkage) -> Sweep:
    """Merge all pairs that the global greedy algorithm is sure to merge.

    Parameters
    ----------
    edges : columns
        ``a``, ``b``: ends as positions in the sorted list of clusters, a < b, sorted by (a, b), each pair
        once; ``sum``: of ``affinity << 24 | hash`` over the ``count`` voxel edges (below 2^31); for the
        maximum linkage of the best voxel edge alone, count 1. For the quantile linkage one row per
        pair and ``level`` (uint8, the lowest affinity of a histogram bin), sorted by it last, and no ``sum``. Emptied:
        what nobody else holds is free before the work begins.
    sizes : int64 array, shape (clusters,)
        Voxels. Overwritten: they become those of the result.
    is_open : bool array, shape (clusters,)
        Clusters that go on outside; they never merge here.
    linkage : Linkage
        How voxel edges become scores, thresholds and size rule.

    Returns
    -------
    Sweep

    Notes
    -----
    O(m log m) in edges; 48 bytes per edge and some 80 per cluster once the input is let go, and up to 35 more per edge
    of a hub, twice that between two. Of a quantile 8 fewer per edge, 8 more per 16 levels beyond the first 16, and 4
    per level for edges of more than 15 voxel edges. What hubs know of their edges are upper bounds, as the linkage is
    reducible. Source: exact segmentation recipe, section 4; Lu, Zlateski and Seung 2021 (arXiv 2106.10795).
    """
    give_back(sum(column.nbytes for column in edges.values()))
    records, histograms = records_of(edges, linkage.name)
    edges.clear()
    give_back(records.nbytes)
    labels, merges = _merge(records, histograms, sizes, is_open, linkage)
    n_living = _keep_living(records, histograms.packed, labels)
    # Cut off where it lies: the rest of the memory is free at once, and nothing is copied.
    records.resize(n_living, refcheck=False)
    histograms = histograms._replace(packed=histograms.packed[:n_living])
    columns, acts = _columns(records, histograms, sizes, linkage)
    merges["score"] <<= np.uint64(32 - fraction_bits(linkage.name))
    return Sweep(labels, sizes, merges, columns, acts)


def measure(edges: Columns, sizes: Integers, linkage: Linkage) -> tuple[Columns, npt.NDArray[np.bool_]]:
    """Return edges as `Sweep` has them, and which of them act, of edges and sizes as `sweep` takes them."""
    records, histograms = records_of(edges, linkage.name)
    return _columns(records, histograms, sizes, linkage)


def _rule(linkage: Linkage) -> tuple[np.uint64, np.uint64, int]:
    """Thresholds as scores, and the size rule."""
    bits = fraction_bits(linkage.name)
    return np.uint64(linkage.threshold << bits), np.uint64(linkage.small_threshold << bits), linkage.small_size


def _merge(
    records: Records,
    histograms: Histograms,
    sizes: Integers,
    is_open: npt.NDArray[np.bool_],
    linkage: Linkage,
) -> tuple[Positions, Records]:
    """Merge until no closed pair is the best of both; returns labels and merges, writes sizes; dead edges count 0."""
    # Numpy asks for huge pages, which compiled code does not: misses of the address cache cost more than the work.
    n, m = sizes.size, records.size
    nodes, chunks = np.empty(n, NODE), np.empty(n, CHUNK)
    entries, stack, merges = np.empty((2 * m, 2), np.int32), np.empty(n, LINK), np.empty(n, MERGE)
    kinds = (KINDS[linkage.name], linkage.quantile)
    score_all(records, *histograms[:3], *kinds)
    begin(nodes, chunks, entries, records, sizes, is_open)
    state, progress = (nodes, chunks, entries, records), np.zeros(PROGRESS, np.int64)
    hubs = _make_hubs(state, progress)
    limits = (_rule(linkage), MOST_EDGES, LEAST_CANDIDATES)
    while not merge_along_chains(*state, *hubs, progress, stack, merges, *histograms, *kinds, *limits):
        del hubs
        give_back(records.nbytes)
        hubs = _make_hubs(state, progress)
    del hubs, state, chunks, entries, stack
    merges.resize(int(progress[N_MERGES]), refcheck=False)
    labels = np.empty(n, np.int32)
    label_all(nodes, labels, sizes)
    return labels, merges


def _make_hubs(state: tuple[Records, ...], progress: Integers) -> tuple[Records, Records, Records]:
    """Return tables of pairs, hubs and candidates with room for more; those from before are void."""
    nodes, chunks, entries, records = state
    m = records.size
    n_hubs, n_edges, n_candidates = room_of_hubs(nodes, MOST_EDGES, LEAST_CANDIDATES)
    pairs = new_pair_table(max(m // 8, n_edges + n_edges // 4 + int(progress[N_PAIRS])))
    hubs = np.empty(max(nodes.size // 64, 2 * n_hubs) + 1, HUB)
    candidates = np.empty(max(m // 16, 2 * n_candidates) + LEAST_CANDIDATES, CANDIDATE)
    make_hubs(nodes, chunks, entries, records, pairs, hubs, progress, MOST_EDGES)
    return pairs, hubs, candidates


@jit_bare
def _keep_living(records, packed, labels):
    """Move living edges to the front, between the labels of the clusters that they join, the lower one first."""
    n = 0
    for edge in range(records.size):
        if records[edge].count != 0:
            one, two = labels[records[edge].low], labels[records[edge].high]
            records[n] = records[edge]
            records[n].low, records[n].high = min(one, two), max(one, two)
            for word in range(packed.shape[1]):
                packed[n, word] = packed[edge, word]
            n += 1
    return n


def _columns(
    records: Records, histograms: Histograms, sizes: Integers, linkage: Linkage
) -> tuple[Columns, npt.NDArray[np.bool_]]:
    """Edges as sorted columns, and which of them act."""
    order = np.argsort(records["low"].astype(np.int64) << 32 | records["high"])
    a, b = records["low"][order], records["high"][order]
    threshold, small, small_size = _rule(linkage)
    scores = _scores(records, order, KINDS[linkage.name], linkage.quantile, *histograms[:3])
    acts = (scores >= threshold) | ((np.minimum(sizes[a], sizes[b]) < small_size) & (scores >= small))
    del scores
    columns = columns_of(records, order, {"a": a, "b": b, "acts": acts}, histograms, linkage.name)
    acts = columns.pop("acts")
    return columns, acts


@jit
def _scores(records, edges, kind, quantile, levels, packed, tall):
    scores = np.empty(edges.size, np.uint64)
    for row in range(edges.size):
        scores[row] = score_of(records, edges[row], kind, quantile, levels, packed, tall)
    return scores
