"""The best edges of a hub, so that its best one is found without a walk over all of its edges.

A hub keeps a heap of candidates: every edge of it that may act and is better than its bound has an entry
there, under a score and a label of the other end that are at least what they are now. Merges only lower
both (the linkage is reducible), so an entry is looked at again when it gets to the top, and falls. When
none is left, the hub's list is walked once for the next ones, a sixteenth of its edges or more at a time,
so that a merge costs a few looks whatever the hub's number of edges.
"""

from __future__ import annotations

import numpy as np

from connectome.kernels.jit import jit_bare

CANDIDATE = np.dtype([("score", np.uint64), ("label", np.int32), ("edge", np.int32)])
"""An edge of a hub under a score and a label of its other end that were right once."""
HUB = np.dtype([("score", np.uint64), ("label", np.int32), ("start", np.int32), ("room", np.int32), ("n", np.int32)])
"""Of each hub the bound (score and label that its other edges do not pass), and its candidates: where, room, number."""


@jit_bare
def room_of(degree, least):
    """Room for the candidates of a hub: an eighth of its edges, rounded up to a power of two, and at least `least`."""
    room = least
    while room * 8 < degree:
        room *= 2
    return room


@jit_bare
def is_above(score, label, other_score, other_label):
    """Compare two edges of one cluster: the larger score, then the larger label of the other end.

    That is the order (score, lower end, higher end), as one end is the same.
    """
    return score > other_score or (score == other_score and label > other_label)


@jit_bare
def gather(hubs, candidates, hub, score, label, edge):
    """Add an edge above the bound, in any order; the worse half falls out where there is no room, and is the bound."""
    if is_above(score, label, hubs[hub].score, hubs[hub].label):
        place = hubs[hub].start + hubs[hub].n
        candidates[place].score, candidates[place].label, candidates[place].edge = score, label, edge
        hubs[hub].n += 1
        if hubs[hub].n == hubs[hub].room:
            _keep_better_half(hubs, candidates, hub)


@jit_bare
def order(hubs, candidates, hub):
    """Make a heap of what was gathered."""
    for place in range((hubs[hub].n >> 1) - 1, -1, -1):
        _sink(candidates, hubs[hub].start, hubs[hub].n, place)


@jit_bare
def offer(hubs, candidates, hub, score, label, edge):
    """Add an edge above the bound to the heap."""
    if not is_above(score, label, hubs[hub].score, hubs[hub].label):
        return
    start, place = hubs[hub].start, np.int64(hubs[hub].n)
    while place > 0:
        above = (place - 1) >> 1
        if not is_above(score, label, candidates[start + above].score, candidates[start + above].label):
            break
        candidates[start + place] = candidates[start + above]
        place = above
    candidates[start + place].score, candidates[start + place].label = score, label
    candidates[start + place].edge = edge
    hubs[hub].n += 1
    if hubs[hub].n == hubs[hub].room:
        _keep_better_half(hubs, candidates, hub)
        order(hubs, candidates, hub)


@jit_bare
def drop(hubs, candidates, hub):
    """Remove the best candidate."""
    hubs[hub].n -= 1
    start = hubs[hub].start
    candidates[start] = candidates[start + hubs[hub].n]
    _sink(candidates, start, hubs[hub].n, 0)


@jit_bare
def lower(hubs, candidates, hub, score, label):
    """Give the best candidate the score and label that it has now.

    An edge that got better has several entries, and these are equal once they were looked at: all but one
    fall away, lest each be lowered again whenever the edge gets worse.
    """
    start = np.int64(hubs[hub].start)
    is_known = _has_entry(hubs, candidates, hub, 1, score, label) or _has_entry(hubs, candidates, hub, 2, score, label)
    if is_known or not is_above(score, label, hubs[hub].score, hubs[hub].label):
        drop(hubs, candidates, hub)
        return
    candidates[start].score, candidates[start].label = score, label
    _sink(candidates, start, hubs[hub].n, 0)


@jit_bare
def _has_entry(hubs, candidates, hub, below, score, label):
    """Tell whether the best candidate's edge has another entry `below` it that is at least a score and a label."""
    start = np.int64(hubs[hub].start)
    other = start + below
    if below >= hubs[hub].n or candidates[other].edge != candidates[start].edge:
        return False
    return not is_above(score, label, candidates[other].score, candidates[other].label)


@jit_bare
def _sink(candidates, start, n, place):
    """Move an entry down to where none below it is better."""
    score, label = candidates[start + place].score, candidates[start + place].label
    edge = candidates[start + place].edge
    while 2 * place + 1 < n:
        below = 2 * place + 1
        one, two = start + below, start + below + 1
        if below + 1 < n and is_above(
            candidates[two].score, candidates[two].label, candidates[one].score, candidates[one].label
        ):
            below += 1
        if not is_above(candidates[start + below].score, candidates[start + below].label, score, label):
            break
        candidates[start + place] = candidates[start + below]
        place = below
    candidates[start + place].score, candidates[start + place].label = score, label
    candidates[start + place].edge = edge


@jit_bare
def _keep_better_half(hubs, candidates, hub):
    """Drop the worse half of a hub's candidates, whose best is the bound from now on."""
    start, keep = np.int64(hubs[hub].start), np.int64(hubs[hub].n) >> 1
    left, right = start, start + np.int64(hubs[hub].n) - 1
    while left < right:  # quickselect, the better ones first; Hoare 1961
        middle = (left + right) >> 1
        score, label = candidates[middle].score, candidates[middle].label
        i, j = left, right
        while i <= j:
            while is_above(candidates[i].score, candidates[i].label, score, label):
                i += 1
            while is_above(score, label, candidates[j].score, candidates[j].label):
                j -= 1
            if i <= j:
                _swap(candidates, i, j)
                i += 1
                j -= 1
        if start + keep <= j:
            right = j
        elif start + keep >= i:
            left = i
        else:
            break
    # The candidate behind those that are kept is the best of the rest.
    hubs[hub].score, hubs[hub].label = candidates[start + keep].score, candidates[start + keep].label
    hubs[hub].n = keep


@jit_bare
def _swap(candidates, i, j):
    score, label, edge = candidates[i].score, candidates[i].label, candidates[i].edge
    candidates[i] = candidates[j]
    candidates[j].score, candidates[j].label, candidates[j].edge = score, label, edge
