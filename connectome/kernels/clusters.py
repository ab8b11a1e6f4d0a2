"""Clusters that merge, and lists of their edges that join in constant time.

A cluster is named inside by the slot of one of its members (its root) and outside by its lowest member
(its label). Its edges are a chain of the chunks that its members began with, so that joining two
clusters moves nothing; whenever a list is walked it is written anew without its dead entries.

Compiled code counts references to arrays wherever a tuple is unpacked, which costs more than the work
itself: the state is a few plain arrays of records that every function takes in one order.
"""

from __future__ import annotations

import numpy as np

from connectome.kernels.jit import jit_bare, prefetch

NO_HUB, BLOCKED = -1, -2
NODE = np.dtype(
    [
        ("owner", np.int32),
        ("degree", np.int32),
        ("stamp", np.int32),
        ("mark", np.int32),
        ("size", np.int64),
        ("label", np.int32),
        ("hub", np.int32),
    ]
)
"""Of each slot what walks look at, in half a cache line: union-find, and of roots the number of neighbours, when they
were seen last and by which edge, voxels, the lowest member, and the number of the hub (or why it is none)."""
CHUNK = np.dtype([("start", np.int32), ("length", np.int32), ("following", np.int32), ("tail", np.int32)])
"""Of each slot its entries, the slot whose chunk follows in its cluster's chain (-1: none), and the chain's last."""


@jit_bare
def root_of(nodes, slot):
    """Find the root of a slot's cluster, halving the path."""
    while nodes[slot].owner != slot:
        nodes[slot].owner = nodes[nodes[slot].owner].owner
        slot = nodes[slot].owner
    return slot


@jit_bare
def other_end(nodes, edges, edge, end):
    """Find the root at the other end of an edge of a root."""
    low = root_of(nodes, edges[edge].low)
    return np.int64(root_of(nodes, edges[edge].high) if low == end else low)


@jit_bare
def begin(nodes, chunks, entries, edges, sizes, is_open):
    """Begin with every slot by itself."""
    n, m = sizes.size, edges.size
    for slot in range(n):
        nodes[slot].owner, nodes[slot].degree, nodes[slot].stamp, nodes[slot].mark = slot, 0, -1, -1
        nodes[slot].size, nodes[slot].label = sizes[slot], slot
        nodes[slot].hub = BLOCKED if is_open[slot] else NO_HUB
    for edge in range(m):
        nodes[edges[edge].low].degree += 1
        nodes[edges[edge].high].degree += 1
    start = 0
    for slot in range(n):
        chunks[slot].start, chunks[slot].length = start, 0
        chunks[slot].following, chunks[slot].tail = -1, slot
        start += nodes[slot].degree
    for edge in range(m):
        low, high = edges[edge].low, edges[edge].high
        place = chunks[low].start + chunks[low].length
        entries[place, 0], entries[place, 1] = high, edge
        chunks[low].length += 1
        place = chunks[high].start + chunks[high].length
        entries[place, 0], entries[place, 1] = low, edge
        chunks[high].length += 1


@jit_bare
def unite(nodes, chunks, keep, gone):
    """Make one cluster of two: the list of `gone` follows that of `keep`."""
    nodes[gone].owner = keep
    chunks[chunks[keep].tail].following = gone
    chunks[keep].tail = chunks[gone].tail
    nodes[keep].size += nodes[gone].size
    nodes[keep].label = min(nodes[keep].label, nodes[gone].label)


@jit_bare
def begin_list(chunks, entries, root):
    """Begin to write a cluster's list anew, behind where it is read: chunk, place, and where the chunk's room ends."""
    return np.int64(root), np.int64(chunks[root].start), _room(chunks, entries, root)


@jit_bare
def next_chunk(chunks, entries, chunk):
    """Go on in the next chunk of a list that is written anew: chunk, place, and where its room ends."""
    chunks[chunk].length = _room(chunks, entries, chunk) - chunks[chunk].start
    following = np.int64(chunks[chunk].following)
    return following, np.int64(chunks[following].start), _room(chunks, entries, following)


@jit_bare
def end_list(chunks, root, chunk, place):
    """End a list that was written anew at a place of one of its chunks; those after it fall away."""
    chunks[chunk].length, chunks[chunk].following = place - chunks[chunk].start, -1
    chunks[root].tail = chunk


@jit_bare
def _room(chunks, entries, chunk):
    """Where the room of a chunk ends: where the next slot's begins."""
    return np.int64(chunks[chunk + 1].start if chunk + 1 < chunks.size else entries.shape[0])


@jit_bare
def ask_for(nodes, chunks, entries, edges, chunk):
    """Have brought near what a walk of a chunk looks at, all at once, and where the next chunk begins."""
    if chunks[chunk].following >= 0:
        prefetch(entries, 2 * np.int64(chunks[np.int64(chunks[chunk].following)].start))
    for place in range(chunks[chunk].start, chunks[chunk].start + chunks[chunk].length):
        prefetch(edges, np.int64(entries[place, 1]))
        prefetch(nodes, np.int64(entries[place, 0]))


@jit_bare
def label_all(nodes, labels, sizes):
    """Write each slot's label, and at each label its cluster's voxels."""
    for slot in range(nodes.size):
        root = root_of(nodes, slot)
        labels[slot] = nodes[root].label
        if root == slot:
            sizes[labels[slot]] = nodes[root].size
