"""Edges between touching fragments as sums of integers, and what crosses a block's low faces.

The block that owns the higher voxel owns the voxel edge. Each voxel edge is worth
``affinity << 24 | location hash``, and any order gives the same sums:

* ``mean``: the sum over a pair's voxel edges, and how many they are;
* ``maximum``: the largest of them alone, as a sum of one;
* ``quantile``: counts by bins of affinities, without sums: several rows to a pair, none for an empty bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.kernels.contact_scan import MAXIMUM, MEAN, QUANTILE, add_contacts, count_contacts
from connectome.kernels.contact_table import ContactRows, ids_of_ends, new_table, sorted_rows
from connectome.kernels.edge_pool import Columns, PairLinkage, pool_edges
from connectome.kernels.fragments import Affinities, FaceLinks, Labels
from connectome.kernels.jit import jit
from connectome.kernels.label_numbers import number_labels
from connectome.kernels.location_noise import HASH_BITS, hash_mask, location_hash
from connectome.kernels.memory import IN_HEAP, give_back

__all__ = ["BlockGraph", "Columns", "PairLinkage", "block_graph", "pool_edges"]

_KINDS = {"mean": MEAN, "maximum": MAXIMUM, "quantile": QUANTILE}


@dataclass(frozen=True)
class BlockGraph:
    """The leaf tables of one block (exact segmentation recipe, section 4).

    Attributes
    ----------
    clusters : columns ``id`` uint64, ``size`` int64
        Pieces of fragments in the block, sorted by id, with their voxels.
    edges : columns ``a``, ``b`` uint64, ``sum`` int64, ``count`` uint32
        Pairs of touching pieces, a < b, sorted. With quantiles ``level`` uint8 in the place of ``sum``, the lowest
        affinity of the row's bin; sorted by (a, b, level) then.
    seam : columns ``a``, ``b`` uint64, ``sum`` int64 (or ``level`` uint8), ``count`` uint32, ``linked`` bool
        Pairs that touch over a low face: a here, b in the block below. ``linked`` is the pair's, the same in all
        its rows.
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
    linkage: PairLinkage = "mean",
    bins: int = 16,
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
    linkage : {"mean", "maximum", "quantile"}
        What is kept of a pair's voxel edges.
    bins : int
        Bins of the quantile linkage, 1 to 256: affinity v falls into bin ``v * bins >> 8``.

    Returns
    -------
    BlockGraph

    Raises
    ------
    InputError
        If linkage or bins are none of these, or the block has more than 2**30 voxels.

    Notes
    -----
    O(voxels), one look-up per contact. Beside the input 4 bytes per voxel (12 where `labels` must be cut), up to 64
    per fragment (256 where most have dozens of rows) and, at the end, 45 per row (29 with quantiles).
    """
    if linkage not in _KINDS:
        raise InputError(f"linkage is {linkage!r}, wanted one of {', '.join(_KINDS)}: name one of these")
    if not 1 <= bins <= 256:
        raise InputError(f"bins is {bins}, wanted 1 to 256: affinities have 256 levels")
    if labels.nbytes < IN_HEAP:
        give_back(labels.nbytes)  # what fragments left; of a large block the next one takes it up
    margin = tuple(a - r for a, r in zip(write_box.start, read_box.start, strict=True))
    ids, sizes, numbers = number_labels(labels[write_box.relative_to(read_box.start).slices])
    alias = _alias(ids, numbers, write_box, domain)
    steps = (domain.shape[1] * domain.shape[2], domain.shape[2], 1)
    origin = sum(step * (a - d) for step, a, d in zip(steps, write_box.start, domain.start, strict=True))
    values = (origin, steps, hash_mask(hash_bits), bins, _KINDS[linkage])
    is_quantile = linkage == "quantile"
    table = new_table(ids.size, count_contacts(numbers), has_levels=is_quantile, has_values=not is_quantile)
    table = add_contacts(table, numbers, (0, 0, 0), np.ascontiguousarray(affinities), values).without_slots()
    del numbers
    give_back(table.n_bytes)
    rows = sorted_rows(table, ids)
    del table
    edges = _edges(rows, ids, linkage, bins)
    del rows
    seam = _seam(labels, affinities, face_links, margin, values, linkage, bins)
    return BlockGraph({"id": ids, "size": sizes}, edges, seam, alias)


def _edges(rows: ContactRows, ids: npt.NDArray[np.uint64], linkage: PairLinkage, bins: int) -> Columns:
    counts = np.ones_like(rows.counts) if linkage == "maximum" else rows.counts
    what: Columns = {"sum": rows.values}
    if linkage == "quantile":
        rows.levels[:] = _lowest_affinities(rows.levels, bins)
        what = {"level": rows.levels}
    a, b = ids_of_ends(rows.ends, ids)
    return {"a": a, "b": b, **what, "count": counts}


def _lowest_affinities(levels: npt.NDArray[np.uint8], bins: int) -> npt.NDArray[np.uint8]:
    """Return the lowest affinity of each bin of `bins`."""
    return ((levels.astype(np.uint16) * 256 + (bins - 1)) // bins).astype(np.uint8)


def _seam(
    labels: Labels,
    affinities: Affinities,
    face_links: FaceLinks,
    margin: tuple[int, ...],
    values: tuple[Any, ...],
    linkage: PairLinkage,
    bins: int,
) -> Columns:
    """Contacts over the low faces, pooled by pair."""
    nz, ny, nx = affinities.shape[1:]
    faces = np.split(face_links, np.cumsum([ny * nx, nz * nx]))
    n = sum(linked.size for linked, m in zip(faces, margin, strict=True) if m)
    a, b = np.empty(n, np.uint64), np.empty(n, np.uint64)
    level, sums, linked_rows = np.empty(n, np.uint8), np.empty(n, np.int64), np.empty(n, np.bool_)
    columns = (a, b, level, sums, linked_rows)
    n = 0
    for axis, linked in enumerate(faces):
        if margin[axis]:
            n = _add_face(labels, affinities, linked, margin, axis, values, columns, n)
    what: Columns = {"level": _lowest_affinities(level[:n], bins)} if linkage == "quantile" else {"sum": sums[:n]}
    seam: Columns = {"a": a[:n], "b": b[:n], **what, "count": np.ones(n, np.uint32), "linked": linked_rows[:n]}
    return pool_edges(seam, linkage)


@jit
def _add_face(labels, affinities, linked, margin, axis, values, columns, n):
    """Write one row per contact over the low face of `axis`; return how many rows there are then."""
    origin, steps, mask, bins, kind = values
    a, b, level, sums, linked_rows = columns
    mz, my, mx = margin
    _, nz, ny, nx = affinities.shape
    face = 0
    for z in range(1 if axis == 0 else nz):
        for y in range(1 if axis == 1 else ny):
            for x in range(1 if axis == 2 else nx):
                here = labels[z + mz, y + my, x + mx]
                below = labels[z + mz - (axis == 0), y + my - (axis == 1), x + mx - (axis == 2)]
                if here != 0 and below != 0:
                    affinity = np.int64(affinities[axis, z, y, x])
                    a[n], b[n], level[n] = here, below, (affinity * bins) >> 8 if kind == QUANTILE else 0
                    index = origin + z * steps[0] + y * steps[1] + x * steps[2]
                    sums[n] = (affinity << HASH_BITS) | location_hash(index, axis, mask)
                    linked_rows[n] = linked[face]
                    n += 1
                face += 1
    return n


def _alias(ids: npt.NDArray[np.uint64], numbers: npt.NDArray[np.int32], write_box: Box, domain: Box) -> Columns:
    """Pieces that touch inner faces of the block, with one bit per face."""
    faces = np.zeros(ids.size + 1, np.uint8)
    for axis in range(3):
        sides = (write_box.start[axis] > domain.start[axis], write_box.stop[axis] < domain.stop[axis])
        for side, is_inner in enumerate(sides):
            if is_inner:
                faces[np.take(numbers, -side, axis=axis)] |= np.uint8(1 << (2 * axis + side))
    touching = np.flatnonzero(faces[1:])
    return {"raw": ids[touching], "id": ids[touching], "faces": faces[1:][touching]}
