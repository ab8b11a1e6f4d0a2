"""Clusters that merge: lists of edges that join in constant time, and pooling of edges that become parallel.

A cluster is named inside by the slot of one of its members (its root) and outside by its lowest member
(its label). Its edges are a chain of the chunks that its members began with, so that joining two
clusters moves nothing. Of two merging clusters the one with fewer edges is walked; if the other one is
no hub it is walked too, and a mark per neighbour finds parallel edges. A hub is never walked for the
sake of a smaller cluster: its neighbours are found through a table of pairs.

Compiled code counts references to arrays wherever a tuple is unpacked, which costs more than the work
itself: the state is a few plain arrays of records that every function takes in one order.
"""

from __future__ import annotations

import numpy as np

from connectome.kernels.jit import jit_bare
from connectome.kernels.linkage import pool
from connectome.kernels.pair_table import enter_pair, find_pair

HUB_DEGREE = 96
"""Clusters with more edges than this are hubs: walking their list would cost more than look-ups."""
NONE, REPLACED, ALL = 0, 1, 2

NODE = np.dtype([("owner", np.int32), ("degree", np.int32), ("stamp", np.int32), ("mark", np.int32)])
"""Of each slot what every walk looks at: union-find, number of neighbours, and when and where it was seen last."""
CHUNK = np.dtype([("start", np.int32), ("length", np.int32), ("following", np.int32), ("tail", np.int32)])
"""Of each slot its entries, the slot whose chunk follows in its cluster's chain (-1: none), and the chain's last."""
CLUSTER = np.dtype(
    [("size", np.int64), ("label", np.int32), ("blocked", np.bool_), ("is_hub", np.bool_), ("aside", np.bool_)]
)
"""Of each root its voxels, its lowest member, whether it may not merge, and whether it is a hub or left aside."""


@jit_bare
def root_of(nodes, slot):
    """Find the root of a slot's cluster, halving the path."""
    while nodes[slot].owner != slot:
        nodes[slot].owner = nodes[nodes[slot].owner].owner
        slot = nodes[slot].owner
    return slot


@jit_bare
def begin(nodes, chunks, clusters, entries, edges, sizes, is_open):
    """Begin with every slot by itself."""
    n, m = sizes.size, edges.size
    for slot in range(n):
        nodes[slot].owner, nodes[slot].degree, nodes[slot].stamp, nodes[slot].mark = slot, 0, -1, -1
        clusters[slot].size, clusters[slot].label = sizes[slot], slot
        clusters[slot].blocked, clusters[slot].is_hub, clusters[slot].aside = is_open[slot], False, False
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
def join(nodes, chunks, clusters, entries, edges, alive, pairs, keep, gone, stamp, kind, packed, tall, free):
    """Merge the cluster `gone` into `keep`; `stamp` tells the marks of this merge from older ones.

    The table of pairs must have room for the neighbours of both.
    """
    nodes[gone].owner = keep
    if clusters[keep].is_hub:
        _close(nodes, chunks, clusters, entries, edges, alive, pairs, keep, gone, stamp, NONE, kind, packed, tall, free)
        n_new = _hand_over(nodes, chunks, entries, edges, alive, pairs, keep, gone, kind, packed, tall, free)
        nodes[keep].degree += n_new - 1
    else:
        n_old = _close(
            nodes, chunks, clusters, entries, edges, alive, pairs, keep, keep, stamp, REPLACED, kind, packed, tall, free
        )
        n_new = _close(
            nodes, chunks, clusters, entries, edges, alive, pairs, keep, gone, stamp, ALL, kind, packed, tall, free
        )
        nodes[keep].degree = n_old + n_new
    chunks[chunks[keep].tail].following = gone
    chunks[keep].tail = chunks[gone].tail
    clusters[keep].size += clusters[gone].size
    clusters[keep].label = min(clusters[keep].label, clusters[gone].label)
    if nodes[keep].degree > HUB_DEGREE and not clusters[keep].is_hub:
        make_hub(nodes, chunks, clusters, entries, alive, pairs, keep)


@jit_bare
def _close(nodes, chunks, clusters, entries, edges, alive, pairs, root, chunk, stamp, enter, kind, packed, tall, free):
    """Walk one chain of chunks of `root`: drop what is inside or dead, pool what is parallel.

    `enter` says which edges to hubs are entered in the table of pairs: all, as they are new to `root`, those
    that are replaced, or none. Returns the number of new neighbours.
    """
    n_new = 0
    while chunk >= 0:
        begin = chunks[chunk].start
        out = begin
        for place in range(begin, begin + chunks[chunk].length):
            other, edge = root_of(nodes, entries[place, 0]), entries[place, 1]
            if other == root:
                continue
            if nodes[other].stamp != stamp:
                nodes[other].stamp, nodes[other].mark = stamp, out
                entries[out, 0], entries[out, 1] = other, edge
                out += 1
                if enter == ALL and clusters[other].is_hub:
                    enter_pair(pairs, root, other, edge, alive)
            elif alive[edge]:
                first = nodes[other].mark
                twin = entries[first, 1]
                if alive[twin]:
                    edge = _pooled(edges, alive, twin, edge, kind, packed, tall, free)
                    nodes[other].degree -= 1
                if edge != twin:
                    entries[first, 1] = edge
                    if enter != NONE and clusters[other].is_hub:
                        enter_pair(pairs, root, other, edge, alive)
        chunks[chunk].length = out - begin
        n_new += out - begin
        chunk = chunks[chunk].following
    return n_new


@jit_bare
def _hand_over(nodes, chunks, entries, edges, alive, pairs, hub, chunk, kind, packed, tall, free):
    """Give the edges of a closed chain to a hub, which is not walked; returns the number of new neighbours."""
    n_new = 0
    while chunk >= 0:
        begin = chunks[chunk].start
        out = begin
        for place in range(begin, begin + chunks[chunk].length):
            other, edge = entries[place, 0], entries[place, 1]
            twin = find_pair(pairs, hub, other, nodes, edges, alive)
            if twin >= 0:
                edge = _pooled(edges, alive, twin, edge, kind, packed, tall, free)
                nodes[other].degree -= 1
            else:
                n_new += 1
            if edge != twin:
                entries[out, 0], entries[out, 1] = other, edge
                out += 1
                enter_pair(pairs, hub, other, edge, alive)
        chunks[chunk].length = out - begin
        chunk = chunks[chunk].following
    return n_new


@jit_bare
def make_hub(nodes, chunks, clusters, entries, alive, pairs, root):
    """Enter all edges of a cluster in the table of pairs, and drop dead ones; there must be room for its degree."""
    clusters[root].is_hub = True
    chunk = np.int64(root)
    target, out, room = begin_list(chunks, entries, root)
    while chunk >= 0:
        start, following = chunks[chunk].start, np.int64(chunks[chunk].following)
        for place in range(start, start + chunks[chunk].length):
            other, edge = entries[place, 0], entries[place, 1]
            if not alive[edge]:
                continue
            if out == room:
                target, out, room = next_chunk(chunks, entries, target)
            entries[out, 0], entries[out, 1] = other, edge
            out += 1
            enter_pair(pairs, root, root_of(nodes, other), edge, alive)
        chunk = following
    end_list(chunks, root, target, out)


@jit_bare
def _pooled(edges, alive, one, two, kind, packed, tall, free):
    """Pool two edges; the one that waits under the higher score lives on, so that no entry of the queue is too low."""
    keep, gone = (one, two) if edges[one].waits >= edges[two].waits else (two, one)
    alive[gone] = False
    pool(edges, keep, gone, kind, packed, tall, free)
    return keep


@jit_bare
def n_hub_edges(nodes):
    """Count the edges of clusters with many edges; those between two of them twice."""
    n = 0
    for slot in range(nodes.size):
        if nodes[slot].owner == slot and nodes[slot].degree > HUB_DEGREE:
            n += nodes[slot].degree
    return n


@jit_bare
def make_hubs(nodes, chunks, clusters, entries, alive, pairs):
    """Make hubs of all clusters with many edges, and of them alone; there must be room for these."""
    for slot in range(nodes.size):
        if nodes[slot].owner == slot:
            clusters[slot].is_hub = False
            if nodes[slot].degree > HUB_DEGREE:
                make_hub(nodes, chunks, clusters, entries, alive, pairs, slot)


@jit_bare
def label_all(nodes, clusters, labels, sizes, blocked):
    """Write each slot's label, and at each label its cluster's voxels and whether it may not merge."""
    for slot in range(nodes.size):
        root = root_of(nodes, slot)
        labels[slot] = clusters[root].label
        if root == slot:
            sizes[labels[slot]] = clusters[root].size
            blocked[labels[slot]] = clusters[root].blocked
