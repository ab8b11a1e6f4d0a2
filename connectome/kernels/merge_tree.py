"""Octree of agglomeration: a node is a function of its children's tables, in any order.

Reducing a node joins what meets inside its box and merges what is sure to merge; what is still open
or waits for something open goes up. Expanding composes names from the root down. Any tree over any
boxes gives the same names (exact segmentation recipe, section 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Triple
from connectome.ids import voxels_of_ids
from connectome.kernels.agglomeration import Sweep, measure, sweep
from connectome.kernels.edge_pool import pool_edges
from connectome.kernels.edges import BlockGraph, Columns
from connectome.kernels.jit import jit
from connectome.kernels.linkage import Linkage
from connectome.kernels.memory import give_back
from connectome.kernels.positions import positions

Ids = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Node:
    """A reduced node: the graph that goes up, and what stays.

    Attributes
    ----------
    graph : BlockGraph
        Open and waiting clusters, their edges, contacts over the node's faces, and pieces on them.
    names : columns ``old``, ``new`` uint64
        Clusters of the children that got another id here (0: dust), sorted by old.
    merges : columns ``a``, ``b``, ``score`` uint64
        Merged pairs, a < b, with the score (32.32 fixed point) at which they merged.
    archive : columns ``a``, ``b`` uint64, ``sum`` int64 (``level`` uint8 for a quantile), ``count`` uint32
        Edges that can act no more: those of clusters that are done.
    """

    graph: BlockGraph
    names: Columns
    merges: Columns
    archive: Columns


def reduce_node(
    box: Box,
    children: Iterable[tuple[Box, BlockGraph]],
    domain: Box,
    linkage: Linkage,
    cells: Triple | None = None,
) -> Node:
    """Join the children's graphs inside `box` and merge what is sure to merge.

    Parameters
    ----------
    box : Box
        The node's box, the union of the children's.
    children : iterable of (Box, BlockGraph)
        Blocks or reduced nodes, in any order. Graphs that nobody else holds are let go before the sweep: from
        an iterator that gives them away, a node takes half the memory.
    domain : Box
        The whole volume.
    linkage : Linkage
        How voxel edges become scores, thresholds, size rule and dust.
    cells : (z, y, x), optional
        Shape of cells that lie on a grid anchored at the domain's start. Fragments that touch a face of theirs
        are left aside and nothing waits for them: the others merge as if these were not there.

    Returns
    -------
    Node
    """
    children = list(children)
    give_back(sum(column.nbytes for _, graph in children for column in graph.edges.values()))
    clusters = concatenate([graph.clusters for _, graph in children])
    order = np.argsort(clusters["id"], kind="stable")
    ids: Ids = clusters["id"][order].astype(np.uint64)
    alias = _alias_of_node(box, children)
    seam = concatenate([graph.seam for _, graph in children])
    here = _inside(seam["b"], box, domain)
    contacts, seam = {k: v[here] for k, v in seam.items()}, {k: v[~here] for k, v in seam.items()}
    ends = [find(ids, _current(alias, contacts[end])) for end in ("a", "b")]
    owner = unite_pairs(ids.size, ends[0][contacts["linked"]], ends[1][contacts["linked"]])
    sizes = np.zeros(ids.size, np.int64)
    np.add.at(sizes, owner, clusters["size"][order])
    del clusters, order
    alias = {name: values[alias["faces"] != 0] for name, values in alias.items()}
    alias_owner = owner[find(ids, alias["id"])]
    is_open, is_aside = np.zeros(ids.size, np.bool_), np.zeros(ids.size, np.bool_)
    is_open[alias_owner] = True
    is_aside[alias_owner[(alias["faces"] & _faces_of_cells(box, domain, cells)) != 0]] = True
    tables = [dict(graph.edges) for _, graph in children]
    del children
    edges = _edges_between(ids, owner, tables, ends, contacts, linkage)
    result = _sweep_beside(edges, sizes, is_open, is_aside, linkage)

    names = result.labels[owner]
    is_root = names == np.arange(ids.size)
    lives = _still_alive(is_open, result)
    final = np.where((lives | (result.sizes >= linkage.dust_size))[names], ids[names], np.uint64(0))
    renamed = np.flatnonzero(final != ids)
    alive = np.flatnonzero(lives & is_root)
    rows, archive = _parted(result.edges, lives[result.edges["a"]] & lives[result.edges["b"]], ids)
    graph = BlockGraph(
        clusters={"id": ids[alive], "size": result.sizes[alive]},
        edges=rows,
        seam=_sorted_seam(seam),
        alias={"raw": alias["raw"], "id": ids[alias_owner], "faces": alias["faces"]},
    )
    merges = {"a": ids[result.merges["low"]], "b": ids[result.merges["high"]], "score": result.merges["score"].copy()}
    return Node(graph, {"old": ids[renamed], "new": final[renamed]}, merges, archive)


def _parted(edges: Columns, lives: npt.NDArray[np.bool_], ids: Ids) -> tuple[Columns, Columns]:
    """Part edges into those that live and the others, between ids; they are emptied, a column after the other."""
    rows: tuple[Columns, Columns] = ({}, {})
    for name in list(edges):
        column = edges.pop(name)
        for part, table in zip((lives, ~lives), rows, strict=True):
            table[name] = ids[column[part]] if name in ("a", "b") else column[part]
    return rows


def _faces_of_cells(box: Box, domain: Box, cells: Triple | None) -> np.uint8:
    """Bits of the faces of `box` that lie on faces of cells."""
    faces = 0
    relative = box.relative_to(domain.start)
    for axis in range(3):
        for side, plane in enumerate((relative.start[axis], relative.stop[axis])):
            faces |= int(cells is not None and plane % cells[axis] == 0) << (2 * axis + side)
    return np.uint8(faces)


def _sweep_beside(
    edges: Columns,
    sizes: npt.NDArray[Any],
    is_open: npt.NDArray[np.bool_],
    is_aside: npt.NDArray[np.bool_],
    linkage: Linkage,
) -> Sweep:
    """Sweep without the edges of clusters that are left aside, then add these to what is left; may empty `edges`."""
    aside = is_aside[edges["a"]] | is_aside[edges["b"]]
    if not aside.any():
        return sweep(edges, sizes, is_open, linkage)
    result = sweep({name: values[~aside] for name, values in edges.items()}, sizes, is_open, linkage)
    rows = {name: values[aside] for name, values in edges.items()}
    a, b = result.labels[rows["a"]], result.labels[rows["b"]]
    rows |= {"a": np.minimum(a, b), "b": np.maximum(a, b)}
    pooled = pool_edges(concatenate([result.edges, rows]), linkage.name)
    left, acts = measure(pooled, result.sizes, linkage)
    return replace(result, edges=left, acts=acts)


def _still_alive(is_open: npt.NDArray[np.bool_], result: Sweep) -> npt.NDArray[np.bool_]:
    """Clusters that are open or have an edge that acts: the others can change no more."""
    lives = is_open.copy()
    lives[result.edges["a"][result.acts]] = True
    lives[result.edges["b"][result.acts]] = True
    return lives


def expand_names(names: Columns, above: Columns, box: Box, domain: Box) -> Columns:
    """Compose a node's names with the final names of the node above.

    Parameters
    ----------
    names : columns ``old``, ``new``
        As reduced, sorted by old.
    above : columns ``old``, ``new``
        Final names of the clusters that left this node (and its siblings), sorted by old.
    box, domain : Box
        The node's box and the whole volume.

    Returns
    -------
    columns ``old``, ``new``
        Final names of the clusters of the node's children where they differ, sorted by old.
    """
    own = _inside(above["old"], box, domain)
    passed = {name: values[own] for name, values in above.items()}
    renamed = {"old": names["old"], "new": apply_names(passed, names["new"])}
    rows = concatenate([renamed, passed])
    order = np.argsort(rows["old"])
    return {name: values[order] for name, values in rows.items()}


def apply_names(names: Columns, ids: Ids) -> Ids:
    """Replace ids that have a row in `names` (sorted by ``old``); the others keep themselves."""
    old: Ids = names["old"].astype(np.uint64)
    if old.size == 0:
        return ids
    place = np.minimum(np.searchsorted(old, ids), old.size - 1)
    return np.where(old[place] == ids, names["new"][place], ids).astype(np.uint64)


def unite_pairs(n: int, a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Return the lowest member of each position's component under the pairs (a, b)."""
    owner = np.arange(n, dtype=np.int32)
    _unite_pairs(owner, a, b)
    return owner


@jit
def _unite_pairs(owner, a, b):
    for row in range(a.size):
        u, v = a[row], b[row]
        while owner[u] != u:
            owner[u] = owner[owner[u]]
            u = owner[u]
        while owner[v] != v:
            owner[v] = owner[owner[v]]
            v = owner[v]
        if u < v:
            owner[v] = u
        elif v < u:
            owner[u] = v
    for u in range(owner.size):
        owner[u] = owner[owner[u]]


def concatenate(tables: Sequence[Columns]) -> Columns:
    """Put tables of the same columns one after the other."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def _inside(ids: npt.NDArray[Any], box: Box, domain: Box) -> npt.NDArray[np.bool_]:
    """Tell which ids decode to a voxel of `box`."""
    inside = np.ones(ids.size, np.bool_)
    relative = box.relative_to(domain.start)
    for voxel, low, high in zip(
        voxels_of_ids(ids.astype(np.uint64), domain.shape), relative.start, relative.stop, strict=True
    ):
        inside &= (voxel >= low) & (voxel < high)
    return inside


def find(ids: Ids, wanted: npt.NDArray[Any], *, must_exist: bool = True) -> npt.NDArray[np.int32]:
    """Find `wanted` in the sorted `ids`; every one must be there, or gets -1."""
    place = positions(ids, wanted)
    if must_exist and place.size and place.min() < 0:
        raise RuntimeError("a table names a cluster that no child handed up: the tables do not fit together")
    return place


def _current(alias: Columns, raw: npt.NDArray[Any]) -> Ids:
    current: Ids = alias["id"].astype(np.uint64)[find(alias["raw"].astype(np.uint64), raw)]
    return current


def _alias_of_node(box: Box, children: Sequence[tuple[Box, BlockGraph]]) -> Columns:
    """Pieces on the children's faces, keeping the bits of those faces that are the node's, sorted by raw id."""
    tables = []
    for child_box, graph in children:
        kept = 0
        for axis in range(3):
            kept |= int(child_box.start[axis] == box.start[axis]) << (2 * axis)
            kept |= int(child_box.stop[axis] == box.stop[axis]) << (2 * axis + 1)
        tables.append({**graph.alias, "faces": graph.alias["faces"] & np.uint8(kept)})
    alias = concatenate(tables)
    order = np.argsort(alias["raw"])
    return {name: values[order] for name, values in alias.items()}


def _edges_between(
    ids: Ids,
    owner: npt.NDArray[np.int32],
    tables: list[Columns],
    ends: Sequence[npt.NDArray[np.int32]],
    contacts: Columns,
    linkage: Linkage,
) -> Columns:
    """Pool the children's edges and the resolved contacts by pair of owners, as sorted positions; empties `tables`."""
    if len(tables) == 1 and contacts["a"].size == 0:
        table = tables.pop()
        for end in ("a", "b"):
            table[end] = find(ids, table.pop(end))
        return table
    edges = concatenate(tables)
    tables.clear()
    a = owner[np.concatenate([find(ids, edges["a"]), ends[0]])]
    b = owner[np.concatenate([find(ids, edges["b"]), ends[1]])]
    apart = a != b
    rows = {"a": np.minimum(a, b).astype(np.int32), "b": np.maximum(a, b).astype(np.int32)}
    for name in edges.keys() - rows.keys():
        rows[name] = np.concatenate([edges[name], contacts[name]])
    return pool_edges({name: values[apart] for name, values in rows.items()}, linkage.name)


def _sorted_seam(seam: Columns) -> Columns:
    keys = (seam["level"],) if "level" in seam else ()
    order = np.lexsort((*keys, seam["b"], seam["a"]))
    return {name: values[order] for name, values in seam.items()}
