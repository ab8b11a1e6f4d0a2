"""Hubs: clusters with so many edges that neither a merge nor the search for the best edge may walk all of them.

What a hub shares with a cluster that joins it is found through a table of pairs, and its best edge among
its candidates. Its list is walked only to gather these, a sixteenth of its edges or more at a time.
"""

from __future__ import annotations

import numpy as np

from connectome.kernels.candidates import drop, gather, lower, offer, order, room_of
from connectome.kernels.clusters import (
    BLOCKED,
    NO_HUB,
    ask_for,
    begin_list,
    end_list,
    next_chunk,
    other_end,
    root_of,
    unite,
)
from connectome.kernels.jit import jit_bare
from connectome.kernels.linkage import pool, score_of
from connectome.kernels.pair_table import ask_for_pair, enter_pair, find_pair

NO_EDGE, NO_ROOM = -1, -2
PROGRESS = 6
FIRST, DEPTH, N_MERGES, N_PAIRS, N_HUBS, N_CANDIDATES = range(PROGRESS)
"""Where chains are, what they found, and the room that is wanted or taken for pairs, hubs and candidates."""
_HIGHEST = np.uint64(0xFFFFFFFFFFFFFFFF)
_HIGHEST_LABEL = np.int32(0x7FFFFFFF)


@jit_bare
def make_hub(nodes, chunks, entries, edges, pairs, hubs, progress, root):
    """Enter all edges of a cluster in the table of pairs; there must be room. It begins without candidates."""
    hub = progress[N_HUBS]
    progress[N_HUBS] += 1
    nodes[root].hub = hub
    hubs[hub].score, hubs[hub].label = _HIGHEST, _HIGHEST_LABEL
    hubs[hub].start, hubs[hub].room, hubs[hub].n = 0, 0, 0
    chunk = np.int64(root)
    while chunk >= 0:
        for place in range(chunks[chunk].start, chunks[chunk].start + chunks[chunk].length):
            edge = np.int64(entries[place, 1])
            if edges[edge].count != 0:
                enter_pair(pairs, root, root_of(nodes, entries[place, 0]), edge, edges)
        chunk = np.int64(chunks[chunk].following)


@jit_bare
def make_hubs(nodes, chunks, entries, edges, pairs, hubs, progress, most):
    """Make hubs of all clusters with more than `most` edges that may merge, and of them alone."""
    progress[N_HUBS], progress[N_CANDIDATES] = 0, 0
    for slot in range(nodes.size):
        if nodes[slot].owner == slot and nodes[slot].hub != BLOCKED:
            nodes[slot].hub = NO_HUB
            if nodes[slot].degree > most:
                make_hub(nodes, chunks, entries, edges, pairs, hubs, progress, slot)


@jit_bare
def room_of_hubs(nodes, most, least):
    """Return how many hubs there will be, their edges (those between two of them twice), and their candidates."""
    n_hubs, n_edges, n_candidates = 0, 0, 0
    for slot in range(nodes.size):
        degree = nodes[slot].degree
        if nodes[slot].owner == slot and degree > most and nodes[slot].hub != BLOCKED:
            n_hubs += 1
            n_edges += degree
            n_candidates += room_of(degree, least)
    return n_hubs, n_edges, n_candidates


@jit_bare
def best_of_hub(nodes, chunks, entries, edges, hubs, candidates, progress, root, least, rule):
    """Best acting edge of a hub, `NO_EDGE` where there is none, `NO_ROOM` where candidates need more room."""
    threshold, small_threshold, small_size = rule
    hub = np.int64(nodes[root].hub)
    is_small = nodes[root].size < small_size
    while True:
        while hubs[hub].n > 0:
            first = np.int64(hubs[hub].start)
            edge = np.int64(candidates[first].edge)
            if edges[edge].count == 0:
                drop(hubs, candidates, hub)
                continue
            other = other_end(nodes, edges, edge, root)
            score, label = np.uint64(edges[edge].score), nodes[other].label
            if score != candidates[first].score or label != candidates[first].label:
                lower(hubs, candidates, hub, score, label)
            elif score < threshold and not is_small and nodes[other].size >= small_size:
                drop(hubs, candidates, hub)  # it will never act again: scores fall and sizes grow
            else:
                return edge
        if hubs[hub].score == small_threshold and hubs[hub].label < 0:
            return np.int64(NO_EDGE)
        wanted = room_of(nodes[root].degree, least)
        if hubs[hub].room < wanted:
            if progress[N_CANDIDATES] + wanted > candidates.size:
                return np.int64(NO_ROOM)
            hubs[hub].start, hubs[hub].room = progress[N_CANDIDATES], wanted
            progress[N_CANDIDATES] += wanted
        _gather_all(nodes, chunks, entries, edges, hubs, candidates, root, rule)


@jit_bare
def _gather_all(nodes, chunks, entries, edges, hubs, candidates, root, rule):
    """Gather the best acting edges of a hub; drops dead entries and closes the gaps on the way."""
    threshold, small_threshold, small_size = rule
    hub = np.int64(nodes[root].hub)
    is_small = nodes[root].size < small_size
    hubs[hub].score, hubs[hub].label, hubs[hub].n = small_threshold, -1, 0
    degree, chunk = 0, np.int64(root)
    target, out, room = begin_list(chunks, entries, root)
    while chunk >= 0:
        start, following = chunks[chunk].start, np.int64(chunks[chunk].following)
        ask_for(nodes, chunks, entries, edges, chunk)
        for place in range(start, start + chunks[chunk].length):
            edge = np.int64(entries[place, 1])
            if edges[edge].count == 0:
                continue
            other = root_of(nodes, entries[place, 0])
            if out == room:
                target, out, room = next_chunk(chunks, entries, target)
            entries[out, 0], entries[out, 1] = other, edge
            out += 1
            degree += 1
            score = np.uint64(edges[edge].score)
            if score < hubs[hub].score:
                continue
            if score >= threshold or is_small or nodes[other].size < small_size:
                gather(hubs, candidates, hub, score, nodes[other].label, edge)
        chunk = following
    end_list(chunks, root, target, out)
    nodes[root].degree = degree
    order(hubs, candidates, hub)


@jit_bare
def pool_edges_of(nodes, edges, hubs, candidates, root, other, twin, edge, levels, packed, tall, free, kind, quantile):
    """Pool `edge` into `twin`: both join `other` to two clusters that merge, and `twin` is of `root`, which stays.

    If `other` is a hub that has only `edge` among its candidates, it gets to know `twin`.
    """
    before = np.uint64(edges[twin].score)
    pool(edges, twin, edge, kind, packed, tall, free)
    edges[edge].count = 0
    score = score_of(edges, twin, kind, quantile, levels, packed, tall)
    edges[twin].score = score
    hub = np.int64(nodes[other].hub)
    if hub >= 0 and score > before:
        offer(hubs, candidates, hub, score, nodes[root].label, twin)


@jit_bare
def join_hub(
    nodes,
    chunks,
    entries,
    edges,
    pairs,
    hubs,
    candidates,
    root,
    gone,
    stamp,
    levels,
    packed,
    tall,
    free,
    kind,
    quantile,
):
    """Merge the cluster `gone` into the hub `root`, whose list is not walked; there must be room for its edges."""
    n_new, chunk = 0, np.int64(gone)
    hub = np.int64(nodes[root].hub)
    target, out, room = begin_list(chunks, entries, gone)
    while chunk >= 0:
        start, following = chunks[chunk].start, np.int64(chunks[chunk].following)
        ask_for(nodes, chunks, entries, edges, chunk)
        stop = start + chunks[chunk].length
        for place in range(start, stop):
            if edges[np.int64(entries[place, 1])].count != 0:
                entries[place, 0] = root_of(nodes, entries[place, 0])
                ask_for_pair(pairs, root, entries[place, 0])
        for place in range(start, stop):
            edge = np.int64(entries[place, 1])
            if edges[edge].count == 0:
                continue
            other = np.int64(entries[place, 0])
            twin = find_pair(pairs, root, other, nodes, edges)
            if twin >= 0:
                before = np.uint64(edges[twin].score)
                pool_edges_of(
                    nodes,
                    edges,
                    hubs,
                    candidates,
                    root,
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
                nodes[other].stamp, nodes[other].mark = stamp, twin
                if edges[twin].score > before:
                    offer(hubs, candidates, hub, np.uint64(edges[twin].score), nodes[other].label, twin)
                continue
            enter_pair(pairs, root, other, edge, edges)
            offer(hubs, candidates, hub, np.uint64(edges[edge].score), nodes[other].label, edge)
            if out == room:
                target, out, room = next_chunk(chunks, entries, target)
            entries[out, 0], entries[out, 1] = other, edge
            out += 1
            n_new += 1
        chunk = following
    end_list(chunks, gone, target, out)
    nodes[root].degree += n_new - 1
    unite(nodes, chunks, root, gone)
