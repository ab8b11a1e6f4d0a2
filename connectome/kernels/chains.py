"""Merging along chains of best neighbours: what lies near in the volume is worked on together, in the cache.

From a cluster to its best neighbour, from there to its best one, and so on: the score rises along the
chain until two are the best of each other. They merge, whatever happens elsewhere, and the chain goes
on from what is left of it. Source: nearest-neighbour chains, Benzecri 1982 and Murtagh 1983 (Computer
Journal 26:4), for reducible linkages. Clusters with many edges are hubs, which are not walked.
"""

from __future__ import annotations

import numpy as np

from connectome.kernels.clusters import BLOCKED, ask_for, begin_list, end_list, next_chunk, other_end, root_of, unite
from connectome.kernels.hubs import (
    DEPTH,
    FIRST,
    N_HUBS,
    N_MERGES,
    N_PAIRS,
    NO_EDGE,
    NO_ROOM,
    best_of_hub,
    join_hub,
    make_hub,
    pool_edges_of,
)
from connectome.kernels.jit import jit_bare
from connectome.kernels.pair_table import enter_pair, has_room

LINK = np.dtype([("score", np.uint64), ("root", np.int32), ("edge", np.int32)])
"""A cluster of a chain: its best edge, `NO_EDGE` where it was not looked for, and a score that no other one passes."""


@jit_bare
def merge_along_chains(
    nodes,
    chunks,
    entries,
    edges,
    pairs,
    hubs,
    candidates,
    progress,
    stack,
    merges,
    levels,
    packed,
    tall,
    free,
    kind,
    quantile,
    rule,
    most,
    least,
):
    """Merge all pairs that are the best of each other; false where the tables of hubs need more room.

    An edge's ``count`` is 0 once it is pooled or inside a cluster. Clusters with more than `most` edges are hubs, with
    room for `least` candidates or more.
    """
    n_merges, depth, begin = progress[N_MERGES], progress[DEPTH], progress[FIRST]
    for first in range(begin, nodes.size):
        if depth == 0:
            if nodes[first].owner != first or nodes[first].hub == BLOCKED:
                continue
            stack[0].root, stack[0].edge = first, NO_EDGE
            depth = 1
        while depth > 0:
            top = np.int64(stack[depth - 1].root)
            if nodes[top].hub >= 0:
                edge = best_of_hub(nodes, chunks, entries, edges, hubs, candidates, progress, top, least, rule)
            else:
                edge = _same_best(nodes, edges, stack, depth, n_merges - 1, rule)
                if edge == NO_EDGE:
                    edge = _best_edge(nodes, chunks, entries, edges, stack, depth, rule)
            if edge == NO_EDGE:
                depth -= 1
                continue
            n_more, keep, gone = np.int64(0), top, top
            if edge != NO_ROOM:
                other = other_end(nodes, edges, edge, top)
                if nodes[other].hub == BLOCKED:
                    depth = _block(nodes, stack, depth)
                    continue
                if depth == 1 or other != stack[depth - 2].root:
                    stack[depth].root, stack[depth].edge = other, NO_EDGE
                    depth += 1
                    continue
                keep, gone = _larger_first(nodes, top, other)
                n_more = np.int64(nodes[gone].degree)
                if nodes[keep].hub < 0:
                    n_more += nodes[keep].degree + n_more
            if edge == NO_ROOM or not has_room(pairs, n_more) or progress[N_HUBS] == hubs.size:
                progress[FIRST], progress[DEPTH], progress[N_MERGES], progress[N_PAIRS] = (
                    first,
                    depth,
                    n_merges,
                    n_more,
                )
                return False
            depth -= 2
            low, high = nodes[keep].label, nodes[gone].label
            merges[n_merges].low, merges[n_merges].high = min(low, high), max(low, high)
            merges[n_merges].score = edges[edge].score
            edges[edge].count = 0
            if nodes[keep].hub >= 0:
                join_hub(
                    nodes,
                    chunks,
                    entries,
                    edges,
                    pairs,
                    hubs,
                    candidates,
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
            else:
                _join(
                    nodes,
                    chunks,
                    entries,
                    edges,
                    pairs,
                    hubs,
                    candidates,
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
                if nodes[keep].degree > most:
                    make_hub(nodes, chunks, entries, edges, pairs, hubs, progress, keep)
            n_merges += 1
            if depth == 0:
                stack[0].root, stack[0].edge = keep, NO_EDGE
                depth = 1
    progress[N_MERGES] = n_merges
    return True


@jit_bare
def _larger_first(nodes, one, two):
    """Return which of two clusters takes up the other, and this: a hub, else the one with more edges."""
    one_is_hub, two_is_hub = nodes[one].hub >= 0, nodes[two].hub >= 0
    if one_is_hub != two_is_hub:
        return (one, two) if one_is_hub else (two, one)
    return (one, two) if nodes[one].degree >= nodes[two].degree else (two, one)


@jit_bare
def _block(nodes, stack, depth):
    """Block a chain that ends at a cluster that may not merge; returns the depth, 0."""
    for place in range(depth):
        nodes[stack[place].root].hub = BLOCKED
    return 0


@jit_bare
def _same_best(nodes, edges, stack, depth, stamp, rule):
    """Best edge of the last of a chain if it is the one to what just merged, with `stamp`; else `NO_EDGE`."""
    threshold, small_threshold, small_size = rule
    root, edge = np.int64(stack[depth - 1].root), np.int64(stack[depth - 1].edge)
    if edge == NO_EDGE:
        return edge
    if edges[edge].count == 0:
        if nodes[root].stamp != stamp:
            return np.int64(NO_EDGE)
        edge = np.int64(nodes[root].mark)
    score = np.uint64(edges[edge].score)
    if score <= stack[depth - 1].score or score < small_threshold:
        return np.int64(NO_EDGE)
    other = other_end(nodes, edges, edge, root)
    if score < threshold and nodes[root].size >= small_size and nodes[other].size >= small_size:
        return np.int64(NO_EDGE)
    return edge


@jit_bare
def _best_edge(nodes, chunks, entries, edges, stack, depth, rule):
    """Best acting edge of the last of a chain, `NO_EDGE` where there is none; notes it, and the score of the next one.

    Drops dead entries and closes the gaps on the way. Of equal scores the larger label of the other end wins, which is
    the order (score, lower end, higher end).
    """
    threshold, small_threshold, small_size = rule
    root = np.int64(stack[depth - 1].root)
    is_small = nodes[root].size < small_size
    best, best_score, best_label = np.int64(NO_EDGE), small_threshold, np.int64(-1)
    next_score = small_threshold
    degree, chunk = 0, np.int64(root)
    target, out, room = begin_list(chunks, entries, root)
    while chunk >= 0:
        start, following = chunks[chunk].start, np.int64(chunks[chunk].following)
        ask_for(nodes, chunks, entries, edges, chunk)
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
            score = np.uint64(edges[edge].score)
            if score < next_score:
                continue
            other = root_of(nodes, other)
            if score < threshold and not is_small and nodes[other].size >= small_size:
                continue
            label = np.int64(nodes[other].label)
            if score > best_score or (score == best_score and label > best_label):
                best, next_score = edge, best_score
                best_score, best_label = score, label
            else:
                next_score = score
        chunk = following
    end_list(chunks, root, target, out)
    nodes[root].degree = degree
    stack[depth - 1].edge, stack[depth - 1].score = best, next_score
    return best


@jit_bare
def _join(
    nodes,
    chunks,
    entries,
    edges,
    pairs,
    hubs,
    candidates,
    keep,
    gone,
    stamp,
    levels,
    packed,
    tall,
    free,
    kind,
    quantile,
):
    """Merge `gone` into `keep`, both without many edges, and pool what becomes parallel.

    `stamp` tells the marks of this merge from older ones; there must be room for edges to hubs.
    """
    unite(nodes, chunks, keep, gone)
    degree, chunk, is_of_gone = 0, np.int64(keep), False
    target, out, room = begin_list(chunks, entries, keep)
    while chunk >= 0:
        start, following = chunks[chunk].start, np.int64(chunks[chunk].following)
        is_of_gone |= chunk == gone
        ask_for(nodes, chunks, entries, edges, chunk)
        for place in range(start, start + chunks[chunk].length):
            edge = np.int64(entries[place, 1])
            if edges[edge].count == 0:
                continue
            other = root_of(nodes, entries[place, 0])
            if nodes[other].stamp == stamp:
                twin = np.int64(nodes[other].mark)
                pool_edges_of(
                    nodes,
                    edges,
                    hubs,
                    candidates,
                    keep,
                    other,
                    twin,
                    edge,
                    levels,
                    packed,
                    tall,
                    free,
                    kind,
                    quantile,
                )
                nodes[other].degree -= 1
                continue
            if is_of_gone and nodes[other].hub >= 0:
                enter_pair(pairs, keep, other, edge, edges)
            nodes[other].stamp, nodes[other].mark = stamp, edge
            if out == room:
                target, out, room = next_chunk(chunks, entries, target)
            entries[out, 0], entries[out, 1] = other, edge
            out += 1
            degree += 1
        chunk = following
    end_list(chunks, keep, target, out)
    nodes[keep].degree = degree
