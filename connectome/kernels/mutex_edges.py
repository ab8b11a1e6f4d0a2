"""Voxel edges of a mutex watershed: which are sure to join, and the others by weight and hash.

An edge's code is ``index of its higher voxel << 5 | channel``; its key puts the location hash above
the code, so that keys of one weight sort in the strict order (hash, index, channel).
"""

from __future__ import annotations

import numpy as np

from connectome.kernels.jit import inlined, jit
from connectome.kernels.location_noise import location_hash
from connectome.kernels.mutex_sets import find, is_excluded

CODE_BITS = np.uint64(36)
CODE_MASK = np.uint64((1 << 36) - 1)
CHANNEL_BITS = np.uint64(5)
_LOWEST_BIT = np.array([0, 1, 28, 2, 29, 14, 24, 3, 30, 22, 20, 15, 25, 17, 4, 8, 31, 27, 13, 23, 21, 19, 16, 7, 26,
                        12, 18, 6, 11, 5, 10, 9], np.uint8)  # fmt: skip


@jit
def join_best(parent, affinities, offsets, deltas, n_attractive, strides, mask):
    """Join every voxel along its best edge where that attracts.

    When the greedy algorithm comes to that edge, the voxel is still alone and excludes nothing, so the
    edge is sure to act, and joining early changes nothing else: one step of Boruvka's algorithm.
    """
    nz, ny, nx = affinities.shape[1:]
    most, least = np.empty(nx, np.uint8), np.empty(nx, np.uint8)
    for z in range(nz):
        for y in range(ny):
            _row_extremes(most, least, affinities, offsets, n_attractive, strides, z, y)
            for x in range(nx):
                weight = most[x]
                if weight == 0 or weight < 255 - least[x]:
                    continue
                channel, side = _best_of_voxel(
                    affinities, offsets, deltas, n_attractive, strides, z, y, x, weight, least[x], mask
                )
                if channel < n_attractive:
                    voxel = (z * ny + y) * nx + x
                    u, v = find(parent, voxel), find(parent, voxel + side * deltas[channel])
                    if u != v:
                        parent[max(u, v)] = min(u, v)


@inlined
def _row_extremes(most, least, affinities, offsets, n_attractive, strides, z, y):
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
            if sz % strides[channel, 0] != 0 or sy % strides[channel, 1] != 0:
                continue
            row = affinities[channel, sz, sy]
            step = strides[channel, 2]
            begin, end = max(0, -ox), min(nx, nx - ox)
            if step > 1:
                for x in range(begin + -(begin + sx) % step, end, step):
                    if channel < n_attractive:
                        most[x] = max(most[x], row[x + sx])
                    else:
                        least[x] = min(least[x], row[x + sx])
            elif channel < n_attractive:
                for x in range(begin, end):
                    most[x] = max(most[x], row[x + sx])
            else:
                for x in range(begin, end):
                    least[x] = min(least[x], row[x + sx])


@jit
def _best_of_voxel(affinities, offsets, deltas, n_attractive, strides, z, y, x, most, least, mask):
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
            if sz % strides[channel, 0] != 0 or sy % strides[channel, 1] != 0 or sx % strides[channel, 2] != 0:
                continue
            higher = voxel if side == 1 else voxel - deltas[channel]
            key = edge_key(higher, channel, n_channels, mask)
            if chosen < 0 or key > best:
                chosen, chosen_side, best = channel, side, key
    return chosen, chosen_side


@inlined
def edge_key(voxel, channel, n_channels, mask):
    """Return the key of the edge of a higher voxel and a channel."""
    noise = np.uint64(location_hash(voxel * n_channels + channel, 0, mask))
    return (noise << CODE_BITS) | (np.uint64(voxel) << CHANNEL_BITS) | np.uint64(channel)


@jit
def count_weights(affinities, n_attractive):
    """Count edges by weight, those that would leave the volume included."""
    counts = np.zeros(256, np.int64)
    n_voxels = affinities[0].size
    flat = affinities.ravel()
    for channel in range(affinities.shape[0]):
        here = np.zeros((4, 256), np.int64)
        for voxel in range(channel * n_voxels, (channel + 1) * n_voxels):
            here[voxel & 3, flat[voxel]] += 1
        for value in range(256):
            counts[value if channel < n_attractive else 255 - value] += here[:, value].sum()
    return counts


@jit
def gather(
    parent, table, affinities, offsets, deltas, n_attractive, strides, low, high, part, n_parts, mask, codes, starts
):
    """Write the codes (voxel << 5 | channel) of edges of weight low to high that may still act, by weight.

    They ascend within a weight. If `n_parts` is above 1 (one weight with very many edges), only the
    edges whose hash falls into `part` are taken.
    """
    nz, ny, nx = affinities.shape[1:]
    stops = starts[: high - low + 1].copy()
    bits = np.zeros(nx, np.uint32)
    n_channels = offsets.shape[0]
    flat = affinities.ravel()
    n_voxels = nz * ny * nx
    last = np.full((n_channels, 2), -1, np.int64)
    for z in range(nz):
        for y in range(ny):
            _mark_row(bits, affinities, offsets, n_attractive, strides, z, y, low, high)
            for x in range(nx):
                marks = bits[x]
                if marks == 0:
                    continue
                voxel = (z * ny + y) * nx + x
                root = find(parent, voxel)
                while marks != 0:
                    lowest = marks & (~marks + np.uint32(1))
                    channel = _LOWEST_BIT[np.uint32(lowest * np.uint32(0x077CB531)) >> np.uint32(27)]
                    marks ^= lowest
                    other = find(parent, voxel + deltas[channel])
                    if other == root or (last[channel, 0] == root and last[channel, 1] == other):
                        continue
                    if is_excluded(parent, table, root, other):
                        last[channel, 0], last[channel, 1] = root, other
                        continue
                    if n_parts > 1:
                        noise = location_hash(voxel * n_channels + channel, 0, mask)
                        if noise * n_parts // (np.int64(mask) + 1) != part:
                            continue
                    weight = np.int64(flat[channel * n_voxels + voxel])
                    level = high - (weight if channel < n_attractive else 255 - weight)
                    if stops[level] == codes.size:
                        wider = np.empty(codes.size * 5 // 4, np.uint64)
                        wider[: codes.size] = codes
                        codes = wider
                    codes[stops[level]] = (np.uint64(voxel) << CHANNEL_BITS) | np.uint64(channel)
                    stops[level] += 1
    return codes, stops


@jit
def _mark_row(bits, affinities, offsets, n_attractive, strides, z, y, low, high):
    """Set bit c of a voxel of the row (z, y) where its edge of channel c has a weight of low to high."""
    nz, ny, nx = affinities.shape[1:]
    bits[:] = 0
    for channel in range(offsets.shape[0]):
        if not (0 <= z + offsets[channel, 0] < nz and 0 <= y + offsets[channel, 1] < ny):
            continue
        if z % strides[channel, 0] != 0 or y % strides[channel, 1] != 0:
            continue
        row = affinities[channel, z, y]
        least, most = np.uint8(low), np.uint8(high)
        if channel >= n_attractive:
            least, most = np.uint8(255 - high), np.uint8(255 - low)
        bit = np.uint32(1) << np.uint32(channel)
        begin, end, step = max(0, -offsets[channel, 2]), min(nx, nx - offsets[channel, 2]), strides[channel, 2]
        if step == 1:
            for x in range(begin, end):
                bits[x] |= bit if (row[x] >= least) & (row[x] <= most) else np.uint32(0)
        else:
            for x in range(-(-begin // step) * step, end, step):
                bits[x] |= bit if (row[x] >= least) & (row[x] <= most) else np.uint32(0)


@jit
def keep_open(parent, table, codes, deltas, n_channels, mask, keys):
    """Write the keys (hash << 36 | code) of edges between clusters that do not exclude each other; count them."""
    n = 0
    for code in codes:
        voxel, channel = np.int64(code >> CHANNEL_BITS), np.int64(code & np.uint64(31))
        u, v = find(parent, voxel), find(parent, voxel + deltas[channel])
        if u != v and not is_excluded(parent, table, u, v):
            keys[n] = edge_key(voxel, channel, n_channels, mask)
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
