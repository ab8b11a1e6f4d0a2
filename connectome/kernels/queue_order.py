"""The queue of a sweep: edges in order, the best last, and a heap of those that were lowered since."""

from __future__ import annotations

import numpy as np

from connectome.kernels.jit import jit, jit_bare
from connectome.kernels.pair_order import sort_buckets, starts_of_counts

WAITING = np.dtype([("score", np.uint64), ("low", np.int32), ("high", np.int32), ("edge", np.int64)])
"""An entry of the heap: an edge under a score and ends that were lowered since the beginning."""


@jit
def keys_of_acting(records, sizes, fraction_bits, threshold, small_threshold, small_size):
    """Let edges that act wait; return them as (floor of the score << 32 | edge), in any order."""
    n = 0
    keys = np.empty(records.size, np.uint64)
    for edge in range(records.size):
        score = records[edge].waits
        acts = score >= threshold or (
            score >= small_threshold
            and (sizes[records[edge].low] < small_size or sizes[records[edge].high] < small_size)
        )
        if not acts:
            records[edge].waits = np.uint64(0)
        keys[n] = ((np.uint64(score) >> fraction_bits) << np.uint64(32)) | np.uint64(edge)
        n += acts
    return keys[:n]


@jit
def in_full_order(keys, records, stops):
    """Edges sorted by (score, low, high), from their sorted keys; these are lost.

    `stops` is scratch, one more than clusters.
    """
    order = np.empty(keys.size, np.int32)
    for place in range(keys.size):
        order[place] = np.int32(keys[place] & np.uint64(0xFFFFFFFF))
    begin = 0
    while begin < order.size:
        stop = begin + 1
        while stop < order.size and keys[stop] >> np.uint64(32) == keys[begin] >> np.uint64(32):
            stop += 1
        if stop > begin + 1:
            _sort_run(keys[begin:stop], order[begin:stop], records, stops)
        begin = stop
    return order


@jit
def _sort_run(keys, order, records, stops):
    """Sort edges by (score, low, high); `keys` is scratch, as long as they are."""
    if order.size > stops.size >> 3:
        _sort_many_by_ends(keys, order, records, stops)
    else:
        for place in range(order.size):
            edge = order[place]
            keys[place] = (np.uint64(records[edge].low) << np.uint64(32)) | np.uint64(records[edge].high)
        order[:] = order[np.argsort(keys, kind="mergesort")]
    has_ties_alone = True
    for place in range(order.size):
        keys[place] = records[order[place]].waits
        has_ties_alone &= keys[place] == keys[0]
    if not has_ties_alone:
        order[:] = order[np.argsort(keys, kind="mergesort")]


@jit
def _sort_many_by_ends(keys, order, records, stops):
    """Sort edges by (low, high), by a bucket for each low end."""
    stops[:] = 0
    for place in range(order.size):
        stops[records[order[place]].low + 1] += 1
    starts_of_counts(stops)
    for place in range(order.size):
        low = records[order[place]].low
        keys[stops[low]] = (np.uint64(records[order[place]].high) << np.uint64(32)) | np.uint64(order[place])
        stops[low] += 1
    sort_buckets(keys, stops)
    for place in range(order.size):
        order[place] = np.int32(keys[place] & np.uint64(0xFFFFFFFF))


@jit_bare
def is_later(score, low, high, other):
    """Tell whether a pair comes before the entry `other`: the larger score, then the larger ends."""
    if score != other.score:
        return score > other.score
    if low != other.low:
        return low > other.low
    return high > other.high


@jit_bare
def push(heap, n, score, low, high, edge):
    """Add an entry; returns the number of entries."""
    place = n
    while place > 0 and is_later(score, low, high, heap[(place - 1) >> 1]):
        heap[place] = heap[(place - 1) >> 1]
        place = (place - 1) >> 1
    heap[place].score, heap[place].low, heap[place].high, heap[place].edge = score, low, high, edge
    return n + 1


@jit_bare
def pop(heap, n):
    """Remove the top; returns the number of entries."""
    n -= 1
    score, low, high, edge = heap[n].score, heap[n].low, heap[n].high, heap[n].edge
    place = 0
    while 2 * place + 1 < n:
        child = 2 * place + 1
        if child + 1 < n and is_later(heap[child + 1].score, heap[child + 1].low, heap[child + 1].high, heap[child]):
            child += 1
        if not is_later(heap[child].score, heap[child].low, heap[child].high, heap[n]):
            break
        heap[place] = heap[child]
        place = child
    heap[place].score, heap[place].low, heap[place].high, heap[place].edge = score, low, high, edge
    return n
