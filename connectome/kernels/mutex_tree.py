"""Mutex watershed block by block, the same as of the whole volume, by deferral.

A block sees the affinities of all edges of its own voxels, so it knows what each of its clusters will
do first; the voxels around it are *ghosts*, of which it knows nothing else. It decides what is sure: an
edge that is the best undecided one of both its clusters; a repulsive one that is the best of one of them;
an attractive one that is the best of a cluster that excludes nothing. What leans on a ghost waits. A node
of the octree finds its children's ghosts in their neighbours and goes on. A cluster that holds ghosts
goes up under the id of its first voxel, ghosts included: an id means one segment wherever it occurs.

Source: exact segmentation recipe, section 6. Why it is exact: with the pairs that are already decided
put in beforehand, the greedy algorithm meets none of a cluster's other edges before the best undecided
one, so the cluster is then as it is now; deciding that edge early changes no decision before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Halo, Triple
from connectome.ids import voxels_of_ids
from connectome.kernels.edges import Columns
from connectome.kernels.fragments import Affinities, Labels
from connectome.kernels.jit import jit
from connectome.kernels.location_noise import HASH_BITS, hash_mask, location_hashes
from connectome.kernels.merge_tree import apply_names
from connectome.kernels.mutex_edges import CHANNEL_BITS, CODE_BITS, CODE_MASK
from connectome.kernels.mutex_sets import (
    SURE,
    entries_needed,
    exclude,
    find,
    flatten,
    is_excluded,
    must_wait,
    mutex_pairs,
    pairs_needed,
    singletons,
    unite,
    with_room,
)
from connectome.kernels.mutex_watershed import checked_channels, watershed

Ids = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MutexChannels:
    """What the channels of long-range affinities mean; see `mutex_watershed`."""

    offsets: tuple[Triple, ...]
    n_attractive: int = 3
    strides: tuple[Triple, ...] | None = None
    hash_bits: int = HASH_BITS

    @property
    def halo(self) -> Halo:
        """The greatest offset along each axis: a block reads and refers to voxels that far outside."""
        z, y, x = (max(abs(offset[axis]) for offset in self.offsets) for axis in range(3))
        return Halo.symmetric((z, y, x))


@dataclass(frozen=True)
class MutexGraph:
    """What a block or node hands up: clusters that go on outside or wait, and what they know.

    Attributes
    ----------
    clusters : columns ``id`` uint64, ``is_ghost`` bool
        Sorted by id; a ghost is a single voxel outside, of which only contacts are known.
    edges : columns ``a``, ``b`` uint64, ``weight`` uint8, ``voxel`` int64, ``channel`` uint8
        The first undecided edge of each pair, a < b, strongest first; index of the higher voxel in the domain.
    mutexes : columns ``a``, ``b`` uint64
        Pairs that exclude each other, a < b, sorted.
    voxels : columns ``raw``, ``id`` uint64
        Clusters of ghosts and of voxels within reach of inner faces, which are ghosts elsewhere; sorted by raw.
    """

    clusters: Columns
    edges: Columns
    mutexes: Columns
    voxels: Columns


@dataclass(frozen=True)
class MutexNode:
    """A reduced node: the graph that goes up, and the names (``old``, ``new``, sorted) that stay.

    A name is kept for every cluster of a child that got another id here or goes up.
    """

    graph: MutexGraph
    names: Columns


def mutex_block(
    affinities: Affinities, read_box: Box, write_box: Box, domain: Box, channels: MutexChannels
) -> tuple[Labels, MutexGraph]:
    """Segment one block as far as it is sure.

    Parameters
    ----------
    affinities : uint8 array, shape (c, *read_box.shape)
        Affinities; those of pairs outside `write_box` are not looked at.
    read_box, write_box, domain : Box
        `write_box` grown by the channels' halo and cut by the domain; what the block owns; the whole volume.
    channels : MutexChannels
        What the channels mean.

    Returns
    -------
    labels : uint64 array, shape of `write_box`
        1 + the index in the domain of the first voxel of the cluster, which may lie outside the block.
    graph : MutexGraph
        What is not decided yet; empty where the block is the domain.

    Notes
    -----
    O(voxels of `read_box`) as `mutex_watershed`; 2 bytes per voxel more, and 40 per edge that waits.
    """
    steps, strides = checked_channels(
        affinities, channels.offsets, channels.n_attractive, channels.strides, channels.hash_bits
    )
    inside = write_box.relative_to(read_box.start).slices
    ghosts = np.ones(read_box.shape, np.bool_)
    ghosts[inside] = False
    start = read_box.relative_to(domain.start).start
    frame = (False, start, read_box.shape, domain.shape)
    parent, waiting, pairs = watershed(
        np.ascontiguousarray(affinities),
        steps,
        channels.n_attractive,
        strides,
        frame,
        hash_mask(channels.hash_bits),
        ghosts.ravel(),
    )
    root = np.where(parent < 0, np.arange(parent.size), parent)
    place = [np.arange(n, dtype=np.int64) + o for n, o in zip(read_box.shape, start, strict=True)]
    rows = place[0][:, None] * domain.shape[1] + place[1]
    ids = (rows[:, :, None] * domain.shape[2] + place[2] + 1).astype(np.uint64).ravel()
    labels = ids[root].reshape(read_box.shape)[inside]

    code = waiting & CODE_MASK
    voxel, channel = (code >> CHANNEL_BITS).astype(np.int64), (code & np.uint64(31)).astype(np.int64)
    deltas = (steps[:, 0] * read_box.shape[1] + steps[:, 1]) * read_box.shape[2] + steps[:, 2]
    edges: Columns = {
        "a": root[voxel],
        "b": root[voxel + deltas[channel]],
        "weight": (waiting >> CODE_BITS).astype(np.uint8),
        "voxel": ids[voxel].astype(np.int64) - 1,
        "channel": channel.astype(np.uint8),
    }
    holds_ghost, holds_own = np.zeros((2, parent.size), np.bool_)
    holds_ghost[root[ghosts.ravel()]] = True
    holds_own[root[~ghosts.ravel()]] = True
    voxels: Columns = {"raw": ids, "id": root}
    graph = _passed_on(ids, holds_ghost, ~holds_own, edges, pairs, voxels, write_box, domain, channels.halo)
    return labels, graph


def reduce_mutexes(
    box: Box, children: Sequence[tuple[Box, MutexGraph]], domain: Box, channels: MutexChannels
) -> MutexNode:
    """Join the children's graphs inside `box` and decide what is sure.

    Parameters
    ----------
    box : Box
        The node's box, the union of the children's.
    children : sequence of (Box, MutexGraph)
        Blocks or reduced nodes, in any order.
    domain : Box
        The whole volume.
    channels : MutexChannels
        What the channels mean.

    Returns
    -------
    MutexNode
        At the root its graph is empty.
    """
    graphs = [graph for _, graph in children]
    ids: Ids = np.unique(np.concatenate([graph.clusters["id"] for graph in graphs]))
    voxels = _concatenate([graph.voxels for graph in graphs])
    owned = np.concatenate([_inside(graph.voxels["raw"], child, domain) for child, graph in children])
    here = _inside(voxels["raw"], box, domain)
    known = np.isin(voxels["raw"], voxels["raw"][owned])
    order = np.argsort(voxels["raw"], kind="stable")
    raw, end = voxels["raw"][order], _positions(ids, voxels["id"][order])
    same = np.flatnonzero(raw[1:] == raw[:-1])
    owner = np.full(ids.size, -1, np.int32)
    _unite_pairs(owner, end[same], end[same + 1])

    holds_ghost, is_ghost = np.zeros(ids.size, np.bool_), np.ones(ids.size, np.bool_)
    holds_ghost[_roots(owner)[end[~here[order]]]] = True
    for graph in graphs:
        own = graph.clusters["id"][~graph.clusters["is_ghost"]]
        is_ghost[_roots(owner)[_positions(ids, own)]] = False
    gone = np.zeros(ids.size, np.bool_)
    gone[_roots(owner)[end[(here & ~known)[order]]]] = True
    gone = (gone & is_ghost)[_roots(owner)]

    rows = _concatenate([graph.edges for graph in graphs])
    ends = [_roots(owner)[_positions(ids, rows[name])] for name in ("a", "b")]
    rows = {**rows, "a": np.minimum(*ends), "b": np.maximum(*ends)}
    rows = _strongest_first({name: values[~(gone[ends[0]] | gone[ends[1]])] for name, values in rows.items()}, channels)
    mutexes = _concatenate([graph.mutexes for graph in graphs])
    pairs = np.stack([_roots(owner)[_positions(ids, mutexes[name])] for name in ("a", "b")], axis=1)
    pairs = np.unique(np.sort(pairs[~gone[pairs].any(axis=1)], axis=1), axis=0)

    parent, waits, pairs = _sweep(
        ids.size, owner, holds_ghost, pairs, rows["a"], rows["b"], rows["channel"] < channels.n_attractive
    )
    root = _roots(parent)
    rows = {name: values[waits] for name, values in rows.items()}
    rows["a"], rows["b"] = root[rows["a"]], root[rows["b"]]
    own = np.zeros(ids.size, np.bool_)
    own[root[~is_ghost[_roots(owner)]]] = True
    reaches = np.zeros(ids.size, np.bool_)
    reaches[root[holds_ghost[_roots(owner)]]] = True
    voxels = {"raw": raw, "id": root[end]}
    graph = _passed_on(ids, reaches, ~own, rows, pairs, voxels, box, domain, channels.halo)
    names = ids[root]
    kept = (names != ids) | np.isin(names, graph.clusters["id"])
    return MutexNode(graph, {"old": ids[kept], "new": names[kept]})


def expand_mutex_names(names: Columns, above: Columns) -> Columns:
    """Compose a node's names with the final names of the node above (both sorted by old)."""
    return {"old": names["old"], "new": apply_names(above, names["new"])}


def _passed_on(
    ids: Ids,
    holds_ghost: Flags,
    is_ghost: Flags,
    edges: Columns,
    pairs: npt.NDArray[np.int64],
    voxels: Columns,
    box: Box,
    domain: Box,
    halo: Halo,
) -> MutexGraph:
    """Keep what may still change; all clusters are given as positions of their roots in `ids`.

    A cluster is done if it holds no ghost and none of its edges waits: it will join nothing any more,
    so that nobody needs to know whom it excludes.
    """
    n = np.uint64(ids.size)
    a, b = np.minimum(edges["a"], edges["b"]), np.maximum(edges["a"], edges["b"])
    key = a.astype(np.uint64) * n + b.astype(np.uint64)
    first = np.zeros(key.size, np.bool_)
    first[np.unique(key, return_index=True)[1]] = True
    first &= (a != b) & ~np.isin(key, pairs[:, 0].astype(np.uint64) * n + pairs[:, 1].astype(np.uint64))
    a, b = a[first], b[first]

    lives = holds_ghost & ~is_ghost
    lives[a] = True
    lives[b] = True
    pairs = pairs[(lives | is_ghost)[pairs].all(axis=1) & (lives & ~is_ghost)[pairs].any(axis=1)]
    lives[pairs.ravel()] = True
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    outside = ~_inside(voxels["raw"], box, domain)
    kept = lives[voxels["id"]] & (outside | _within_reach(voxels["raw"], box, domain, halo))
    raw, at = np.unique(voxels["raw"][kept], return_index=True)
    alive = np.flatnonzero(lives)
    return MutexGraph(
        clusters={"id": ids[alive], "is_ghost": is_ghost[alive]},
        edges={**{name: values[first] for name, values in edges.items()}, "a": ids[a], "b": ids[b]},
        mutexes={"a": ids[pairs[order, 0]], "b": ids[pairs[order, 1]]},
        voxels={"raw": raw, "id": ids[voxels["id"][kept][at]]},
    )


def _strongest_first(rows: Columns, channels: MutexChannels) -> Columns:
    noise = location_hashes(rows["voxel"] * len(channels.offsets) + rows["channel"], 0, channels.hash_bits)
    order = np.lexsort((rows["channel"], rows["voxel"], noise, rows["weight"]))[::-1]
    return {name: values[order] for name, values in rows.items()}


def _within_reach(raw: Ids, box: Box, domain: Box, halo: Halo) -> Flags:
    """Tell which voxels of the box have a voxel of the domain outside it within the halo, along one axis."""
    near = np.zeros(raw.size, np.bool_)
    relative = box.relative_to(domain.start)
    for axis, voxel in enumerate(voxels_of_ids(raw, domain.shape)):
        if relative.start[axis] > 0:
            near |= voxel < relative.start[axis] + halo.low[axis]
        if relative.stop[axis] < domain.shape[axis]:
            near |= voxel >= relative.stop[axis] - halo.high[axis]
    return near


def _inside(raw: Ids, box: Box, domain: Box) -> Flags:
    inside = np.ones(raw.size, np.bool_)
    relative = box.relative_to(domain.start)
    for voxel, low, high in zip(voxels_of_ids(raw, domain.shape), relative.start, relative.stop, strict=True):
        inside &= (voxel >= low) & (voxel < high)
    return inside


def _positions(ids: Ids, wanted: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Find `wanted` in the sorted `ids`; every one must be there."""
    place = np.searchsorted(ids, wanted)
    if not (place < ids.size).all() or not np.array_equal(ids[place], wanted):
        raise RuntimeError("a table names a cluster that no child handed up: the tables do not fit together")
    return place.astype(np.int64)


def _concatenate(tables: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def _roots(parent: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return the root of each member of a flat union-find."""
    return np.where(parent < 0, np.arange(parent.size), parent).astype(np.int64)


@jit
def _unite_pairs(parent, a, b):
    for row in range(a.size):
        u, v = find(parent, a[row]), find(parent, b[row])
        if u != v:
            parent[max(u, v)] = min(u, v)
    flatten(parent)


@jit
def _sweep(n, owner, is_open, excluded, a, b, attracts):
    """Decide rows, strongest first; returns flat parents, which rows wait, and the pairs that exclude each other."""
    parent, records, entries, table, counters = singletons(n)
    parent[:] = owner
    blocked, waits = is_open.copy(), np.zeros(a.size, np.bool_)
    for row in range(excluded.shape[0]):
        u, v = excluded[row, 0], excluded[row, 1]
        room = entries_needed(parent, records, u, v)
        records, entries, table = with_room(records, entries, table, counters, 1, room)
        exclude(parent, records, entries, table, counters, u, v, SURE)
    for row in range(a.size):
        u, v = find(parent, a[row]), find(parent, b[row])
        if u == v or is_excluded(parent, table, u, v):
            continue
        if must_wait(parent, blocked, attracts[row], u, v):
            waits[row] = True
            continue
        n_pairs, room = pairs_needed(parent, records, u, v), entries_needed(parent, records, u, v)
        records, entries, table = with_room(records, entries, table, counters, n_pairs, room)
        if attracts[row]:
            unite(parent, records, entries, table, counters, u, v)
        else:
            exclude(parent, records, entries, table, counters, u, v, SURE)
    flatten(parent)
    return parent, waits, mutex_pairs(parent, records, table, counters)
