"""Mutex watershed in plain Python: all edges in one sorted list, clusters and mutexes as sets."""

import itertools

import numpy as np

from tests.naive.location_noise import location_hash


def edges_in_order(affinities, offsets, n_attractive, strides=None, hash_bits=24):
    """[(weight, hash, index of the higher voxel, channel, index of the lower voxel)], strongest first."""
    edges, shape = [], affinities.shape[1:]
    for channel, offset in enumerate(offsets):
        for voxel in itertools.product(*map(range, shape)):
            other = tuple(a + d for a, d in zip(voxel, offset, strict=True))
            affinity = int(affinities[(channel, *voxel)])
            weight = affinity if channel < n_attractive else 255 - affinity
            strided = strides is None or all(a % s == 0 for a, s in zip(voxel, strides[channel], strict=True))
            if weight > 0 and strided and all(0 <= a < n for a, n in zip(other, shape, strict=True)):
                index, lower = (int(np.ravel_multi_index(v, shape)) for v in (voxel, other))
                noise = location_hash(index * len(offsets) + channel, 0, hash_bits)
                edges.append((weight, noise, index, channel, lower))
    return sorted(edges, reverse=True)


def mutex_watershed(affinities, offsets, n_attractive=3, *, strides=None, hash_bits=24):
    n = int(np.prod(affinities.shape[1:]))
    members, excluded, name = {v: {v} for v in range(n)}, {v: set() for v in range(n)}, list(range(n))
    for _, _, index, channel, lower in edges_in_order(affinities, offsets, n_attractive, strides, hash_bits):
        a, b = name[index], name[lower]
        if a == b or b in excluded[a]:
            continue
        if channel >= n_attractive:
            excluded[a].add(b)
            excluded[b].add(a)
            continue
        for other in excluded.pop(b):
            excluded[other] = excluded[other] - {b} | {a}
            excluded[a].add(other)
        for voxel in members[b]:
            name[voxel] = a
        members[a] |= members.pop(b)
    labels = np.zeros(n, np.uint64)
    for cluster in members.values():
        labels[sorted(cluster)] = min(cluster) + 1
    return labels.reshape(affinities.shape[1:])
