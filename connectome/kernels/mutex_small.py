"""Small clusters of a mutex watershed: their mutexes are not kept but read off the affinities when asked for.

Two clusters exclude each other when an edge comes up if and only if a stronger repulsive edge runs between
them: it found them, or what they were then, apart. So a cluster of up to `MOST_MEMBERS` voxels keeps no record;
its voxels' repulsive edges are looked at instead. Most mutexes stand between lone voxels of thick walls and what
surrounds them, and nearly none of those is ever asked for.

A cluster that grows larger gets a record, and its repulsive edges to others with records are noted with their
strengths, ``weight << 55 | hash << 31 | index of the higher voxel``: those of the batch at hand that come after
the present edge as well. Edges of lesser weight are noted with their batch. Voxels that come to a cluster with
a record wait in a list, `newcomers` (their number first), until two such clusters would join: then their edges
are noted together, so that waits for memory overlap. A repulsive edge of a strength is stronger than an
attractive one of the same, as the later channel wins.
"""

from __future__ import annotations

import numpy as np

from connectome.kernels.flags import trailing_zeros
from connectome.kernels.jit import inlined, jit, jit_bare, prefetch
from connectome.kernels.mutex_around import demanded_strength, strength_of, strong_sides
from connectome.kernels.mutex_edges import CHANNEL_BITS, WEIGHT_SHIFT, mark_row, next_channel
from connectome.kernels.mutex_sets import (
    entries_needed,
    find,
    has_room,
    mutex_strength,
    note,
    pairs_needed,
    prefetch_pair,
    record_of,
    unite,
    with_room,
)

MOST_MEMBERS = 8


@jit
def list_members(parent, following):
    """Chain the members of each small cluster in a ring, `following`; return the number of the others.

    `parent` is flat. Roots of the others are marked by -1 in `following`.
    """
    following[:] = 0
    for voxel in range(parent.size):
        following[parent[voxel] if parent[voxel] >= 0 else voxel] += 1
    n_large = 0
    for voxel in range(parent.size):
        root = parent[voxel]
        if root < 0:
            is_large = following[voxel] > MOST_MEMBERS
            following[voxel] = -1 if is_large else voxel
            n_large += is_large
        elif following[root] >= 0:
            following[voxel] = following[root]
            following[root] = voxel
    return n_large


@jit
def give_records(parent, records, counters, following):
    """Give a record to each root that `following` marks. Needs room."""
    for voxel in range(parent.size):
        if parent[voxel] == -1 and following[voxel] == -1:
            record_of(parent, records, counters, voxel)


@jit
def note_batch(parent, records, entries, table, counters, volume, low, high):
    """Note repulsive edges of weight low to high between clusters with records; `parent` is flat.

    Returns records, entries and table.
    """
    affinities, offsets, deltas, n_attractive, strides, frame, _ = volume
    nz, ny, nx = affinities.shape[1:]
    n_channels = offsets.shape[0]
    bits = np.zeros(nx, np.uint32)
    ends = np.empty((nx * (n_channels - n_attractive), 4), np.int64)
    pairs = np.empty((ends.shape[0], 3), np.uint64)
    for z in range(nz):
        for y in range(ny):
            mark_row(
                bits, parent, affinities, offsets, deltas, n_attractive, strides, frame,
                z, y, n_attractive, n_channels, low, high,
            )  # fmt: skip
            n = _row_pairs(parent, records, table, volume, z, y, bits, ends, pairs)
            while n > 0:
                n, n_entries = note(records, entries, table, counters, pairs, n)
                if n > 0:
                    records, entries, table = with_room(records, entries, table, counters, 1, n_entries)
    return records, entries, table


@inlined
def _row_pairs(parent, records, table, volume, z, y, bits, ends, pairs):
    """Write the mutexes that the marked edges of a row demand and that are not noted already; count them."""
    affinities, offsets, deltas, _, _, frame, mask = volume
    ny, nx = affinities.shape[2:]
    n = 0
    for x in range(nx):
        marks = bits[x]
        if marks == 0:
            continue
        voxel = (z * ny + y) * nx + x
        root = np.int64(parent[voxel]) if parent[voxel] >= 0 else voxel
        if parent[root] == -1:
            continue
        while marks != 0:
            channel, marks = next_channel(marks)
            other = voxel + deltas[channel]
            other = np.int64(parent[other]) if parent[other] >= 0 else other
            if other == root or parent[other] == -1:
                continue
            ends[n, 0], ends[n, 1], ends[n, 2], ends[n, 3] = root, other, voxel, channel
            prefetch_pair(parent, records, table, root, other)
            n += 1
    n_kept = 0
    for k in range(n):
        u, v, voxel, channel = ends[k, 0], ends[k, 1], ends[k, 2], ends[k, 3]
        weight = np.uint64(255 - affinities[channel, z, y, voxel % nx])
        if mutex_strength(parent, table, u, v) >> WEIGHT_SHIFT > weight:
            continue
        pairs[n_kept, 0], pairs[n_kept, 1] = -1 - parent[u], -1 - parent[v]
        pairs[n_kept, 2] = strength_of(voxel, channel, weight, offsets.shape[0], frame, mask)
        n_kept += 1
    return n_kept


@inlined
def _is_kept_apart(parent, following, repulsion, around, volume, sides, first, other, weight, strength):
    """Tell whether a repulsive edge of at least `strength` (of `weight`) leads from a small cluster to another root.

    The voxels of the small cluster are those of the ring from `first` on.
    """
    n_sides, member = sides.shape[0], first
    while True:
        following_one = np.int64(following[member])
        prefetch(following, following_one)
        prefetch(repulsion, following_one)
        prefetch(around, following_one * n_sides)
        if repulsion[member] >= weight:
            strong = strong_sides(around, member, n_sides, weight)
            while strong != 0:
                side = trailing_zeros(strong)
                strong &= strong - np.uint64(1)
                if find(parent, member + sides[side, 3]) == other:
                    found = np.int64(around[member * n_sides + side])
                    if found > weight or demanded_strength(volume, sides, member, side, found) >= strength:
                        return True
        member = following_one
        if member == first:
            return False


@jit_bare
def _pairs_of_newcomers(parent, records, table, around, volume, sides, newcomers, begin, end, low, pairs):
    """Write the mutexes of weight `low` or more that voxels demand, which came to clusters with records; count them."""
    n, n_sides, one = 0, sides.shape[0], np.uint64(1)
    for k in range(begin, end):
        if k + 16 < end:
            prefetch(around, np.int64(newcomers[k + 16]) * n_sides)
        if k + 8 < end:
            voxel = np.int64(newcomers[k + 8])
            strong = strong_sides(around, voxel, n_sides, low)
            while strong != 0:
                prefetch(parent, voxel + sides[trailing_zeros(strong), 3])
                strong &= strong - one
        voxel = np.int64(newcomers[k])
        own = find(parent, voxel)
        strong = strong_sides(around, voxel, n_sides, low)
        while strong != 0:
            side = trailing_zeros(strong)
            strong &= strong - one
            root = find(parent, voxel + sides[side, 3])
            if root != own and parent[root] != -1:
                found = np.int64(around[voxel * n_sides + side])
                a, b = -1 - parent[own], -1 - parent[root]
                demanded = demanded_strength(volume, sides, voxel, side, found)
                if n > 0 and pairs[n - 1, 0] == a and pairs[n - 1, 1] == b:
                    pairs[n - 1, 2] = max(pairs[n - 1, 2], demanded)
                    continue
                pairs[n, 0], pairs[n, 1], pairs[n, 2] = a, b, demanded
                prefetch_pair(parent, records, table, own, root)
                n += 1
    return n


@jit
def note_newcomers(parent, records, entries, table, counters, around, volume, sides, newcomers, low, pairs):
    """Note the mutexes of weight `low` or more of the voxels in `newcomers`, and empty it.

    Returns records, entries and table.
    """
    step = pairs.shape[0] // max(sides.shape[0], 1)
    end = 1 + np.int64(newcomers[0])
    if sides.shape[0] > 0:
        for begin in range(1, end, step):
            n = _pairs_of_newcomers(
                parent, records, table, around, volume, sides, newcomers, begin, min(begin + step, end), low, pairs
            )
            while n > 0:
                n, n_entries = note(records, entries, table, counters, pairs, n)
                if n > 0:
                    records, entries, table = with_room(records, entries, table, counters, 1, n_entries)
    newcomers[0] = 0
    return records, entries, table


@inlined
def _ring_size(following, member):
    """Count the members of a ring."""
    n, other = 1, np.int64(following[member])
    while other != member:
        n, other = n + 1, np.int64(following[other])
    return n


@jit_bare
def decide_attractive(
    parent, records, entries, table, counters, rings, around, volume, sides, keys, weight, roots, newcomers
):
    """Take attractive edges of one weight, largest key first.

    Returns how many are left when room runs out or newcomers must be noted, and the room wanted in pairs and in
    entries. Roots are looked up some edges ahead, so that waits for memory overlap.
    """
    following, repulsion = rings
    for begin in range(keys.size, 0, -roots.shape[0]):
        n = min(roots.shape[0], begin)
        _look_ahead(parent, records, table, rings, around, volume, sides, keys, begin, n, weight, roots)
        for k in range(n):
            u, v = find(parent, roots[k, 0]), find(parent, roots[k, 1])
            if u == v:
                continue
            key = keys[begin - 1 - k]
            strength = (np.uint64(weight) << WEIGHT_SHIFT) | (key >> CHANNEL_BITS)
            if parent[u] != -1 and parent[v] != -1:
                if mutex_strength(parent, table, u, v) >= strength:
                    continue
                if newcomers[0] > 0:
                    return begin - k, 0, 0
                n_pairs, n_entries = pairs_needed(parent, records, u, v), entries_needed(parent, records, u, v)
                if not has_room(records, entries, table, counters, n_pairs, n_entries):
                    return begin - k, n_pairs, n_entries
                unite(parent, records, entries, table, counters, u, v)
                continue
            if newcomers[0] + 2 * MOST_MEMBERS >= newcomers.size or not has_room(
                records, entries, table, counters, 1, 1
            ):
                return begin - k, 1, 1
            voxel, channel = _ends(key)
            small, other, first, last = u, v, voxel, voxel + volume[2][channel]
            if parent[u] != -1 or (parent[v] == -1 and following[last] == last):
                small, other, first = v, u, last
            if not _is_kept_apart(parent, following, repulsion, around, volume, sides, first, other, weight, strength):
                _join_small(parent, records, counters, following, small, other, newcomers)
    return 0, 0, 0


@inlined
def _look_ahead(parent, records, table, rings, around, volume, sides, keys, begin, n, weight, roots):
    """Find the roots of the `n` edges before `begin`, the last first, and ask for what deciding them looks at."""
    deltas, (following, repulsion), n_sides = volume[2], rings, sides.shape[0]
    for k in range(n):
        voxel, channel = _ends(keys[begin - 1 - k])
        prefetch(parent, voxel)
        prefetch(parent, voxel + deltas[channel])
        prefetch(repulsion, voxel)
        prefetch(repulsion, voxel + deltas[channel])
    for k in range(n):
        voxel, channel = _ends(keys[begin - 1 - k])
        u, v = find(parent, voxel), find(parent, voxel + deltas[channel])
        roots[k, 0], roots[k, 1], roots[k, 2] = u, v, -1
        prefetch_pair(parent, records, table, u, v)
        if u != v and (parent[u] == -1 or parent[v] == -1):
            first = voxel if parent[u] == -1 else voxel + deltas[channel]
            prefetch(following, first)
            prefetch(following, voxel + deltas[channel])
            if repulsion[first] >= weight:
                roots[k, 2] = first
                prefetch(around, first * n_sides)
                prefetch(around, first * n_sides + n_sides - 1)
    for k in range(n):
        first = roots[k, 2]
        if first >= 0:
            strong = strong_sides(around, first, n_sides, weight)
            while strong != 0:
                prefetch(parent, first + sides[trailing_zeros(strong), 3])
                strong &= strong - np.uint64(1)


@inlined
def _ends(key):
    """Return the higher voxel and the channel of a key."""
    return np.int64((key >> CHANNEL_BITS) & np.uint64((1 << 31) - 1)), np.int64(key & np.uint64(31))


@inlined
def _join_small(parent, records, counters, following, small, other, newcomers):
    """Join a small cluster to another; give a record to what is small no more, and list voxels that came to one."""
    low, high = min(small, other), max(small, other)
    record = -1 - parent[other]
    if record == 0:
        following[small], following[other] = following[other], following[small]
    parent[high] = low
    parent[low] = -1 - record
    if record == 0 and _ring_size(following, low) > MOST_MEMBERS:
        record = record_of(parent, records, counters, low)
    if record != 0:
        member = small
        while True:
            newcomers[0] += 1
            newcomers[newcomers[0]] = member
            member = np.int64(following[member])
            if member == small:
                break
