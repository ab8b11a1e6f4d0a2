"""The root of the octree in parts: components at falling thresholds, each merged by itself.

A merge at a score of at least t joins clusters of one component of the edges whose score is at least t,
because pooling never makes an edge better than the better of the two. So each component can be swept
down to t alone, with all edges among its members, in any order and place; then t is lowered. A row
is a bound for its pair: rows of one pair in several shards need not be pooled before clusters are
grouped, since the best of them is at least as good as all together.

Rows carry the voxels of both ends, so that a shard knows what the size rule lets act.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from connectome.kernels.agglomeration import measure, sweep
from connectome.kernels.edge_pool import Columns, pool_edges
from connectome.kernels.edges import BlockGraph
from connectome.kernels.linkage import SCORE_ONE, Linkage
from connectome.kernels.merge_tree import concatenate, find, unite_pairs

BEST = 255 * SCORE_ONE
LOW_FACES, HIGH_FACES = (1, 4, 16), (2, 8, 32)
"""Bits of `BlockGraph.alias`, one for each axis."""


@dataclass(frozen=True)
class Shard:
    """What one of the top nodes keeps between rounds.

    Attributes
    ----------
    rows : columns ``a``, ``b``, ``sum``, ``count`` (and ``level``), ``a_size``, ``b_size``
        Edges, each in one shard only, a < b, sorted; a pair may have rows in several shards.
    own : columns ``old``, ``new`` uint64, ``size`` int64
        The clusters that the node handed up, sorted, what they are now, and its voxels.
    """

    rows: Columns
    own: Columns


@dataclass(frozen=True)
class Merged:
    """What merging a group leaves: ``old``, ``new``, ``size`` of its clusters, merges, and edges that are left."""

    names: Columns
    merges: Columns
    rows: Columns


def rounds(linkage: Linkage, n_rounds: int, n_small_rounds: int) -> list[Linkage]:
    """Return the linkage of each round: thresholds fall to the linkage's own, then that of small pairs to its own."""
    steps = [BEST - (BEST - linkage.threshold) * (k + 1) // n_rounds for k in range(n_rounds)]
    made = [replace(linkage, threshold=t, small_threshold=t, small_size=0) for t in steps]
    if linkage.small_size and linkage.small_threshold < linkage.threshold:
        span = linkage.threshold - linkage.small_threshold
        small = [linkage.threshold - span * (k + 1) // n_small_rounds for k in range(n_small_rounds)]
        made += [replace(linkage, small_threshold=t) for t in small]
    return made


def open_shard(node: BlockGraph, below: Sequence[BlockGraph], linkage: Linkage) -> tuple[Shard, Columns, Columns]:
    """Resolve a top node's contacts with its lower neighbours, and unite what only their common face cuts.

    Parameters
    ----------
    node : BlockGraph
        The node.
    below : sequence of BlockGraph
        Its neighbours over the low faces; their edges and seams are not looked at.

    Returns
    -------
    shard : Shard
    names : columns ``old``, ``new``, ``size``
        Linked clusters that touch no other face, nor does what they are linked with: nobody else unites them.
    pairs : columns ``a``, ``b``, ``a_size``, ``b_size``
        The other clusters that are linked over the faces; they lie where faces meet.
    """
    clusters = _sorted_by(concatenate([graph.clusters for graph in (node, *below)]), "id")
    alias = _sorted_by(concatenate([graph.alias for graph in (node, *below)]), "raw")
    raw = alias["raw"].astype(np.uint64)
    a, b = (alias["id"][find(raw, node.seam[end])] for end in ("a", "b"))
    contacts = {**node.seam, "a": np.minimum(a, b), "b": np.maximum(a, b)}
    linked = contacts.pop("linked").astype(np.bool_)
    apart = a != b
    rows = concatenate([node.edges, {name: values[apart] for name, values in contacts.items()}])
    linked_pairs = np.unique(np.stack([contacts["a"], contacts["b"]], axis=1)[linked & apart], axis=0)
    ids, sizes = clusters["id"].astype(np.uint64), clusters["size"]
    own = {"old": node.clusters["id"], "new": node.clusters["id"], "size": node.clusters["size"]}
    shard = Shard(_with_sizes(pool_edges(rows, linkage.name), ids, sizes), own)
    pairs = _with_sizes({"a": linked_pairs[:, 0], "b": linked_pairs[:, 1]}, ids, sizes)
    here = _linked_here(pairs, ids, _faces([node], ids), _faces(below, ids))
    names = link([{name: values[here] for name, values in pairs.items()}])
    return shard, names, {name: values[~here] for name, values in pairs.items()}


def _faces(graphs: Sequence[BlockGraph], ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """Bits of all faces that each cluster touches."""
    faces = np.zeros(ids.size, np.uint8)
    for graph in graphs:
        np.bitwise_or.at(faces, find(ids, graph.alias["id"]), graph.alias["faces"].astype(np.uint8))
    return faces


def _linked_here(
    pairs: Columns,
    ids: npt.NDArray[np.uint64],
    own_faces: npt.NDArray[np.uint8],
    faces_below: npt.NDArray[np.uint8],
) -> npt.NDArray[np.bool_]:
    """Tell which pairs lie in components of which no member touches another face than one between two nodes."""
    touches_one = np.isin(own_faces, LOW_FACES) & (faces_below == 0) | np.isin(faces_below, HIGH_FACES) & (
        own_faces == 0
    )
    a = find(ids, pairs["a"])
    owner = unite_pairs(ids.size, a, find(ids, pairs["b"]))
    whole = np.ones(ids.size, np.bool_)
    whole[owner[~touches_one]] = False
    here: npt.NDArray[np.bool_] = whole[owner[a]]
    return here


def link(pairs: Sequence[Columns]) -> Columns:
    """Unite linked clusters of all shards; returns their ``old``, ``new`` and ``size``. A few bytes per pair."""
    rows = concatenate(pairs)
    ids, sizes = _sizes(rows)
    owner = unite_pairs(ids.size, find(ids, rows["a"]), find(ids, rows["b"]))
    total = np.zeros(ids.size, np.int64)
    np.add.at(total, owner, sizes)
    return {"old": ids, "new": ids[owner], "size": total[owner]}


def update(rows: Sequence[Columns], own: Columns, names: Sequence[Columns], linkage: Linkage) -> Shard:
    """Rename what merged elsewhere, one table of names after the other, and pool what became parallel."""
    table = concatenate(rows)
    table, own = dict(table), dict(own)
    for part in names:
        for end, size in (("a", "a_size"), ("b", "b_size")):
            table[end], table[size] = _renamed(part, table[end], table[size])
        own["new"], own["size"] = _renamed(part, own["new"], own["size"])
    apart = table["a"] != table["b"]
    table = {name: values[apart] for name, values in table.items()}
    ids, sizes = _sizes(table)
    plain = {name: values for name, values in table.items() if name not in ("a", "b", "a_size", "b_size")}
    plain |= {"a": np.minimum(table["a"], table["b"]), "b": np.maximum(table["a"], table["b"])}
    return Shard(_with_sizes(pool_edges(plain, linkage.name), ids, sizes), own)


def acting_pairs(rows: Columns, linkage: Linkage) -> Columns:
    """Return the pairs of a shard that act under a round's linkage, as they are there."""
    edges, ids, sizes = _positioned(rows)
    edges, acts = measure(edges, sizes, linkage)
    pairs = np.unique(np.stack([edges["a"], edges["b"]], axis=1)[acts], axis=0)
    return _with_sizes({"a": ids[pairs[:, 0]], "b": ids[pairs[:, 1]]}, ids, sizes)


def group(pairs: Sequence[Columns], n_groups: int) -> Columns:
    """Spread the components of all shards' pairs over groups, the largest first, each to the least group.

    Returns
    -------
    columns ``id`` uint64, ``component`` uint64, ``group`` int64
        For every cluster with a pair, sorted by id. Memory is that of the pairs.
    """
    rows = concatenate(pairs)
    ids, _ = _sizes(rows)
    ends = find(ids, rows["a"])
    owner = unite_pairs(ids.size, ends, find(ids, rows["b"]))
    weights = np.bincount(owner[ends], minlength=ids.size)
    roots = np.flatnonzero(owner == np.arange(ids.size))
    roots = roots[np.lexsort((roots, -weights[roots]))]
    groups, queue = np.zeros(ids.size, np.int64), [(0, number) for number in range(n_groups)]
    for root in roots.tolist():
        load, number = heapq.heappop(queue)
        groups[root] = number
        heapq.heappush(queue, (load + int(weights[root]), number))
    return {"id": ids, "component": ids[owner], "group": groups[owner]}


def move(rows: Columns, groups: Columns) -> tuple[Columns, Columns]:
    """Part a shard's rows into those inside one component, with their ``group``, and those that stay."""
    a, b = (find(groups["id"], rows[end], must_exist=False) for end in ("a", "b"))
    moves = (a >= 0) & (b >= 0)
    moves[moves] = groups["component"][a[moves]] == groups["component"][b[moves]]
    moved = {name: values[moves] for name, values in rows.items()}
    moved["group"] = groups["group"][a[moves]]
    return moved, {name: values[~moves] for name, values in rows.items()}


def merge_group(moved: Sequence[Columns], number: int, linkage: Linkage) -> Merged:
    """Sweep the components of one group under a round's linkage, with all edges among their members."""
    rows = concatenate([{name: values[part["group"] == number] for name, values in part.items()} for part in moved])
    del rows["group"]
    ids, sizes = _sizes(rows)
    plain = {name: values for name, values in rows.items() if name not in ("a_size", "b_size")}
    plain |= {"a": find(ids, rows["a"]), "b": find(ids, rows["b"])}
    result = sweep(pool_edges(plain, linkage.name), sizes, np.zeros(ids.size, np.bool_), linkage)
    left = {**result.edges, "a": ids[result.edges["a"]], "b": ids[result.edges["b"]]}
    merges = {"a": ids[result.merges["low"]], "b": ids[result.merges["high"]], "score": result.merges["score"].copy()}
    names = {"old": ids, "new": ids[result.labels], "size": result.sizes[result.labels]}
    return Merged(names, merges, _with_sizes(left, ids, result.sizes))


def final_names(own: Columns, dust_size: int) -> Columns:
    """Return ``old`` and ``new`` of the clusters of a top node that end under another id (0: dust)."""
    new = np.where(own["size"] >= dust_size, own["new"], np.uint64(0))
    differs = new != own["old"]
    return {"old": own["old"][differs], "new": new[differs], "size": own["size"][differs]}


def _sorted_by(table: Columns, column: str) -> Columns:
    order = np.argsort(table[column], kind="stable")
    return {name: values[order] for name, values in table.items()}


def _sizes(rows: Columns) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """All ends of rows, sorted, and their voxels."""
    ids, first = np.unique(np.concatenate([rows["a"], rows["b"]]).astype(np.uint64), return_index=True)
    return ids, np.concatenate([rows["a_size"], rows["b_size"]])[first].astype(np.int64)


def _with_sizes(rows: Columns, ids: npt.NDArray[np.uint64], sizes: npt.NDArray[np.int64]) -> Columns:
    return {**rows, "a_size": sizes[find(ids, rows["a"])], "b_size": sizes[find(ids, rows["b"])]}


def _positioned(rows: Columns) -> tuple[Columns, npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Rows with ends as positions in the sorted list of ends."""
    ids, sizes = _sizes(rows)
    edges = {name: values for name, values in rows.items() if name not in ("a_size", "b_size")}
    return {**edges, "a": find(ids, rows["a"]), "b": find(ids, rows["b"])}, ids, sizes


def _renamed(
    names: Columns, ids: npt.NDArray[np.uint64], sizes: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    place = find(names["old"], ids, must_exist=False)
    known = place >= 0
    ids, sizes = ids.copy(), sizes.copy()
    ids[known], sizes[known] = names["new"][place[known]], names["size"][place[known]]
    return ids, sizes
