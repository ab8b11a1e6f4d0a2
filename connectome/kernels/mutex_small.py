"""Small clusters of a mutex watershed: their mutexes are not kept but read off the affinities when asked for.

Two clusters exclude each other when an edge comes up if and only if a stronger repulsive edge runs between
them: it found them, or what they were then, apart. So a cluster of up to `MOST_MEMBERS` voxels keeps no record;
its voxels' repulsive edges are looked at instead. Most mutexes stand between lone voxels of thick walls and what
surrounds them, and nearly none of those is ever asked for.

A cluster that grows larger gets a record, and its repulsive edges to others with records are noted with their
strengths, ``weight << 55 | hash << 31 | index of the higher voxel``: those of the batch at hand that come after
the present edge as well. Edges of lesser weight are noted with their batch. A repulsive edge of a strength is
stronger than an attractive one of the same, as the later channel wins.
"""

from __future__ import annotations

import numpy as np

from connectome.kernels.jit import inlined, jit, jit_bare, prefetch
from connectome.kernels.mutex_edges import CHANNEL_BITS, WEIGHT_SHIFT, edge_key, mark_row, next_channel
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

MOST_MEMBERS = 16


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


@inlined
def strength_of(voxel, channel, weight, n_channels, frame, mask):
    """Return the strength of the edge of a higher voxel and a channel."""
    return (np.uint64(weight) << WEIGHT_SHIFT) | (edge_key(voxel, channel, n_channels, frame, mask) >> CHANNEL_BITS)


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


@jit
def repulsive_sides(volume):
    """Return a row for each side of each repulsive channel, int64 (2 n, 6).

    The step from a voxel to the other one (z, y, x, index), the place of the edge's affinity counted from the
    voxel's index, and the channel.
    """
    affinities, offsets, deltas, n_attractive, _, _, _ = volume
    n_voxels = affinities.shape[1] * affinities.shape[2] * affinities.shape[3]
    n = offsets.shape[0] - n_attractive
    sides = np.empty((2 * n, 6), np.int64)
    for k in range(2 * n):
        channel = n_attractive + k % n
        sign = 1 if k < n else -1
        sides[k, :3] = sign * offsets[channel]
        sides[k, 3] = sign * deltas[channel]
        sides[k, 4] = channel * n_voxels + (0 if k < n else sides[k, 3])
        sides[k, 5] = channel
    return sides


@jit_bare
def _scan(parent, rings, flat, volume, sides, near, first, own, wanted, weight, strength, low, pairs):
    """Look at the repulsive edges of the voxels of a small cluster, from `first` on, whose root is `own`.

    Returns -1 if one of at least `strength` (of `weight`) leads to the root `wanted`. Else writes the mutexes
    of weight `low` or more that its voxels will demand of other records as part of `wanted`; counts them.
    """
    following, repulsion = rings
    affinities, _, _, _, strides, frame, mask = volume
    nz, ny, nx = affinities.shape[1:]
    n_channels, n, member = strides.shape[0], 0, first
    record = -1 - parent[wanted]
    while True:
        if repulsion[member] >= low:
            row = member // nx
            z = row // ny
            y, x = row - z * ny, member - row * nx
            n_near = 0
            for k in range(sides.shape[0]):
                oz, oy, ox = z + sides[k, 0], y + sides[k, 1], x + sides[k, 2]
                if (oz >= 0) & (oz < nz) & (oy >= 0) & (oy < ny) & (ox >= 0) & (ox < nx):
                    found = 255 - np.int64(flat[member + sides[k, 4]])
                    near[n_near, 0], near[n_near, 1] = k, found
                    n_near += found >= low
            for k in range(n_near):
                side, found = near[k, 0], near[k, 1]
                root = find(parent, member + sides[side, 3])
                if root == own or (root != wanted and (record == 0 or parent[root] == -1)):
                    continue
                if root == wanted and found < weight:
                    continue
                channel = sides[side, 5]
                higher = member + sides[side, 4] - channel * parent.size
                if not _is_edge(higher, channel, strides, frame, ny, nx):
                    continue
                demanded = strength_of(higher, channel, found, n_channels, frame, mask)
                if root != wanted:
                    pairs[n, 0], pairs[n, 1], pairs[n, 2] = record, -1 - parent[root], demanded
                    n += 1
                elif demanded >= strength:
                    return -1
        member = np.int64(following[member])
        if member == first:
            return n


@inlined
def _is_edge(higher, channel, strides, frame, ny, nx):
    """Tell whether the position of a higher voxel is a multiple of the channel's stride."""
    if strides[channel, 0] * strides[channel, 1] * strides[channel, 2] == 1:
        return True
    row = higher // nx
    return (
        (row // ny + frame[1][0]) % strides[channel, 0] == 0
        and (row % ny + frame[1][1]) % strides[channel, 1] == 0
        and (higher % nx + frame[1][2]) % strides[channel, 2] == 0
    )


@inlined
def _ring_size(following, member):
    """Count the members of a ring."""
    n, other = 1, np.int64(following[member])
    while other != member:
        n, other = n + 1, np.int64(following[other])
    return n


@jit_bare
def decide_attractive(
    parent, records, entries, table, counters, rings, flat, volume, sides, near, keys, weight, low, roots, pairs
):
    """Take attractive edges of one weight, largest key first.

    Returns how many are left when room runs out, the room wanted in pairs and in entries, and how many of `pairs`
    are to be noted before the next edge. Roots are looked up some edges ahead, so that waits for memory overlap.
    """
    for begin in range(keys.size, 0, -roots.shape[0]):
        n = min(roots.shape[0], begin)
        _look_ahead(parent, records, table, rings, flat, volume, sides, keys[begin - n : begin], low, roots)
        for k in range(n):
            u, v = find(parent, roots[k, 0]), find(parent, roots[k, 1])
            if u == v:
                continue
            key = keys[begin - 1 - k]
            strength = (np.uint64(weight) << WEIGHT_SHIFT) | (key >> CHANNEL_BITS)
            if parent[u] != -1 and parent[v] != -1:
                if mutex_strength(parent, table, u, v) >= strength:
                    continue
                n_pairs, n_entries = pairs_needed(parent, records, u, v), entries_needed(parent, records, u, v)
                if not has_room(records, entries, table, counters, n_pairs, n_entries):
                    return begin - k, n_pairs, n_entries, 0
                unite(parent, records, entries, table, counters, u, v)
                continue
            if not has_room(records, entries, table, counters, 1, 1):
                return begin - k, 1, 1, 0
            voxel, channel = _ends(key)
            small, other = (u, v) if parent[u] == -1 else (v, u)
            first = voxel if parent[u] == -1 else voxel + volume[2][channel]
            n_noted = _scan(parent, rings, flat, volume, sides, near, first, small, other, weight, strength, low, pairs)
            if n_noted < 0:
                continue
            was_small = parent[other] == -1
            _join_small(parent, records, counters, rings[0], small, other)
            root = min(u, v)
            if was_small and parent[root] != -1:
                n_noted = _scan(
                    parent, rings, flat, volume, sides, near, first, root, root, weight, strength, low, pairs
                )
            n_noted, n_entries = note(records, entries, table, counters, pairs, n_noted)
            if n_noted > 0:
                return begin - k - 1, 1, n_entries, n_noted
    return 0, 0, 0, 0


@inlined
def _look_ahead(parent, records, table, rings, flat, volume, sides, keys, low, roots):
    """Find the roots of edges, the last first, and ask for what deciding them looks at."""
    deltas, repulsion = volume[2], rings[1]
    for k in range(keys.size):
        voxel, channel = _ends(keys[keys.size - 1 - k])
        prefetch(parent, voxel)
        prefetch(parent, voxel + deltas[channel])
        prefetch(repulsion, voxel)
        prefetch(repulsion, voxel + deltas[channel])
    for k in range(keys.size):
        voxel, channel = _ends(keys[keys.size - 1 - k])
        roots[k, 0], roots[k, 1] = find(parent, voxel), find(parent, voxel + deltas[channel])
    for k in range(keys.size):
        u, v = roots[k, 0], roots[k, 1]
        prefetch_pair(parent, records, table, u, v)
        if u != v and (parent[u] == -1 or parent[v] == -1):
            voxel, channel = _ends(keys[keys.size - 1 - k])
            first = voxel if parent[u] == -1 else voxel + deltas[channel]
            if repulsion[first] >= low:
                for side in range(sides.shape[0]):
                    prefetch(flat, first + sides[side, 4])
                    prefetch(parent, first + sides[side, 3])


@inlined
def _ends(key):
    """Return the higher voxel and the channel of a key."""
    return np.int64((key >> CHANNEL_BITS) & np.uint64((1 << 31) - 1)), np.int64(key & np.uint64(31))


@inlined
def _join_small(parent, records, counters, following, small, other):
    """Join a small cluster to another; give a record to what is small no more."""
    low, high = min(small, other), max(small, other)
    record = -1 - parent[other]
    if record == 0:
        following[small], following[other] = following[other], following[small]
    parent[high] = low
    parent[low] = -1 - record
    if record == 0 and _ring_size(following, low) > MOST_MEMBERS:
        record_of(parent, records, counters, low)
