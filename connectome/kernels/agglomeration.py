"""One sweep of agglomeration over a graph whose open clusters must wait.

Edges are taken best first under the strict order (score, lower id, higher id), larger wins. A pair
that is the best of both its ends merges; if an end is open (it goes on outside) or blocked, both ends
are blocked from then on. The result is that of merging every mutually best closed pair until none is
left, and where nothing is open, that of the global greedy algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.kernels.chains import merge_along_chains
from connectome.kernels.clusters import (
    CHUNK,
    CLUSTER,
    NODE,
    begin,
    join,
    label_all,
    make_hubs,
    n_hub_edges,
    root_of,
)
from connectome.kernels.edge_pool import Columns
from connectome.kernels.edge_records import Histograms, columns_of, records_of, score_all
from connectome.kernels.jit import jit, jit_bare
from connectome.kernels.linkage import KINDS, Linkage, fraction_bits, score_of
from connectome.kernels.memory import give_back
from connectome.kernels.pair_table import has_room, new_pair_table
from connectome.kernels.queue_order import WAITING, in_full_order, is_later, keys_of_acting, pop, push

Integers = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int32]
Records = npt.NDArray[Any]
MOST_EDGES = 512
"""Clusters with more edges are left to the queue: a chain looks at all edges of a cluster again and again."""
MERGE = np.dtype([("score", np.uint64), ("low", np.int32), ("high", np.int32)])
"""A merged pair: its score and the labels of its two sides."""


POINTER, N_HEAP, N_MERGES, NEEDED = range(4)
"""Where a sweep is: what is left of the sorted edges, the sizes of heap and merges, and the room that it needs."""


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
    O(m log m) in edges; 48 bytes per edge and some 90 per cluster once the input is let go, 64 with hubs. Of
    a quantile 8 fewer, 8 more per 16 levels beyond the first 16, and 4 per level for edges of more than 15 voxel
    edges. Queue entries are upper bounds, because the linkage is reducible, so that a merge pushes nothing. Source:
    exact segmentation recipe, section 4; Lu, Zlateski and Seung 2021 (arXiv 2106.10795).
    """
    give_back(sum(column.nbytes for column in edges.values()))
    records, histograms = records_of(edges, linkage.name)
    edges.clear()
    give_back(records.nbytes)
    labels, blocked, merges = _merge_locally(records, histograms, sizes, is_open, linkage)
    names = np.flatnonzero(labels == np.arange(labels.size, dtype=np.int32)).astype(np.int32)
    records, histograms = _what_is_left(records, histograms, labels, names)
    give_back(records.nbytes)
    rest, alive, late_merges = _merge_by_queue(records, histograms, sizes, names, blocked[names], linkage)
    late_merges["low"], late_merges["high"] = names[late_merges["low"]], names[late_merges["high"]]
    _rename_ends(records, names[rest])
    labels = names[rest[_ranks(names, sizes.size)[labels]]]
    columns, acts = _columns(records, histograms, np.flatnonzero(alive), sizes, linkage)
    merges = np.concatenate([merges, late_merges])
    merges["score"] <<= np.uint64(32 - fraction_bits(linkage.name))
    return Sweep(labels, sizes, merges, columns, acts)


def measure(edges: Columns, sizes: Integers, linkage: Linkage) -> tuple[Columns, npt.NDArray[np.bool_]]:
    """Return edges as `Sweep` has them, and which of them act, of edges and sizes as `sweep` takes them."""
    records, histograms = records_of(edges, linkage.name)
    return _columns(records, histograms, np.arange(records.size), sizes, linkage)


def _rule(linkage: Linkage) -> tuple[np.uint64, np.uint64, int]:
    """Thresholds as scores, and the size rule."""
    bits = fraction_bits(linkage.name)
    return np.uint64(linkage.threshold << bits), np.uint64(linkage.small_threshold << bits), linkage.small_size


def _merge_locally(
    records: Records,
    histograms: Histograms,
    sizes: Integers,
    is_open: npt.NDArray[np.bool_],
    linkage: Linkage,
) -> tuple[Positions, npt.NDArray[np.bool_], Records]:
    """Merge along chains; returns labels, blocks at these, and merges; writes sizes. Dead edges have no count."""
    # Numpy asks for huge pages, which compiled code does not: misses of the address cache cost more than the work.
    n, m = sizes.size, records.size
    nodes, chunks, clusters = np.empty(n, NODE), np.empty(n, CHUNK), np.empty(n, CLUSTER)
    entries, stack, merges = np.empty((2 * m, 2), np.int32), np.empty(n, np.int32), np.empty(n, MERGE)
    kinds = (KINDS[linkage.name], linkage.quantile)
    score_all(records, *histograms[:3], *kinds)
    begin(nodes, chunks, clusters, entries, records, sizes, is_open)
    n_merges = merge_along_chains(
        nodes, chunks, clusters, entries, records, stack, merges, MOST_EDGES, *histograms, *kinds, _rule(linkage)
    )
    del chunks, entries, stack
    merges.resize(n_merges, refcheck=False)
    labels, blocked = np.empty(n, np.int32), np.zeros(n, np.bool_)
    label_all(nodes, clusters, labels, sizes, blocked)
    return labels, blocked, merges


def _ranks(names: Positions, n: int) -> Positions:
    ranks = np.empty(n, np.int32)
    ranks[names] = np.arange(names.size)
    return ranks


def _what_is_left(
    records: Records, histograms: Histograms, labels: Positions, names: Positions
) -> tuple[Records, Histograms]:
    """Living edges between the clusters that are left, these numbered by their rank; in the place of `records`."""
    n_living = _keep_living(records, histograms.packed, _ranks(names, labels.size), labels)
    # Cut off where it lies: the rest of the memory is free at once, and nothing is copied.
    records.resize(n_living, refcheck=False)
    return records, histograms._replace(packed=histograms.packed[:n_living])


@jit_bare
def _keep_living(records, packed, ranks, labels):
    """Move living edges to the front, between the ranks of the clusters that they join, the lower one first."""
    n = 0
    for edge in range(records.size):
        if records[edge].count != 0:
            one, two = ranks[labels[records[edge].low]], ranks[labels[records[edge].high]]
            records[n] = records[edge]
            records[n].low, records[n].high = min(one, two), max(one, two)
            for word in range(packed.shape[1]):
                packed[n, word] = packed[edge, word]
            n += 1
    return n


def _merge_by_queue(
    records: Records,
    histograms: Histograms,
    sizes: Integers,
    names: Positions,
    blocked: npt.NDArray[np.bool_],
    linkage: Linkage,
) -> tuple[Positions, npt.NDArray[np.bool_], Records]:
    """Merge the clusters `names` from a queue, the best pair first; writes their sizes.

    Returns
    -------
    labels, alive, merges
        By the places of clusters in `names`, and which edges live.
    """
    kinds = (KINDS[linkage.name], linkage.quantile)
    keys = keys_of_acting(records, sizes[names], np.uint64(fraction_bits(linkage.name)), *_rule(linkage))
    keys.sort()
    order = in_full_order(keys, records, np.empty(names.size + 1, np.int64))
    del keys
    n, m = names.size, records.size
    alive = np.ones(m, np.bool_)
    nodes, chunks, clusters = np.empty(n, NODE), np.empty(n, CHUNK), np.empty(n, CLUSTER)
    entries, heap = np.empty((2 * m, 2), np.int32), np.empty(order.size, WAITING)
    merges, progress = np.empty(n, MERGE), np.array([order.size - 1, 0, 0, 0])
    begin(nodes, chunks, clusters, entries, records, sizes[names], blocked)
    state, queue = (nodes, chunks, clusters, entries, alive, records), (order, heap, merges, progress)
    pairs = new_pair_table(n_hub_edges(nodes))
    make_hubs(nodes, chunks, clusters, entries, alive, pairs)
    while not _sweep(*state, pairs, *queue, *histograms, *kinds, *_rule(linkage)):
        del pairs
        give_back(records.nbytes)
        pairs = new_pair_table(2 * (n_hub_edges(nodes) + int(progress[NEEDED])))
        make_hubs(nodes, chunks, clusters, entries, alive, pairs)
    del chunks, entries, pairs, order, heap, state, queue
    merges.resize(int(progress[N_MERGES]), refcheck=False)
    labels, sizes_left = np.empty(n, np.int32), np.zeros(n, np.int64)
    label_all(nodes, clusters, labels, sizes_left, blocked)
    sizes[names] = sizes_left
    return labels, alive, merges


def _columns(
    records: Records, histograms: Histograms, left: npt.NDArray[np.int64], sizes: Integers, linkage: Linkage
) -> tuple[Columns, npt.NDArray[np.bool_]]:
    """Edges that are left as sorted columns, and which of them act."""
    low, high = records["low"][left], records["high"][left]
    a, b = np.minimum(low, high), np.maximum(low, high)
    del low, high
    order = np.argsort(a.astype(np.int64) << 32 | b)
    left, a, b = left[order], a[order], b[order]
    del order
    threshold, small, small_size = _rule(linkage)
    scores = _scores(records, left, KINDS[linkage.name], linkage.quantile, *histograms[:3])
    acts = (scores >= threshold) | ((np.minimum(sizes[a], sizes[b]) < small_size) & (scores >= small))
    del scores
    columns = columns_of(records, left, {"a": a, "b": b, "acts": acts}, histograms, linkage.name)
    acts = columns.pop("acts")
    return columns, acts


@jit_bare
def _rename_ends(records, names):
    for edge in range(records.size):
        records[edge].low, records[edge].high = names[records[edge].low], names[records[edge].high]


@jit_bare
def _sweep(
    nodes,
    chunks,
    clusters,
    entries,
    alive,
    edges,
    pairs,
    order,
    heap,
    merges,
    progress,
    levels,
    packed,
    tall,
    free,
    kind,
    quantile,
    threshold,
    small_threshold,
    small_size,
):
    """Take edges from `order`, the best last, and from the heap; false where the table of pairs needs more room."""
    pointer, n_heap, n_merges = progress[POINTER], progress[N_HEAP], progress[N_MERGES]
    while True:
        while pointer >= 0 and not alive[order[pointer]]:
            pointer -= 1
        while n_heap > 0 and not alive[heap[0].edge]:
            n_heap = pop(heap, n_heap)
        if pointer < 0 and n_heap == 0:
            progress[N_MERGES] = n_merges
            return True
        from_heap = pointer < 0
        if n_heap > 0 and pointer >= 0:
            first = edges[order[pointer]]
            from_heap = not is_later(first.waits, first.low, first.high, heap[0])
        edge = np.int64(heap[0].edge if from_heap else order[pointer])
        one, two = root_of(nodes, edges[edge].low), root_of(nodes, edges[edge].high)
        keep, gone = (one, two) if nodes[one].degree >= nodes[two].degree else (two, one)
        n_more = nodes[gone].degree if clusters[keep].is_hub else 2 * (nodes[one].degree + nodes[two].degree)
        if not has_room(pairs, n_more):
            progress[POINTER], progress[N_HEAP], progress[N_MERGES], progress[NEEDED] = (
                pointer,
                n_heap,
                n_merges,
                n_more,
            )
            return False
        if from_heap:
            score, low, high = heap[0].score, heap[0].low, heap[0].high
            n_heap = pop(heap, n_heap)
        else:
            score, low, high = np.uint64(edges[edge].waits), edges[edge].low, edges[edge].high
            pointer -= 1
        now = score_of(edges, edge, kind, quantile, levels, packed, tall)
        now_low = min(clusters[one].label, clusters[two].label)
        now_high = max(clusters[one].label, clusters[two].label)
        if now != score or now_low != low or now_high != high:
            if now < small_threshold:
                edges[edge].waits = np.uint64(0)
                continue
            following = np.uint64(edges[order[pointer]].waits) if pointer >= 0 else np.uint64(0)
            if n_heap > 0:
                following = max(following, heap[0].score)
            if now <= following:
                edges[edge].waits = now
                n_heap = push(heap, n_heap, now, now_low, now_high, edge)
                continue
        if now < threshold and clusters[one].size >= small_size and clusters[two].size >= small_size:
            edges[edge].waits = np.uint64(0)
            continue
        if clusters[one].blocked or clusters[two].blocked:
            clusters[one].blocked = True
            clusters[two].blocked = True
            continue
        merges[n_merges].low, merges[n_merges].high, merges[n_merges].score = now_low, now_high, now
        alive[edge] = False
        join(nodes, chunks, clusters, entries, edges, alive, pairs, keep, gone, n_merges, kind, packed, tall, free)
        n_merges += 1


@jit
def _scores(records, edges, kind, quantile, levels, packed, tall):
    scores = np.empty(edges.size, np.uint64)
    for row in range(edges.size):
        scores[row] = score_of(records, edges[row], kind, quantile, levels, packed, tall)
    return scores
