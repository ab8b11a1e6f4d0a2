"""Edges between touching fragments as sums of integers, and what crosses a block's low faces.

The block that owns the higher voxel owns the voxel edge. Each voxel edge adds
``affinity << 24 | location hash`` to its pair's sum and 1 to its count: any order gives the same sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box
from connectome.kernels.fragments import Affinities, FaceLinks, Labels
from connectome.kernels.jit import jit
from connectome.kernels.location_noise import HASH_BITS, hash_mask, location_hash, location_hashes

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class BlockGraph:
    """The leaf tables of one block (exact segmentation recipe, section 4).

    Attributes
    ----------
    clusters : columns ``id`` uint64, ``size`` int64
        Pieces of fragments in the block, sorted by id, with their voxels.
    edges : columns ``a``, ``b`` uint64, ``sum``, ``count`` int64
        Pairs of touching pieces, a < b, sorted.
    seam : columns ``a``, ``b`` uint64, ``sum``, ``count`` int64, ``linked`` bool
        Pairs that touch over a low face: a here, b in the block below.
    alias : columns ``raw``, ``id`` uint64, ``faces`` uint8
        Pieces on inner faces; bit 2k for the low face of axis k, 2k + 1 for the high one.
    """

    clusters: Columns
    edges: Columns
    seam: Columns
    alias: Columns


def block_graph(
    labels: Labels,
    affinities: Affinities,
    face_links: FaceLinks,
    read_box: Box,
    write_box: Box,
    domain: Box,
    *,
    hash_bits: int = HASH_BITS,
) -> BlockGraph:
    """Measure the contacts of all pieces of fragments in one block.

    Parameters
    ----------
    labels : uint64 array, shape of `read_box`
        Pieces; `read_box` is `write_box` with one more voxel on the low sides, cut by the domain.
    affinities : uint8 array, shape (3, *write_box.shape)
        Affinities, stored at the higher voxel of each pair.
    face_links : bool array
        Links over the low faces as the fragment kernels return them.
    read_box, write_box, domain : Box
        Where `labels` are, what the block owns, and the whole volume.
    hash_bits : int
        Width of the location hash.

    Returns
    -------
    BlockGraph

    Notes
    -----
    O(voxels) with one hash look-up per contact; 4 bytes per voxel and 32 per edge beside the input.
    """
    margin = tuple(a - r for a, r in zip(write_box.start, read_box.start, strict=True))
    inside = np.ascontiguousarray(labels[write_box.relative_to(read_box.start).slices]).view(np.int64)
    mask = hash_mask(hash_bits)
    geometry = (write_box.start, domain.start, domain.shape)
    ids, sizes, dense = _pieces(inside, *geometry)
    a, b, sums, counts = _contacts(dense, affinities, *geometry, mask)
    order = np.lexsort((b, a))
    edges = {"a": ids[a[order]], "b": ids[b[order]], "sum": sums[order], "count": counts[order]}
    seam = _seam(labels, affinities, face_links, margin, write_box, domain, hash_bits)
    return BlockGraph({"id": ids, "size": sizes}, edges, seam, _alias(inside.view(np.uint64), write_box, domain))


def pool_edges(columns: Columns) -> Columns:
    """Sort rows by (a, b) and add up ``sum`` and ``count`` (and OR ``linked``) of equal pairs."""
    a, b = columns["a"], columns["b"]
    order = np.lexsort((b, a))
    a, b = a[order], b[order]
    if a.size == 0:
        return {name: values[order] for name, values in columns.items()}
    first = np.flatnonzero(np.concatenate(([True], (a[1:] != a[:-1]) | (b[1:] != b[:-1]))))
    pooled: Columns = {"a": a[first], "b": b[first]}
    for name in ("sum", "count"):
        pooled[name] = np.add.reduceat(columns[name][order], first)
    if "linked" in columns:
        pooled["linked"] = np.logical_or.reduceat(columns["linked"][order], first)
    return pooled


def _seam(
    labels: Labels,
    affinities: Affinities,
    face_links: FaceLinks,
    margin: tuple[int, ...],
    write_box: Box,
    domain: Box,
    hash_bits: int,
) -> Columns:
    """Contacts over the low faces, pooled by pair."""
    here = labels[margin[0] :, margin[1] :, margin[2] :]
    nz, ny, nx = write_box.shape
    splits = np.cumsum([ny * nx, nz * nx])
    parts: list[Columns] = []
    for axis, linked in enumerate(np.split(face_links, splits)):
        if margin[axis] == 0:
            continue
        face = tuple(slice(0, 1) if k == axis else slice(None) for k in range(3))
        below = tuple(slice(0, 1) if k == axis else slice(margin[k], None) for k in range(3))
        a, b = here[face].ravel(), labels[below].ravel()
        touching = np.flatnonzero((a != 0) & (b != 0))
        voxel = np.unravel_index(touching, tuple(1 if k == axis else n for k, n in enumerate(write_box.shape)))
        index = np.zeros(touching.size, np.int64)
        for k in range(3):
            index = index * domain.shape[k] + (voxel[k] + (write_box.start[k] - domain.start[k]))
        affinity = affinities[(axis, *face)].ravel()[touching].astype(np.int64)
        parts.append(
            {
                "a": a[touching],
                "b": b[touching],
                "sum": (affinity << HASH_BITS) | location_hashes(index, axis, hash_bits),
                "count": np.ones(touching.size, np.int64),
                "linked": linked[touching],
            }
        )
    empty: Columns = {
        "a": np.zeros(0, np.uint64),
        "b": np.zeros(0, np.uint64),
        "sum": np.zeros(0, np.int64),
        "count": np.zeros(0, np.int64),
        "linked": np.zeros(0, np.bool_),
    }
    return pool_edges({name: np.concatenate([p[name] for p in [empty, *parts]]) for name in empty})


def _alias(labels: Labels, write_box: Box, domain: Box) -> Columns:
    """Pieces that touch inner faces of the block, with one bit per face."""
    raw, bits = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint8)]
    for axis in range(3):
        for side, inner in enumerate(
            (write_box.start[axis] > domain.start[axis], write_box.stop[axis] < domain.stop[axis])
        ):
            if inner:
                ids = np.unique(np.take(labels, -side, axis=axis))
                ids = ids[ids != 0]
                raw.append(ids)
                bits.append(np.full(ids.size, 1 << (2 * axis + side), np.uint8))
    ids, inverse = np.unique(np.concatenate(raw), return_inverse=True)
    faces = np.zeros(ids.size, np.uint8)
    np.bitwise_or.at(faces, inverse, np.concatenate(bits))
    return {"raw": ids, "id": ids.copy(), "faces": faces}


@jit
def _pieces(labels, start, domain_start, domain_shape):
    """Ids, sizes and dense numbers (1, 2, ... in C order of first voxels) of the pieces."""
    nz, ny, nx = labels.shape
    flat = labels.ravel()
    dense = np.zeros(flat.size, np.int32)
    n, voxel = 0, 0
    for z in range(nz):
        for y in range(ny):
            gz, gy = start[0] + z - domain_start[0], start[1] + y - domain_start[1]
            first = (gz * domain_shape[1] + gy) * domain_shape[2] + start[2] - domain_start[2] + 1
            for x in range(nx):
                label = flat[voxel]
                if label == first + x:
                    n += 1
                    dense[voxel] = n
                elif label > 0:
                    index = label - 1
                    rz = index // (domain_shape[1] * domain_shape[2]) - (start[0] - domain_start[0])
                    ry = index // domain_shape[2] % domain_shape[1] - (start[1] - domain_start[1])
                    rx = index % domain_shape[2] - (start[2] - domain_start[2])
                    dense[voxel] = dense[(rz * ny + ry) * nx + rx]
                voxel += 1
    ids, sizes = np.empty(n, np.uint64), np.zeros(n, np.int64)
    for voxel in range(flat.size):
        if dense[voxel] > 0:
            sizes[dense[voxel] - 1] += 1
            if sizes[dense[voxel] - 1] == 1:
                ids[dense[voxel] - 1] = flat[voxel]
    return ids, sizes, dense.reshape(labels.shape)


@jit
def _contacts(dense, affinities, start, domain_start, domain_shape, mask):
    """Pairs (a, b, sum, count) of touching pieces inside the block, by open addressing."""
    nz, ny, nx = dense.shape
    slots = np.full(1 << 12, -1, np.int32)
    capacity = 1 << 11
    pairs = np.empty(capacity, np.int64)
    sums, counts = np.zeros(capacity, np.int64), np.zeros(capacity, np.int64)
    n = 0
    for z in range(nz):
        for y in range(ny):
            gz, gy = start[0] + z - domain_start[0], start[1] + y - domain_start[1]
            row = (gz * domain_shape[1] + gy) * domain_shape[2] + start[2] - domain_start[2]
            for x in range(nx):
                here = dense[z, y, x]
                if here == 0:
                    continue
                for axis in range(3):
                    if axis == 0:
                        other = dense[z - 1, y, x] if z > 0 else 0
                    elif axis == 1:
                        other = dense[z, y - 1, x] if y > 0 else 0
                    else:
                        other = dense[z, y, x - 1] if x > 0 else 0
                    if other == here or other == 0:
                        continue
                    pair = (np.int64(min(here, other)) << 32) | max(here, other)
                    edge, place = _find(slots, pairs, pair)
                    if edge < 0:
                        edge = n
                        if n == capacity:
                            capacity *= 2
                            slots, pairs, sums, counts = _grown(pairs, sums, counts, capacity)
                            _, place = _find(slots, pairs, pair)
                        slots[place] = n
                        pairs[n] = pair
                        n += 1
                    value = np.int64(affinities[axis, z, y, x]) << 24
                    sums[edge] += value | location_hash(row + x, axis, mask)
                    counts[edge] += 1
    return (pairs[:n] >> 32) - 1, (pairs[:n] & 0xFFFFFFFF) - 1, sums[:n], counts[:n]


@jit
def _find(slots, pairs, pair):
    """Return (edge, slot) of a pair, edge -1 where it is new."""
    wrap = slots.size - 1
    x = np.uint64(pair) * np.uint64(0x9E3779B97F4A7C15)
    place = np.int64(x >> np.uint64(32)) & wrap
    while slots[place] >= 0:
        if pairs[slots[place]] == pair:
            return slots[place], place
        place = (place + 1) & wrap
    return -1, place


@jit
def _grown(pairs, sums, counts, capacity):
    """Double the tables; at most half of the slots are taken."""
    slots = np.full(2 * capacity, -1, np.int32)
    wider = np.empty(capacity, np.int64)
    wider_sums, wider_counts = np.zeros(capacity, np.int64), np.zeros(capacity, np.int64)
    wider[: pairs.size] = pairs
    wider_sums[: pairs.size] = sums
    wider_counts[: pairs.size] = counts
    for edge in range(pairs.size):
        _, place = _find(slots, wider, pairs[edge])
        slots[place] = edge
    return slots, wider, wider_sums, wider_counts
