"""Voxel edges of a mutex watershed: which are sure to join, and the others by weight and hash.

An edge's code is ``index of its higher voxel << 5 | channel``; its key puts the location hash above
the code, so that keys of one weight sort in the strict order (hash, index, channel). Indices are those of
the array; hashes and strides are those of the domain. A *volume* is the tuple (affinities, offsets,
their index steps, n_attractive, strides, frame, hash mask); a frame is (is_whole, start of the array in
the domain, shape of the array, shape of the domain). Edges between two ghosts do not count: ghosts are
the voxels around a block, of which the block knows only the edges to its own voxels.
"""

from __future__ import annotations

import numpy as np

from connectome.kernels.jit import inlined, jit, prefetch
from connectome.kernels.location_noise import location_hash
from connectome.kernels.mutex_sets import find, mutex_strength, prefetch_pair

CODE_BITS = np.uint64(36)
CODE_MASK = np.uint64((1 << 36) - 1)
CHANNEL_BITS = np.uint64(5)
WEIGHT_SHIFT = np.uint64(55)
_AHEAD = 32
_LOWEST_BIT = np.array([0, 1, 28, 2, 29, 14, 24, 3, 30, 22, 20, 15, 25, 17, 4, 8, 31, 27, 13, 23, 21, 19, 16, 7, 26,
                        12, 18, 6, 11, 5, 10, 9], np.uint8)  # fmt: skip


@jit
def join_best(parent, ghosts, volume, repulsion):
    """Join every voxel that is no ghost along its best edge where that attracts.

    Writes the weight of the strongest repulsive edge of each voxel to `repulsion`, if that has room.

    When the greedy algorithm comes to that edge, the voxel is still alone and excludes nothing, so the
    edge is sure to act, and joining early changes nothing else: one step of Boruvka's algorithm.
    """
    affinities, offsets, deltas, n_attractive, strides, frame, mask = volume
    nz, ny, nx = affinities.shape[1:]
    most, least = np.empty(nx, np.uint8), np.empty(nx, np.uint8)
    is_strided = strides.max() > 1
    for z in range(nz):
        for y in range(ny):
            _row_extremes(most, least, affinities, offsets, n_attractive, strides, frame, z, y)
            if repulsion.size > 0:
                for x in range(nx):
                    repulsion[(z * ny + y) * nx + x] = np.uint8(255) - least[x]
            for x in range(nx):
                weight, voxel = most[x], (z * ny + y) * nx + x
                if weight == 0 or weight < 255 - least[x] or (ghosts.size > 0 and ghosts[voxel]):
                    continue
                channel, side = _best_of_voxel(
                    affinities,
                    offsets,
                    deltas,
                    n_attractive,
                    strides,
                    frame,
                    mask,
                    is_strided,
                    z,
                    y,
                    x,
                    weight,
                    least[x],
                )
                if channel < n_attractive:
                    u, v = find(parent, voxel), find(parent, voxel + side * deltas[channel])
                    if u != v:
                        parent[max(u, v)] = min(u, v)


@inlined
def _row_extremes(most, least, affinities, offsets, n_attractive, strides, frame, z, y):
    """Write the largest attractive and the smallest repulsive affinity of the edges of each voxel of a row."""
    nz, ny, nx = affinities.shape[1:]
    most[:] = 0
    least[:] = 255
    for side in (1, -1):
        for channel in range(offsets.shape[0]):
            oz, oy, ox = side * offsets[channel, 0], side * offsets[channel, 1], side * offsets[channel, 2]
            if not (0 <= z + oz < nz and 0 <= y + oy < ny):
                continue
            sz, sy, sx = (z, y, 0) if side == 1 else (z + oz, y + oy, ox)
            if (sz + frame[1][0]) % strides[channel, 0] != 0 or (sy + frame[1][1]) % strides[channel, 1] != 0:
                continue
            step = strides[channel, 2]
            begin, end = max(0, -ox), min(nx, nx - ox)
            begin += -(begin + sx + frame[1][2]) % step
            if begin >= end:
                continue
            row = affinities[channel, sz, sy, begin + sx : end + sx]
            extremes = most[begin:end] if channel < n_attractive else least[begin:end]
            if step > 1:
                for x in range(0, row.size, step):
                    extremes[x] = max(extremes[x], row[x]) if channel < n_attractive else min(extremes[x], row[x])
            elif channel < n_attractive:
                for x in range(row.size):
                    extremes[x] = max(extremes[x], row[x])
            else:
                for x in range(row.size):
                    extremes[x] = min(extremes[x], row[x])


@inlined
def _best_of_voxel(affinities, offsets, deltas, n_attractive, strides, frame, mask, is_strided, z, y, x, most, least):
    """Return (channel, side) of the last edge by (hash, index, channel) among a voxel's heaviest.

    Side 1: the voxel is the higher one of the pair; -1: the lower one.
    """
    nz, ny, nx = affinities.shape[1:]
    n_channels = offsets.shape[0]
    voxel = (z * ny + y) * nx + x
    chosen, chosen_side, best = -1, 1, np.uint64(0)
    for channel in range(n_channels if most == 255 - least else n_attractive):
        wanted = most if channel < n_attractive else least
        for side in (1, -1):
            oz, oy, ox = side * offsets[channel, 0], side * offsets[channel, 1], side * offsets[channel, 2]
            if not (0 <= z + oz < nz and 0 <= y + oy < ny and 0 <= x + ox < nx):
                continue
            sz, sy, sx = (z, y, x) if side == 1 else (z + oz, y + oy, x + ox)
            if affinities[channel, sz, sy, sx] != wanted:
                continue
            if is_strided and (
                (sz + frame[1][0]) % strides[channel, 0] != 0
                or (sy + frame[1][1]) % strides[channel, 1] != 0
                or (sx + frame[1][2]) % strides[channel, 2] != 0
            ):
                continue
            higher = voxel if side == 1 else voxel - deltas[channel]
            key = edge_key(higher, channel, n_channels, frame, mask)
            if chosen < 0 or key > best:
                chosen, chosen_side, best = channel, side, key
    return chosen, chosen_side


@inlined
def _noise(voxel, channel, n_channels, frame, mask):
    """Hash the edge of a higher voxel and a channel."""
    is_whole, start, shape, domain_shape = frame
    if not is_whole:
        x, row = voxel % shape[2] + start[2], voxel // shape[2]
        y, z = row % shape[1] + start[1], row // shape[1] + start[0]
        voxel = (z * domain_shape[1] + y) * domain_shape[2] + x
    return location_hash(voxel * n_channels + channel, 0, mask)


@inlined
def edge_key(voxel, channel, n_channels, frame, mask):
    """Return the key of the edge of a higher voxel and a channel."""
    noise = np.uint64(_noise(voxel, channel, n_channels, frame, mask))
    return (noise << CODE_BITS) | (np.uint64(voxel) << CHANNEL_BITS) | np.uint64(channel)


@jit
def estimate_weights(parent, volume, n_channels, high, period):
    """Count edges between different clusters by weight, 1 to `high`, in one row of `period`, times `period`.

    `parent` is flat. Only the first `n_channels` are counted.
    """
    affinities, offsets, deltas, n_attractive, strides, frame, _ = volume
    counts = np.zeros(256, np.int64)
    nz, ny, nx = affinities.shape[1:]
    bits = np.zeros(nx, np.uint32)
    for row in range(0, nz * ny, period):
        z, y = row // ny, row % ny
        mark_row(bits, parent, affinities, offsets, deltas, n_attractive, strides, frame, z, y, 0, n_channels, 1, high)
        for x in range(nx):
            marks = bits[x]
            while marks != 0:
                channel, marks = next_channel(marks)
                value = np.int64(affinities[channel, z, y, x])
                counts[value if channel < n_attractive else 255 - value] += period
    return counts


@jit
def gather(parent, records, table, ghosts, volume, used, low, high, part, n_parts, codes):
    """Write codes of edges of the first `used` channels that may act, of weight low to high; count them.

    ``weight << 36`` is added; they ascend within a weight. If `n_parts` is above 1 (one weight with very many
    edges), only the edges whose hash falls into `part` are taken. `parent` is flat. Returns (longer) codes and
    their number.
    """
    affinities, offsets, deltas, n_attractive, strides, frame, mask = volume
    nz, ny, nx = affinities.shape[1:]
    bits = np.zeros(nx, np.uint32)
    n_channels, n = offsets.shape[0], 0
    ends = np.empty((nx * n_channels, 2), np.int64)
    for z in range(nz):
        for y in range(ny):
            mark_row(bits, parent, affinities, offsets, deltas, n_attractive, strides, frame, z, y, 0, used, low, high)
            if n + nx * n_channels > codes.size:
                longer = np.empty(codes.size * 5 // 4 + nx * n_channels, np.uint64)
                longer[:n] = codes[:n]
                codes = longer
            n = _gather_row(
                parent, records, table, ghosts, affinities, deltas, n_attractive, frame, mask,
                z, y, part, n_parts, bits, ends, codes, n,
            )  # fmt: skip
    return codes, n


@inlined
def _gather_row(
    parent,
    records,
    table,
    ghosts,
    affinities,
    deltas,
    n_attractive,
    frame,
    mask,
    z,
    y,
    part,
    n_parts,
    bits,
    ends,
    codes,
    n,
):
    """Write the codes of one row after the first `n`; `ends` has room for the two roots of each."""
    ny, nx = affinities.shape[2:]
    first = n
    for x in range(nx):
        marks = bits[x]
        if marks == 0:
            continue
        voxel = (z * ny + y) * nx + x
        root = np.int64(parent[voxel]) if parent[voxel] >= 0 else voxel
        while marks != 0:
            channel, marks = next_channel(marks)
            other = voxel + deltas[channel]
            if ghosts.size > 0 and ghosts[voxel] and ghosts[other]:
                continue
            other = np.int64(parent[other]) if parent[other] >= 0 else other
            if other == root:
                continue
            if (
                n_parts > 1
                and _noise(voxel, channel, deltas.size, frame, mask) * n_parts // (np.int64(mask) + 1) != part
            ):
                continue
            value = np.uint64(affinities[channel, z, y, x])
            weight = value if channel < n_attractive else np.uint64(255) - value
            codes[n] = (weight << CODE_BITS) | (np.uint64(voxel) << CHANNEL_BITS) | np.uint64(channel)
            ends[n - first, 0], ends[n - first, 1] = root, other
            prefetch_pair(parent, records, table, root, other)
            n += 1
    n_kept = first
    for k in range(first, n):
        strength = mutex_strength(parent, table, ends[k - first, 0], ends[k - first, 1])
        if strength >> WEIGHT_SHIFT <= codes[k] >> CODE_BITS:
            codes[n_kept] = codes[k]
            n_kept += 1
    return n_kept


@inlined
def next_channel(marks):
    """Return the lowest channel in the bits `marks`, and the bits without it."""
    lowest = marks & (~marks + np.uint32(1))
    return np.int64(_LOWEST_BIT[np.uint32(lowest * np.uint32(0x077CB531)) >> np.uint32(27)]), marks ^ lowest


@inlined
def mark_row(bits, parent, affinities, offsets, deltas, n_attractive, strides, frame, z, y, first, stop, low, high):
    """Set bit c of a voxel of the row (z, y) if its edge of channel c weighs low to high and joins two clusters.

    Channels from `first` to before `stop` are looked at.
    `parent` is flat; the edge between a root and its member is marked nevertheless.
    """
    nz, ny, nx = affinities.shape[1:]
    bits[:] = 0
    for channel in range(first, stop):
        if not (0 <= z + offsets[channel, 0] < nz and 0 <= y + offsets[channel, 1] < ny):
            continue
        if (z + frame[1][0]) % strides[channel, 0] != 0 or (y + frame[1][1]) % strides[channel, 1] != 0:
            continue
        step = strides[channel, 2]
        begin, end = max(0, -offsets[channel, 2]), min(nx, nx - offsets[channel, 2])
        begin += -(begin + frame[1][2]) % step
        if begin >= end:
            continue
        least, most = np.uint8(low), np.uint8(high)
        if channel >= n_attractive:
            least, most = np.uint8(255 - high), np.uint8(255 - low)
        place = (z * ny + y) * nx + begin
        here = parent[place : place + end - begin]
        there = parent[place + deltas[channel] : place + deltas[channel] + end - begin]
        row, marks = affinities[channel, z, y, begin:end], bits[begin:end]
        bit = np.uint32(1 << channel)
        if step > 1:
            for x in range(0, row.size, step):
                apart = (here[x] != there[x]) | (here[x] < 0)
                marks[x] |= bit * np.uint32(apart & (row[x] >= least) & (row[x] <= most))
            continue
        for x in range(row.size):
            apart = (here[x] != there[x]) | (here[x] < 0)
            marks[x] |= bit * np.uint32(apart & (row[x] >= least) & (row[x] <= most))


@jit
def sort_by_weight(codes, low, high, ordered):
    """Write codes by weight, `high` first, keeping their order within one; return where each weight starts."""
    starts = np.zeros(high - low + 2, np.int64)
    for code in codes:
        starts[high - np.int64(code >> CODE_BITS) + 1] += 1
    for level in range(high - low + 1):
        starts[level + 1] += starts[level]
    places = starts.copy()
    for code in codes:
        level = high - np.int64(code >> CODE_BITS)
        ordered[places[level]] = code
        places[level] += 1
    return starts


@inlined
def write_keys(parent, codes, deltas, frame, mask, keys):
    """Write the keys of edges between different clusters; count them."""
    n_channels, n = deltas.size, 0
    for k in range(codes.size):
        code = codes[k]
        if k + _AHEAD < codes.size:
            ahead = codes[k + _AHEAD] & CODE_MASK
            prefetch(parent, np.int64(ahead >> CHANNEL_BITS))
            prefetch(parent, np.int64(ahead >> CHANNEL_BITS) + deltas[np.int64(ahead & np.uint64(31))])
        voxel, channel = np.int64((code & CODE_MASK) >> CHANNEL_BITS), np.int64(code & np.uint64(31))
        u, v = find(parent, voxel), find(parent, voxel + deltas[channel])
        if u != v:
            keys[n] = edge_key(voxel, channel, n_channels, frame, mask)
            n += 1
    return n


@jit
def sorted_keys(keys, spare):
    """Sort keys whose codes ascend already: two stable passes over the 24 bits of the hash."""
    if keys.size < 1 << 10:
        keys.sort()
        return keys
    for shift in (CODE_BITS, CODE_BITS + np.uint64(12)):
        places = np.zeros(4097, np.int64)
        for key in keys:
            places[np.int64((key >> shift) & np.uint64(4095)) + 1] += 1
        for digit in range(4096):
            places[digit + 1] += places[digit]
        for key in keys:
            place = np.int64((key >> shift) & np.uint64(4095))
            spare[places[place]] = key
            places[place] += 1
        keys, spare = spare, keys
    return keys
