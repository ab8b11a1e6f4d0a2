"""Table from a pair of clusters, one of them a hub, to the edge between them.

Open addressing in an array of 64-bit slots: a tag of the pair's hash above the edge + 1, 0 where empty;
the last slot counts those taken. Nothing is deleted: a slot whose edge died, or whose clusters were
renamed, is stale and found to be so by the edge's ends.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from connectome.kernels.jit import jit_bare

_EMPTY = np.uint64(0)
_EDGE = np.uint64(0xFFFFFFFF)
_TAG = np.uint64(0xFFFFFFFF00000000)


def new_pair_table(n_pairs: int) -> npt.NDArray[np.uint64]:
    """Make an empty table with room for `n_pairs`."""
    size = 64
    while size * 3 < n_pairs * 4:
        size *= 2
    return np.zeros(size + 1, np.uint64)


@jit_bare
def has_room(pairs, n_more):
    """Tell whether `n_more` pairs can be entered without filling more than three quarters."""
    return (np.int64(pairs[pairs.size - 1]) + n_more) * 4 <= (pairs.size - 1) * 3


@jit_bare
def find_pair(pairs, one, two, nodes, edges, alive):
    """Return the living edge between two roots, -1 where there is none."""
    key = _hash(one, two)
    wrap = pairs.size - 2
    place = np.int64(key) & wrap
    while pairs[place] != _EMPTY:
        if (pairs[place] ^ key) & _TAG == _EMPTY:
            edge = np.int64(pairs[place] & _EDGE) - 1
            if alive[edge]:
                low, high = _root(nodes, edges[edge].low), _root(nodes, edges[edge].high)
                if (low == one and high == two) or (low == two and high == one):
                    return edge
        place = (place + 1) & wrap
    return np.int64(-1)


@jit_bare
def enter_pair(pairs, one, two, edge, alive):
    """Enter the edge between two roots in place of a dead one, or anew; there must be room."""
    key = _hash(one, two)
    wrap = pairs.size - 2
    place = np.int64(key) & wrap
    while pairs[place] != _EMPTY:
        if (pairs[place] ^ key) & _TAG == _EMPTY:
            there = np.int64(pairs[place] & _EDGE) - 1
            if there == edge or not alive[there]:
                break
        place = (place + 1) & wrap
    if pairs[place] == _EMPTY:
        pairs[pairs.size - 1] += np.uint64(1)
    pairs[place] = (key & _TAG) | np.uint64(edge + 1)


@jit_bare
def _hash(one, two):
    pair = (np.uint64(min(one, two)) << np.uint64(32)) | np.uint64(max(one, two))
    pair = (pair ^ (pair >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    pair = (pair ^ (pair >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)
    return pair ^ (pair >> np.uint64(31))


@jit_bare
def _root(nodes, slot):
    while nodes[slot].owner != slot:
        slot = nodes[slot].owner
    return slot
