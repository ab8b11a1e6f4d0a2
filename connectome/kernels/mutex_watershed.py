"""Mutex watershed of a volume from short attractive and long repulsive affinities.

Edges are taken strongest first under the strict order (weight, location hash, index of the higher
voxel, channel), larger wins. An attractive edge joins two clusters unless they exclude each other; a
repulsive edge makes two different clusters exclude each other. There is no threshold and no seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.kernels.fragments import Affinities, Labels
from connectome.kernels.jit import inlined, jit, prefetch
from connectome.kernels.location_noise import HASH_BITS, hash_mask
from connectome.kernels.mutex_around import LANES, repulsive_sides, write_around
from connectome.kernels.mutex_edges import (
    CHANNEL_BITS,
    CODE_BITS,
    CODE_MASK,
    estimate_weights,
    gather,
    join_best,
    sort_by_weight,
    sorted_keys,
    write_keys,
)
from connectome.kernels.mutex_sets import (
    SURE,
    entries_needed,
    exclude,
    find,
    flatten,
    has_room,
    is_excluded,
    must_wait,
    mutex_pairs,
    pairs_needed,
    prefetch_lists,
    prefetch_pair,
    singletons,
    unite,
    with_records,
    with_room,
)
from connectome.kernels.mutex_small import (
    decide_attractive,
    give_records,
    list_members,
    note_batch,
    note_newcomers,
)

MOST_CHANNELS = 32
_N_AHEAD = 64


def mutex_watershed(
    affinities: Affinities,
    offsets: npt.ArrayLike,
    n_attractive: int = 3,
    *,
    strides: Sequence[Sequence[int]] | None = None,
    hash_bits: int = HASH_BITS,
) -> Labels:
    """Segment a volume by the mutex watershed.

    Parameters
    ----------
    affinities : uint8 array, shape (c, z, y, x)
        How likely the voxel and the voxel at its channel's offset belong together, stored at the higher
        voxel of the pair. Values whose other voxel lies outside are ignored.
    offsets : integers, shape (c, 3)
        One zyx offset per channel, in voxels; the first component that is not 0 is negative.
    n_attractive : int
        The first channels attract with weight ``affinity``, the others repel with weight
        ``255 - affinity``. Weight 0 means that there is no edge.
    strides : integers, shape (c, 3), optional
        A channel has edges only at higher voxels whose zyx position is a multiple of its stride.
    hash_bits : int
        Width of the location hash of (index of the higher voxel, channel), at most 24.

    Returns
    -------
    uint64 array, shape (z, y, x)
        1 + the C-order index of the first voxel of the segment.

    Raises
    ------
    InputError
        Where shapes, dtype, offsets or strides do not fit together.

    Notes
    -----
    O(c voxels + m log m) for m attractive edges between different clusters; edges are not sorted but gathered
    by weight, strongest first, when those inside clusters are known. Repulsive edges are looked at where they
    are asked for. 9 bytes per voxel, 2 per voxel and repulsive channel, and some 80 per mutex between clusters
    of more than a few voxels, beside input and output. The same as mwatershed's
    ``agglom`` of ``affinity`` and ``affinity - 255``, up to ties. Source: Wolf et al. 2018 (ECCV),
    algorithm 1; 2020 (IEEE TPAMI 43:10).
    """
    steps, pitch = checked_channels(affinities, offsets, n_attractive, strides, hash_bits)
    shape = affinities.shape[1:]
    frame = (True, (0, 0, 0), shape, shape)
    labels, n_voxels = np.empty(shape, np.uint64), int(np.prod(shape))
    halves = labels.reshape(-1).view(np.int32)  # of the labels' memory, until they are known
    parent, following = halves[:n_voxels], halves[n_voxels:]
    repulsion = np.empty(n_voxels, np.uint8)
    around = np.empty(n_voxels * 2 * (len(steps) - n_attractive) + LANES, np.uint8)
    _watershed_of_whole(
        np.ascontiguousarray(affinities), steps, n_attractive, pitch, frame, hash_mask(hash_bits),
        parent, following, repulsion, around,
    )  # fmt: skip
    _name(parent, labels.reshape(-1))
    return labels


def checked_channels(
    affinities: Affinities,
    offsets: npt.ArrayLike,
    n_attractive: int,
    strides: Sequence[Sequence[int]] | None,
    hash_bits: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return offsets and strides as int64 arrays of shape (c, 3), or say what does not fit."""
    if affinities.ndim != 4 or affinities.dtype != np.uint8 or affinities.size >= 1 << 36:
        raise InputError(f"affinities are {affinities.dtype} {affinities.shape}; uint8 (c, z, y, x) is wanted")
    n = affinities.shape[0]
    if np.prod(affinities.shape[1:]) >= 1 << 31 or not 1 <= n <= MOST_CHANNELS:
        raise InputError(
            f"affinities have shape {affinities.shape}; at most {MOST_CHANNELS} channels of below 2^31 voxels fit: "
            "segment block by block"
        )
    steps = np.array(offsets)
    if steps.shape != (n, 3) or steps.dtype.kind not in "iu":
        raise InputError(f"offsets have shape {steps.shape} of {steps.dtype}; integers ({n}, 3) are wanted")
    if any(tuple(step) >= (0, 0, 0) for step in steps.tolist()):
        raise InputError(
            f"offsets are {steps.tolist()}; affinities are stored at the higher voxel of a pair, so the first "
            "component that is not 0 must be negative"
        )
    if not 0 <= n_attractive <= n or not 0 <= hash_bits <= HASH_BITS:
        raise InputError(
            f"n_attractive is {n_attractive} and hash_bits {hash_bits}; 0 to {n} and 0 to {HASH_BITS} are wanted"
        )
    pitch = np.ones((n, 3), np.int64) if strides is None else np.array(strides)
    if pitch.shape != (n, 3) or pitch.dtype.kind not in "iu" or (pitch < 1).any():
        raise InputError(f"strides are {strides}; {n} triples of integers of at least 1 are wanted")
    return steps.astype(np.int64), pitch.astype(np.int64)


@jit
def _watershed_of_whole(affinities, offsets, n_attractive, strides, frame, mask, parent, following, repulsion, around):
    """Decide every edge of a whole volume; writes the voxels' parents.

    Only attractive edges are gathered and sorted: `mutex_small` tells what excludes what.
    """
    shape = affinities.shape[1:]
    n_voxels = shape[0] * shape[1] * shape[2]
    deltas = (offsets[:, 0] * shape[1] + offsets[:, 1]) * shape[2] + offsets[:, 2]
    volume = (affinities, offsets, deltas, n_attractive, strides, frame, mask)
    ghosts, (_, records, entries, table, counters) = np.zeros(0, np.bool_), singletons(0)
    parent[:] = -1
    join_best(parent, ghosts, volume, repulsion)
    flatten(parent)
    n_large = list_members(parent, following)
    records = with_records(records, n_large)
    give_records(parent, records, counters, following)
    budget = max(n_voxels // 2, 1 << 12)
    period = 8 if n_voxels > 1 << 16 else 1
    codes, spare = np.empty(budget, np.uint64), np.empty(budget, np.uint64)
    roots = np.empty((_N_AHEAD // 2, 3), np.int64)
    sides = repulsive_sides(volume)
    is_around_written = False  # nobody asks for it where nothing is left to decide
    pairs, newcomers = np.empty((64 * sides.shape[0], 3), np.uint64), np.zeros(1 << 12, np.int32)
    high = 255
    while high > 0:
        flatten(parent)
        counts = estimate_weights(parent, volume, n_attractive, high, period)
        low, n_parts = _next_batch(counts, high, budget)
        records, entries, table = note_batch(parent, records, entries, table, counters, volume, low, high)
        for part in range(n_parts - 1, -1, -1):
            if part < n_parts - 1:
                flatten(parent)
            codes, n_codes = gather(
                parent, records, table, ghosts, volume, n_attractive, low, high, part, n_parts, codes
            )
            if spare.size < n_codes:
                spare = np.empty(codes.size, np.uint64)
            starts = sort_by_weight(codes[:n_codes], low, high, spare)
            for level in range(high - low + 1):
                found = spare[starts[level] : starts[level + 1]]
                n = write_keys(parent, found, deltas, frame, mask, codes)
                keys = sorted_keys(codes[:n], found[:n])
                if n > 0 and not is_around_written:
                    write_around(around, volume, sides)
                    is_around_written = True
                while n > 0:
                    n, n_pairs, n_entries = decide_attractive(
                        parent, records, entries, table, counters, (following, repulsion), around, volume, sides,
                        keys[:n], high - level, roots, newcomers,
                    )  # fmt: skip
                    if n > 0:
                        records, entries, table = note_newcomers(
                            parent, records, entries, table, counters, around, volume, sides, newcomers, low, pairs
                        )
                        records, entries, table = with_room(records, entries, table, counters, n_pairs, n_entries)
        high = low - 1
    flatten(parent)


@jit
def watershed(affinities, offsets, n_attractive, strides, frame, mask, ghosts):
    """Decide every edge that can be decided (all of them without ghosts).

    Returns the voxels' parents, the codes of edges that wait (``weight << 36`` added, strongest first),
    and the pairs of roots that exclude each other (with ghosts only).
    """
    shape = affinities.shape[1:]
    n_voxels = shape[0] * shape[1] * shape[2]
    deltas = (offsets[:, 0] * shape[1] + offsets[:, 1]) * shape[2] + offsets[:, 2]
    volume = (affinities, offsets, deltas, n_attractive, strides, frame, mask)
    parent, records, entries, table, counters = singletons(n_voxels)
    join_best(parent, ghosts, volume, np.zeros(0, np.uint8))
    blocked, waiting, n_waiting = _roots_of(parent, ghosts), np.empty(1 << 8, np.uint64), 0
    budget = max(n_voxels, 1 << 12)
    period = 8 if n_voxels > 1 << 16 else 1
    codes, spare = np.empty(budget, np.uint64), np.empty(budget, np.uint64)
    roots = np.empty((_N_AHEAD, 2), np.int64)
    high = 255
    while high > 0:
        flatten(parent)
        low, n_parts = _next_batch(estimate_weights(parent, volume, offsets.shape[0], high, period), high, budget)
        for part in range(n_parts - 1, -1, -1):
            if part < n_parts - 1:
                flatten(parent)
            codes, n_codes = gather(
                parent, records, table, ghosts, volume, offsets.shape[0], low, high, part, n_parts, codes
            )
            if spare.size < n_codes:
                spare = np.empty(codes.size, np.uint64)
            starts = sort_by_weight(codes[:n_codes], low, high, spare)
            for level in range(high - low + 1):
                found = spare[starts[level] : starts[level + 1]]
                n = write_keys(parent, found, deltas, frame, mask, codes)
                keys = sorted_keys(codes[:n], found[:n])
                while n > 0:
                    n, n_pairs, n_entries, n_waiting = _decide(
                        parent, records, entries, table, counters, blocked, keys[:n], deltas, n_attractive,
                        high - level, waiting, n_waiting, roots,
                    )  # fmt: skip
                    records, entries, table = with_room(records, entries, table, counters, n_pairs, n_entries)
                    if n_waiting == waiting.size:
                        longer = np.empty(2 * n_waiting, np.uint64)
                        longer[:n_waiting] = waiting
                        waiting = longer
        high = low - 1
    flatten(parent)
    pairs = mutex_pairs(parent, records, table, counters) if ghosts.size > 0 else np.empty((0, 2), np.int64)
    return parent, waiting[:n_waiting], pairs


@jit
def _roots_of(parent, members):
    """Return a flag per voxel: whether it is a root of a cluster with one of `members`."""
    flags = np.zeros(members.size, np.bool_)
    for voxel in range(members.size):
        if members[voxel]:
            flags[find(parent, voxel)] = True
    return flags


@jit
def _name(parent, labels):
    """Write the labels over the parents, which take the first half of their memory: the last first."""
    for voxel in range(labels.size - 1, -1, -1):
        labels[voxel] = (parent[voxel] if parent[voxel] >= 0 else voxel) + 1


@jit
def _next_batch(counts, high, budget):
    """Return the lowest weight of a batch of at most `budget` edges, and the parts of one weight with more."""
    low, total = high, counts[high]
    while low > 1 and total + counts[low - 1] <= budget:
        low -= 1
        total += counts[low]
    n_parts = 1
    while total > budget * n_parts:
        n_parts *= 2
    return low, n_parts


@inlined
def _decide(
    parent, records, entries, table, counters, blocked, keys, deltas, n_attractive, weight, waiting, n_waiting, roots
):
    """Take the edges, largest key first.

    Returns how many are left when room runs out, the room wanted, and how many edges wait. Roots are
    looked up some edges ahead, so that waits for memory overlap.
    """
    for begin in range(keys.size, 0, -_N_AHEAD):
        n = min(_N_AHEAD, begin)
        for k in range(n):
            code = keys[begin - 1 - k] & CODE_MASK
            voxel, channel = np.int64(code >> CHANNEL_BITS), np.int64(code & np.uint64(31))
            prefetch(parent, voxel)
            prefetch(parent, voxel + deltas[channel])
        for k in range(n):
            code = keys[begin - 1 - k] & CODE_MASK
            voxel, channel = np.int64(code >> CHANNEL_BITS), np.int64(code & np.uint64(31))
            roots[k, 0], roots[k, 1] = find(parent, voxel), find(parent, voxel + deltas[channel])
        for k in range(n):
            prefetch_pair(parent, records, table, roots[k, 0], roots[k, 1])
        for k in range(n):
            attracts = np.int64(keys[begin - 1 - k] & np.uint64(31)) < n_attractive
            prefetch_lists(parent, records, entries, attracts, roots[k, 0], roots[k, 1])
        for k in range(n):
            u, v = find(parent, roots[k, 0]), find(parent, roots[k, 1])
            if u == v or is_excluded(parent, table, u, v):
                continue
            n_pairs, n_entries = pairs_needed(parent, records, u, v), entries_needed(parent, records, u, v)
            if n_waiting == waiting.size or not has_room(records, entries, table, counters, n_pairs, n_entries):
                return begin - k, n_pairs, n_entries, n_waiting
            attracts = np.int64(keys[begin - 1 - k] & np.uint64(31)) < n_attractive
            if blocked.size > 0 and must_wait(parent, blocked, attracts, u, v):
                waiting[n_waiting] = (np.uint64(weight) << CODE_BITS) | (keys[begin - 1 - k] & CODE_MASK)
                n_waiting += 1
            elif attracts:
                unite(parent, records, entries, table, counters, u, v)
            else:
                exclude(parent, records, entries, table, counters, u, v, SURE)
    return 0, 0, 0, n_waiting
