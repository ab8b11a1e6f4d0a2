"""Table from a pair of clusters, one of them a hub, to the edge between them.

Open addressing in an array of 64-bit slots: a tag of the pair's hash above the edge + 1, 0 where empty;
the last slot counts those taken. Nothing is deleted: a slot whose edge died, or whose clusters were
renamed, is stale and found to be so by the edge's ends.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from connectome.kernels.clusters import root_of
from connectome.kernels.jit import jit_bare, prefetch

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
def ask_for_pair(pairs, one, two):
    """Have brought near where the edge between two roots is looked for."""
    prefetch(pairs, np.int64(_hash(one, two)) & (pairs.size - 2))


@jit_bare
def find_pair(pairs, one, two, nodes, edges):
    """Return the living edge between two roots, -1 where there is none."""
    key = _hash(one, two)
    wrap = pairs.size - 2
    place = np.int64(key) & wrap
    while pairs[place] != _EMPTY:
        if (pairs[place] ^ key) & _TAG == _EMPTY:
            edge = np.int64(pairs[place] & _EDGE) - 1
            if edges[edge].count != 0:
                low, high = root_of(nodes, edges[edge].low), root_of(nodes, edges[edge].high)
                if (low == one and high == two) or (low == two and high == one):
                    return edge
        place = (place + 1) & wrap
    return np.int64(-1)


@jit_bare
def enter_pair(pairs, one, two, edge, edges):
    """Enter the edge between two roots in place of a dead one, or anew; there must be room."""
    key = _hash(one, two)
    wrap = pairs.size - 2
    place = np.int64(key) & wrap
    while pairs[place] != _EMPTY:
        if (pairs[place] ^ key) & _TAG == _EMPTY:
            there = np.int64(pairs[place] & _EDGE) - 1
            if there == edge or edges[there].count == 0:
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
