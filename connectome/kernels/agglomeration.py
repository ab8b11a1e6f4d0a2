"""One sweep of mean-linkage agglomeration over a graph whose open clusters must wait.

Edges are taken best first under the strict order (score, lower id, higher id), larger wins. A pair
that is the best of both its ends merges; if an end is open (it goes on outside) or blocked, both ends
are blocked from then on. The result is that of merging every mutually best closed pair until none is
left, and where nothing is open, that of the global greedy algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectome.kernels.jit import jit

Integers = npt.NDArray[np.int64]
SCORE_ONE = 1 << 24
"""Score of one affinity grey level: sums hold ``affinity << 24``."""


@dataclass(frozen=True)
class Linkage:
    """When an edge acts.

    Attributes
    ----------
    threshold : int
        Mean score (affinity x 2^24) at and above which an edge acts.
    small_threshold : int
        The same for pairs with one side below `small_size` voxels; at most `threshold`.
    small_size : int
        Size rule, in voxels; 0 turns it off.
    """

    threshold: int
    small_threshold: int
    small_size: int = 0

    def __post_init__(self) -> None:
        """Refuse an order that would not be monotone."""
        if not 0 <= self.small_threshold <= self.threshold < 1 << 32:
            raise ValueError(f"0 <= small_threshold <= threshold < 2^32 is wanted, got {self}")


@dataclass(frozen=True)
class Sweep:
    """What a sweep leaves.

    Attributes
    ----------
    labels : int64 array, shape (clusters,)
        Cluster to the lowest member of the cluster that it now belongs to.
    sizes : int64 array, shape (clusters,)
        Voxels, right at the lowest members.
    merges : int64 array (n, 2) and scores : uint64 array (n,)
        Lower and higher label of each merged pair, and its score in 32.32 fixed point.
    edges : int64 arrays a, b, sums, counts
        Pooled edges between the clusters that are left, a < b, sorted.
    acts : bool array
        Whether each of these edges acts.
    """

    labels: Integers
    sizes: Integers
    merges: Integers
    scores: npt.NDArray[np.uint64]
    edges: tuple[Integers, Integers, Integers, Integers]
    acts: npt.NDArray[np.bool_]


def scores_of(sums: Integers, counts: Integers) -> npt.NDArray[np.uint64]:
    """Return exact means in 32.32 fixed point, rounded down: the order of edges, never through floats."""
    mean, rest = np.divmod(sums, np.maximum(counts, 1))
    fraction = (rest << 32) // np.maximum(counts, 1)
    return (mean.astype(np.uint64) << np.uint64(32)) | fraction.astype(np.uint64)


def sweep(
    a: Integers,
    b: Integers,
    sums: Integers,
    counts: Integers,
    sizes: Integers,
    is_open: npt.NDArray[np.bool_],
    linkage: Linkage,
) -> Sweep:
    """Merge all pairs that the global greedy algorithm is sure to merge.

    Parameters
    ----------
    a, b : int64 arrays, shape (edges,)
        Ends as positions in the sorted list of clusters; a < b, sorted by (a, b), each pair once.
    sums, counts : int64 arrays, shape (edges,)
        Sum of ``affinity << 24 | hash`` and number of voxel edges (below 2^31).
    sizes : int64 array, shape (clusters,)
        Voxels.
    is_open : bool array, shape (clusters,)
        Clusters that go on outside; they never merge here.
    linkage : Linkage
        Thresholds and size rule.

    Returns
    -------
    Sweep

    Notes
    -----
    O(m log m) in edges. Lists of edges are joined in O(1), the cluster of lower degree is walked, pairs
    are found by open addressing. Queue entries are upper bounds, because the linkage is reducible, so
    that a merge pushes nothing. Source: exact segmentation recipe, section 4; Lu, Zlateski and Seung
    2021 (arXiv 2106.10795).
    """
    n, m = sizes.size, a.size
    ends = np.stack([a, b], axis=1).astype(np.int32) if m else np.zeros((0, 2), np.int32)
    sums, counts, sizes = sums.copy(), counts.copy(), sizes.copy()
    scores = scores_of(sums, counts)
    acting = np.flatnonzero(scores >= np.uint64(linkage.small_threshold << 32))
    queue = acting[np.argsort(scores[acting], kind="stable")].astype(np.int32)
    alive = np.ones(m, np.bool_)
    owner, labels, merges, merge_scores = _sweep(
        ends,
        sums,
        counts,
        sizes,
        is_open.copy(),
        scores,
        queue,
        alive,
        np.uint64(linkage.threshold << 32),
        np.uint64(linkage.small_threshold << 32),
        linkage.small_size,
    )
    final = labels[owner]
    left = np.flatnonzero(alive)
    ends_left = np.sort(labels[ends[left]], axis=1)
    order = np.lexsort((ends_left[:, 1], ends_left[:, 0]))
    left = left[order]
    edges = (ends_left[order, 0], ends_left[order, 1], sums[left], counts[left])
    cluster_sizes = np.zeros(n, np.int64)
    roots = np.flatnonzero(owner == np.arange(n))
    cluster_sizes[labels[roots]] = sizes[roots]
    return Sweep(final, cluster_sizes, merges, merge_scores, edges, acting_edges(edges, cluster_sizes, linkage))


def acting_edges(
    edges: tuple[Integers, Integers, Integers, Integers], sizes: Integers, linkage: Linkage
) -> npt.NDArray[np.bool_]:
    """Tell which edges act: above the threshold, or above the small one with a small side."""
    a, b, sums, counts = edges
    scores = scores_of(sums, counts)
    small = np.minimum(sizes[a], sizes[b]) < linkage.small_size
    acts: npt.NDArray[np.bool_] = (scores >= np.uint64(linkage.threshold << 32)) | (
        small & (scores >= np.uint64(linkage.small_threshold << 32))
    )
    return acts


@jit
def _sweep(ends, sums, counts, sizes, blocked, queued, queue, alive, threshold, small_threshold, small_size):
    """Run the sweep; `queued` holds the score under which an edge waits, in the queue or in the heap."""
    n = sizes.size
    owner, labels, first_ends = np.arange(n), np.arange(n), ends.copy()
    lists = _incidence(ends, n)
    slots = _table(ends, alive)
    n_filled, pointer, n_merges = sums.size, queue.size - 1, 0
    merges, merge_scores = np.empty((n, 2), np.int64), np.empty(n, np.uint64)
    heap, n_heap = (np.empty(64, np.uint64), np.empty((64, 2), np.int32), np.empty(64, np.int32)), 0
    while pointer >= 0 or n_heap > 0:
        if pointer >= 0 and not alive[queue[pointer]]:
            pointer -= 1
            continue
        if n_heap == 0 or (
            pointer >= 0 and _is_later(queued[queue[pointer]], first_ends[queue[pointer]], heap[0][0], heap[1][0])
        ):
            edge = queue[pointer]
            score, low, high = queued[edge], first_ends[edge, 0], first_ends[edge, 1]
            pointer -= 1
        else:
            score, low, high, edge = heap[0][0], heap[1][0, 0], heap[1][0, 1], heap[2][0]
            n_heap = _pop(heap, n_heap)
            if not alive[edge]:
                continue
        u, v = ends[edge, 0], ends[edge, 1]
        now = _score(sums[edge], counts[edge])
        now_low, now_high = min(labels[u], labels[v]), max(labels[u], labels[v])
        if now != score or now_low != low or now_high != high:
            queued[edge] = np.uint64(0)
            if now >= small_threshold:
                queued[edge] = now
                heap = _with_room(heap, n_heap)
                n_heap = _push(heap, n_heap, now, now_low, now_high, edge)
            continue
        if now < threshold and sizes[u] >= small_size and sizes[v] >= small_size:
            queued[edge] = np.uint64(0)
            continue
        if blocked[u] or blocked[v]:
            blocked[u] = True
            blocked[v] = True
            continue
        merges[n_merges, 0], merges[n_merges, 1], merge_scores[n_merges] = now_low, now_high, now
        n_merges += 1
        keep, gone = (u, v) if lists[3][u] >= lists[3][v] else (v, u)
        if n_filled + lists[3][gone] > slots.size * 3 // 4:
            slots = _table(ends, alive)
            n_filled = sums.size
        n_filled += _join(keep, gone, ends, sums, counts, queued, alive, lists, slots)
        owner[gone] = keep
        labels[keep] = now_low
        sizes[keep] += sizes[gone]
    for slot in range(n):
        root = slot
        while owner[root] != root:
            root = owner[root]
        owner[slot] = root
    return owner, labels, merges[:n_merges], merge_scores[:n_merges]


@jit
def _score(total, count):
    mean, rest = total // count, total % count
    return (np.uint64(mean) << np.uint64(32)) | np.uint64((rest << 32) // count)


@jit
def _is_later(score, ends, other_score, other_ends):
    if score != other_score:
        return score > other_score
    if ends[0] != other_ends[0]:
        return ends[0] > other_ends[0]
    return ends[1] > other_ends[1]


@jit
def _incidence(ends, n):
    """Linked lists of half edges (2 x edge + side) per cluster: follow, head, tail, degree."""
    m = ends.shape[0]
    follow = np.full(2 * m, -1, np.int32)
    head, tail, degree = np.full(n, -1, np.int32), np.full(n, -1, np.int32), np.zeros(n, np.int32)
    for half in range(2 * m - 1, -1, -1):
        slot = ends[half >> 1, half & 1]
        follow[half] = head[slot]
        if head[slot] < 0:
            tail[slot] = half
        head[slot] = half
        degree[slot] += 1
    return follow, head, tail, degree


@jit
def _table(ends, alive):
    """Open addressing from a pair of clusters to its edge; at most 3/8 full."""
    n = 0
    for edge in range(alive.size):
        n += alive[edge]
    size = 64
    while size * 3 < n * 8:
        size *= 2
    slots = np.full(size, -1, np.int32)
    for edge in range(alive.size):
        if alive[edge]:
            place = _place(ends[edge, 0], ends[edge, 1], size)
            while slots[place] >= 0:
                place = (place + 1) & (size - 1)
            slots[place] = edge
    return slots


@jit
def _place(u, v, size):
    pair = (np.uint64(min(u, v)) << np.uint64(32)) | np.uint64(max(u, v))
    pair = (pair ^ (pair >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(pair >> np.uint64(32)) & (size - 1)


@jit
def _join(keep, gone, ends, sums, counts, queued, alive, lists, slots):
    """Hand the edges of `gone` to `keep`; where both touch one cluster, pool. Returns slots taken.

    Of two pooled edges the one that waits under the higher score survives, so that every queue entry
    stays an upper bound and nothing needs to be pushed.
    """
    follow, head, tail, degree = lists
    wrap = slots.size - 1
    n_taken = 0
    half = head[gone]
    while half >= 0:
        following = follow[half]
        edge, side = half >> 1, half & 1
        if alive[edge]:
            other = ends[edge, 1 - side]
            if other == keep:
                alive[edge] = False
                degree[keep] -= 1
            else:
                place = _place(keep, other, slots.size)
                found = -1
                while slots[place] >= 0:
                    candidate = slots[place]
                    if alive[candidate] and (
                        (ends[candidate, 0] == keep and ends[candidate, 1] == other)
                        or (ends[candidate, 1] == keep and ends[candidate, 0] == other)
                    ):
                        found = candidate
                        break
                    place = (place + 1) & wrap
                survivor = edge
                if found >= 0:
                    total, count = sums[edge] + sums[found], counts[edge] + counts[found]
                    degree[other] -= 1
                    if queued[found] > queued[edge]:
                        survivor = found
                        alive[edge] = False
                    else:
                        alive[found] = False
                        degree[keep] -= 1
                    sums[survivor], counts[survivor] = total, count
                else:
                    n_taken += 1
                slots[place] = survivor
                if survivor == edge:
                    ends[edge, side] = keep
                    follow[half] = -1
                    if tail[keep] >= 0:
                        follow[tail[keep]] = half
                    else:
                        head[keep] = half
                    tail[keep] = half
                    degree[keep] += 1
        half = following
    return n_taken


@jit
def _with_room(heap, n):
    if n < heap[0].size:
        return heap
    scores, ends, edges = (
        np.empty(2 * n, np.uint64),
        np.empty((2 * n, 2), np.int32),
        np.empty(2 * n, np.int32),
    )
    scores[:n], ends[:n], edges[:n] = heap[0], heap[1], heap[2]
    return scores, ends, edges


@jit
def _push(heap, n, score, low, high, edge):
    scores, ends, edges = heap
    entry = np.empty(2, np.int32)
    entry[0], entry[1] = low, high
    place = n
    while place > 0 and _is_later(score, entry, scores[(place - 1) >> 1], ends[(place - 1) >> 1]):
        above = (place - 1) >> 1
        scores[place], edges[place] = scores[above], edges[above]
        ends[place, 0], ends[place, 1] = ends[above, 0], ends[above, 1]
        place = above
    scores[place], edges[place], ends[place, 0], ends[place, 1] = score, edge, low, high
    return n + 1


@jit
def _pop(heap, n):
    """Remove the top; return the number of entries left."""
    scores, ends, edges = heap
    n -= 1
    score, edge, entry = scores[n], edges[n], ends[n].copy()
    place = 0
    while 2 * place + 1 < n:
        child = 2 * place + 1
        if child + 1 < n and _is_later(scores[child + 1], ends[child + 1], scores[child], ends[child]):
            child += 1
        if not _is_later(scores[child], ends[child], score, entry):
            break
        scores[place], edges[place] = scores[child], edges[child]
        ends[place, 0], ends[place, 1] = ends[child, 0], ends[child, 1]
        place = child
    scores[place], edges[place], ends[place, 0], ends[place, 1] = score, edge, entry[0], entry[1]
    return n
