"""Merging along chains of best neighbours: what lies near in the volume is worked on together, in the cache.

From a cluster to its best neighbour, from there to its best one, and so on: the score rises along the
chain until two are the best of each other. They merge, whatever happens elsewhere, and the chain goes
on from what is left of it. A chain that meets a large cluster, whose best neighbour would cost much to
find again and again, is left aside for the queue. Source: nearest-neighbour chains, Benzecri 1982 and
Murtagh 1983 (Computer Journal 26:4), for reducible linkages.
"""

from __future__ import annotations

import numpy as np

from connectome.kernels.clusters import begin_list, end_list, next_chunk, root_of
from connectome.kernels.jit import jit_bare, prefetch
from connectome.kernels.linkage import pool, score_of


@jit_bare
def merge_along_chains(
    nodes, chunks, clusters, entries, edges, stack, merges, most, levels, packed, tall, free, kind, quantile, rule
):
    """Merge pairs of clusters with at most `most` edges that are the best of each other; returns how many.

    An edge's ``waits`` holds its score, and its ``count`` is 0 once it is pooled or inside a cluster.
    """
    n_merges = 0
    for first in range(nodes.size):
        if nodes[first].owner != first or clusters[first].aside or clusters[first].blocked:
            continue
        stack[0] = first
        depth = 1
        while depth > 0:
            top = np.int64(stack[depth - 1])
            edge = _best_edge(nodes, chunks, clusters, entries, edges, top, rule)
            if nodes[top].degree > most:
                depth = _leave(clusters, stack, depth, False)
                continue
            if edge < 0:
                clusters[top].aside = True
                depth -= 1
                continue
            other = _other_end(nodes, edges, edge, top)
            if clusters[other].blocked or clusters[other].aside:
                depth = _leave(clusters, stack, depth, clusters[other].blocked)
            elif depth > 1 and other == stack[depth - 2]:
                depth -= 2
                low, high = clusters[top].label, clusters[other].label
                merges[n_merges].low, merges[n_merges].high = min(low, high), max(low, high)
                merges[n_merges].score = edges[edge].waits
                edges[edge].count = 0
                keep, gone = (top, other) if nodes[top].degree >= nodes[other].degree else (other, top)
                _join(
                    nodes,
                    chunks,
                    clusters,
                    entries,
                    edges,
                    keep,
                    gone,
                    n_merges,
                    levels,
                    packed,
                    tall,
                    free,
                    kind,
                    quantile,
                )
                n_merges += 1
                if depth == 0:
                    stack[0] = keep
                    depth = 1
            else:
                stack[depth] = other
                depth += 1
    return n_merges


@jit_bare
def _leave(clusters, stack, depth, blocked):
    """Leave a chain whose end can not merge now, or not at all; returns the depth, 0."""
    for place in range(depth):
        if blocked:
            clusters[stack[place]].blocked = True
        else:
            clusters[stack[place]].aside = True
    return 0


@jit_bare
def _other_end(nodes, edges, edge, end):
    low = root_of(nodes, edges[edge].low)
    return np.int64(root_of(nodes, edges[edge].high) if low == end else low)


@jit_bare
def _best_edge(nodes, chunks, clusters, entries, edges, root, rule):
    """Best acting edge of a cluster, -1 where there is none; drops dead entries and closes the gaps on the way."""
    threshold, small_threshold, small_size = rule
    is_small = clusters[root].size < small_size
    best, best_score = np.int64(-1), np.uint64(0)
    degree, chunk = 0, np.int64(root)
    target, out, room = begin_list(chunks, entries, root)
    while chunk >= 0:
        start, following = chunks[chunk].start, np.int64(chunks[chunk].following)
        _ask_for(nodes, chunks, entries, edges, chunk)
        for place in range(start, start + chunks[chunk].length):
            edge = np.int64(entries[place, 1])
            if edges[edge].count == 0:
                continue
            other = entries[place, 0]
            if out == room:
                target, out, room = next_chunk(chunks, entries, target)
            entries[out, 0], entries[out, 1] = other, edge
            out += 1
            degree += 1
            score = np.uint64(edges[edge].waits)
            if score < best_score or score < small_threshold:
                continue
            other = root_of(nodes, other)
            if score < threshold and not is_small and clusters[other].size >= small_size:
                continue
            if score == best_score and best >= 0 and not _is_later(nodes, clusters, edges, root, other, best):
                continue
            best, best_score = edge, score
        chunk = following
    end_list(chunks, root, target, out)
    nodes[root].degree = degree
    return best


@jit_bare
def _ask_for(nodes, chunks, entries, edges, chunk):
    """Have brought near what a walk of a chunk looks at, all at once, and where the next chunk begins."""
    if chunks[chunk].following >= 0:
        prefetch(entries, 2 * np.int64(chunks[np.int64(chunks[chunk].following)].start))
    for place in range(chunks[chunk].start, chunks[chunk].start + chunks[chunk].length):
        prefetch(edges, np.int64(entries[place, 1]))
        prefetch(nodes, np.int64(entries[place, 0]))


@jit_bare
def _is_later(nodes, clusters, edges, root, other, best):
    """Compare two neighbours of one cluster under equal scores: the labels of both ends, sorted; larger wins."""
    here, one = clusters[root].label, clusters[other].label
    two = clusters[_other_end(nodes, edges, best, root)].label
    if min(here, one) != min(here, two):
        return min(here, one) > min(here, two)
    return max(here, one) > max(here, two)


@jit_bare
def _join(nodes, chunks, clusters, entries, edges, keep, gone, stamp, levels, packed, tall, free, kind, quantile):
    """Merge `gone` into `keep` and pool what becomes parallel."""
    nodes[gone].owner = keep
    chunks[chunks[keep].tail].following = gone
    chunks[keep].tail = chunks[gone].tail
    clusters[keep].size += clusters[gone].size
    clusters[keep].label = min(clusters[keep].label, clusters[gone].label)
    degree, chunk = 0, np.int64(keep)
    target, out, room = begin_list(chunks, entries, keep)
    while chunk >= 0:
        start, following = chunks[chunk].start, np.int64(chunks[chunk].following)
        _ask_for(nodes, chunks, entries, edges, chunk)
        for place in range(start, start + chunks[chunk].length):
            edge = np.int64(entries[place, 1])
            if edges[edge].count == 0:
                continue
            other = root_of(nodes, entries[place, 0])
            if nodes[other].stamp == stamp:
                twin = np.int64(nodes[other].mark)
                pool(edges, twin, edge, kind, packed, tall, free)
                edges[edge].count = 0
                edges[twin].waits = score_of(edges, twin, kind, quantile, levels, packed, tall)
                nodes[other].degree -= 1
                continue
            nodes[other].stamp, nodes[other].mark = stamp, edge
            if out == room:
                target, out, room = next_chunk(chunks, entries, target)
            entries[out, 0], entries[out, 1] = other, edge
            out += 1
            degree += 1
        chunk = following
    end_list(chunks, keep, target, out)
    nodes[keep].degree = degree
