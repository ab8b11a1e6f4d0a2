"""Fragments in plain Python: dictionaries of voxels, one rule per line."""

import itertools
import math

import numpy as np

from connectome.geometry import Box
from tests.naive.location_noise import location_hash


def _step(voxel, axis, by):
    return tuple(c + by * (k == axis) for k, c in enumerate(voxel))


def _neighbours(voxel, box):
    for axis in range(3):
        for by in (-1, 1):
            other = _step(voxel, axis, by)
            if all(a <= c < b for a, c, b in zip(box.start, other, box.stop, strict=True)):
                yield other, axis, max(voxel, other)


def index_of(voxel, domain):
    z, y, x = (c - o for c, o in zip(voxel, domain.start, strict=True))
    return (z * domain.shape[1] + y) * domain.shape[2] + x


def fragments_by_affinity(affinities, read_box, write_box, domain, *, low, high, hash_bits=24):
    def value(voxel, axis):
        return int(affinities[(axis, *(c - o for c, o in zip(voxel, read_box.start, strict=True)))])

    def links_of(voxel):
        edges = []
        for other, axis, higher in _neighbours(voxel, domain):
            if not read_box.contains(Box(higher, _step(_step(_step(higher, 0, 1), 1, 1), 2, 1))):
                continue
            index = index_of(higher, domain)
            edges.append((value(higher, axis), location_hash(index, axis, hash_bits), index, axis, other))
        best = max(edges, default=(-1,))
        return {e[4] for e in edges if e[0] >= high} | ({best[4]} if best[0] > low else set())

    return components(links_of, write_box, domain)


def fragments_by_distance(affinities, read_box, write_box, domain, parameters):
    p, axes = parameters, range(1 if parameters.per_section else 0, 3)
    height = dict(
        zip(
            itertools.product(*map(range, read_box.start, read_box.stop)),
            distance_heights(affinities, read_box, domain, p).ravel().tolist(),
            strict=True,
        )
    )
    plateau = 16 * p.cap * 4 ** (len(axes) * p.n_smoothing)

    def links_of(voxel):
        around = [other for other, axis, _ in _neighbours(voxel, read_box) if axis in axes]
        if not around or max(height[voxel], *(height[other] for other in around)) == 0:
            return set()
        best = max(
            around,
            key=lambda o: (
                height[o],
                location_hash(index_of(o, domain), 0, p.hash_bits),
                index_of(o, domain),
            ),
        )
        return {best} | {o for o in around if height[o] == height[voxel] == plateau}

    return components(links_of, write_box, domain)


def components(links_of, write_box, domain):
    """Labels and face links from a function that gives the voxels which a voxel links to."""
    parent = {}

    def root(voxel):
        while parent.setdefault(voxel, voxel) != voxel:
            voxel = parent[voxel]
        return voxel

    labels = np.zeros(write_box.shape, np.uint64)
    faces = []
    inside = set(itertools.product(*map(range, write_box.start, write_box.stop)))
    linked = {(v, o) for v in inside for o in links_of(v)}
    for axis in range(3):
        face = sorted(v for v in inside if v[axis] == write_box.start[axis])
        below = [_step(v, axis, -1) for v in face]
        faces += [
            o[axis] >= domain.start[axis] and ((v, o) in linked or v in links_of(o))
            for v, o in zip(face, below, strict=True)
        ]
    for voxel, other in linked:
        if other in inside:
            a, b = sorted((root(voxel), root(other)))
            parent[b] = a
    for voxel in inside:
        if links_of(voxel):
            labels[tuple(np.subtract(voxel, write_box.start))] = index_of(root(voxel), domain) + 1
    return labels, np.array(faces, bool)


def distance_heights(affinities, read_box, domain, parameters):
    p, axes = parameters, range(1 if parameters.per_section else 0, 3)
    voxels = list(itertools.product(*map(range, read_box.start, read_box.stop)))
    boundary = []
    for voxel in voxels:
        at = tuple(c - o for c, o in zip(voxel, read_box.start, strict=True))
        edges = [int(affinities[(axis, *at)]) for axis in axes if voxel[axis] > domain.start[axis]]
        if 3 * sum(edges) < len(edges) * p.boundary_sum:
            boundary.append(voxel)
    heights = np.zeros(read_box.shape, np.int64)
    for voxel in voxels:
        squared = [
            sum((s * (a - b)) ** 2 for s, a, b in zip(p.voxel_size, voxel, other, strict=True))
            for other in boundary
            if not p.per_section or other[0] == voxel[0]
        ]
        nearest = min([*squared, p.cap**2])
        heights[tuple(c - o for c, o in zip(voxel, read_box.start, strict=True))] = math.isqrt(256 * nearest)
    for axis in axes:
        for _ in range(p.n_smoothing):
            padded = np.pad(heights, [(int(k == axis), int(k == axis)) for k in range(3)], mode="edge")
            parts = [np.take(padded, range(k, k + heights.shape[axis]), axis) for k in range(3)]
            heights = parts[0] + 2 * parts[1] + parts[2]
    return heights


def grown(box: Box, halo, domain: Box) -> Box:
    return box.grow(halo).intersect(domain)
