"""Coarse skeletons of true cells, block by block: one node for each piece of a cell in a cube of a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Grid, Triple
from connectome.kernels.components import connected_pieces
from connectome.kernels.label_numbers import number_labels

Labels = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Skeletons:
    """Trees along cells.

    Attributes
    ----------
    cells : uint64 array, shape (n,)
        Cell of each node.
    voxels : int64 array, shape (n, 3)
        Voxel (z, y, x) of each node.
    edges : int64 array, shape (m, 2)
        Nodes that are joined.
    lengths_nm : float64 array, shape (m,)
        Length of each edge.
    """

    cells: Labels
    voxels: Places
    edges: Places
    lengths_nm: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pieces:
    """What one box adds to skeletons: its pieces of cells, and which of them touch.

    Attributes
    ----------
    ids, cells : uint64 arrays, shape (n,)
        Piece, by the global id of its first voxel, and its cell.
    voxels : int64 array, shape (n, 3)
        Voxel (z, y, x) of the piece that lies nearest to its centroid.
    touching : uint64 array, shape (m, 2)
        Ids of pieces of one cell that share a face of voxels.
    """

    ids: Labels
    cells: Labels
    voxels: Places
    touching: Labels


def find_pieces(truth: Labels, read_box: Box, box: Box, domain: Box, cube: Triple) -> Pieces:
    """Cut the cells of a box to pieces in cubes.

    Parameters
    ----------
    truth : uint64 array, shape of `read_box`
        Cells; 0 is none.
    read_box, box : Box
        Where truth is, and the part that counts: whole cubes, and beside it the cubes below.
    domain : Box
        What is skeletonised: the cubes' grid begins at its start.
    cube : Triple
        Shape (z, y, x) of a cube in voxels.

    Notes
    -----
    A piece is connected by faces within its cube, so it is the same from every box of whole cubes. O(voxels) but for
    sorting; some 100 bytes per voxel.
    """
    grid = Grid(domain, cube)
    place = np.zeros(read_box.shape, np.uint64)
    for axis in range(3):
        along = (np.arange(read_box.start[axis], read_box.stop[axis]) - domain.start[axis]) // cube[axis]
        shape = [-1 if each == axis else 1 for each in range(3)]
        place = place * np.uint64(grid.shape[axis]) + along.astype(np.uint64).reshape(shape)
    _, _, numbers = number_labels(truth)
    mixed = np.where(numbers > 0, numbers.astype(np.uint64) * np.uint64(len(grid)) + place, np.uint64(0))
    pieces = connected_pieces(mixed, read_box, domain)
    inside = box.relative_to(read_box.start).slices
    ids, first, voxels = _medoids(np.ascontiguousarray(pieces[inside]), box)
    return Pieces(ids, truth[inside].reshape(-1)[first], voxels, _touching(pieces, truth, inside))


def _medoids(pieces: Labels, box: Box) -> tuple[Labels, Places, Places]:
    """Return each piece, the place of one of its voxels in the box, and its voxel nearest to the centroid."""
    flat = np.flatnonzero(pieces)
    ids, owner = np.unique(pieces.reshape(-1)[flat], return_inverse=True)
    voxels = np.stack(np.unravel_index(flat, box.shape), axis=1)
    sizes = np.bincount(owner, minlength=ids.size)
    squared = np.zeros(flat.size)
    for axis in range(3):
        mean = np.bincount(owner, voxels[:, axis], minlength=ids.size) / sizes
        squared += (voxels[:, axis] - mean[owner]) ** 2
    order = np.lexsort((flat, squared, owner))
    nearest = order[np.searchsorted(owner[order], np.arange(ids.size))]
    return ids, flat[nearest], voxels[nearest] + np.array(box.start)


def _touching(pieces: Labels, truth: Labels, inside: tuple[slice, slice, slice]) -> Labels:
    """Return pairs of pieces of one cell over faces whose upper voxel lies inside."""
    pairs = [np.zeros((0, 2), np.uint64)]
    for axis, span in enumerate(inside):
        upper, lower = list(inside), list(inside)
        upper[axis] = slice(max(span.start, 1), span.stop)
        lower[axis] = slice(max(span.start, 1) - 1, span.stop - 1)
        a, b = pieces[tuple(lower)], pieces[tuple(upper)]
        meet = (a != b) & (truth[tuple(upper)] != 0) & (truth[tuple(lower)] == truth[tuple(upper)])
        pairs.append(np.stack([a[meet], b[meet]], axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def join_pieces(parts: list[Pieces], voxel_size_nm: tuple[float, float, float]) -> Skeletons:
    """Join the pieces of all boxes to trees: of edges that close a loop the longest is left out."""
    ids, cells = (np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", "cells"))
    voxels, touching = (np.concatenate([getattr(part, name) for part in parts]) for name in ("voxels", "touching"))
    order = np.argsort(ids)
    edges = np.searchsorted(ids[order], touching).astype(np.int64).reshape(-1, 2)
    cells, voxels = cells[order], voxels[order]
    steps = (voxels[edges[:, 0]] - voxels[edges[:, 1]]) * np.array(voxel_size_nm)
    lengths = np.sqrt((steps**2).sum(axis=1))
    order = np.lexsort((edges[:, 1], edges[:, 0], lengths))
    kept = order[spanning_forest(cells.size, edges[order])]
    return Skeletons(cells, voxels, edges[kept], lengths[kept])


def spanning_forest(n: int, edges: Places) -> npt.NDArray[np.bool_]:
    """Tell which edges make the least spanning forest of a graph of `n` nodes.

    Parameters
    ----------
    edges : int64 array, shape (m, 2)
        From the cheapest to the dearest.

    Returns
    -------
    bool array, shape (m,)

    Notes
    -----
    Boruvka: each tree takes its cheapest edge to another one, all at once. O(m log n).
    """
    taken, tree = np.zeros(len(edges), np.bool_), np.arange(n)
    left = np.arange(len(edges))
    while True:
        ends = tree[edges[left]]
        is_between = ends[:, 0] != ends[:, 1]
        left, ends = left[is_between], ends[is_between]
        if left.size == 0:
            return taken
        cheapest = np.full(n, len(edges))
        for side in (0, 1):
            np.minimum.at(cheapest, ends[:, side], left)
        roots = np.flatnonzero(cheapest < len(edges))
        taken[cheapest[roots]] = True
        joined = tree[edges[cheapest[roots]]]
        target = np.arange(n)
        target[roots] = joined.sum(axis=1) - roots
        # Two trees that chose the same edge: the lower one stays the root.
        mutual = (target[target] == np.arange(n)) & (np.arange(n) < target)
        target[mutual] = np.flatnonzero(mutual)
        while (target[target] != target).any():
            target = target[target]
        tree = target[tree]
