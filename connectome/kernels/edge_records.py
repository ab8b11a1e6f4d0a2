"""Edges as records for a sweep, and back: tables have columns, and a quantile's edges have rows per level."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.kernels.jit import jit
from connectome.kernels.linkage import EDGE, LEVELS_PER_WORD, PACKED_COUNT, LinkageName, count_of, new_row, score_of

MOST_EDGES = 1 << 30
"""Entries, two for each edge, have 32-bit indices."""
MOST_VOXEL_EDGES = 1 << 31
"""The score of a pair in 32.32 fixed point needs a count below this, and clusters may pool all edges of a node."""

Columns = dict[str, npt.NDArray[Any]]


class Histograms(NamedTuple):
    """Histograms of edges: four bits per level while they fit, then rows of counts.

    `free` holds how many rows were ever taken, how many given back, and those.
    """

    levels: npt.NDArray[np.uint8]
    packed: npt.NDArray[np.uint64]
    tall: npt.NDArray[np.int32]
    free: npt.NDArray[np.int64]


def records_of(edges: Columns, name: LinkageName) -> tuple[npt.NDArray[Any], Histograms]:
    """Return edges as records (see `linkage.EDGE`), and their histograms where the linkage needs them."""
    n_voxel_edges = int(edges["count"].sum())
    if edges["a"].size >= MOST_EDGES or n_voxel_edges >= MOST_VOXEL_EDGES:
        raise InputError(
            f"a node of the tree has {edges['a'].size:,} edges of {n_voxel_edges:,} voxel edges; fewer than "
            f"{MOST_EDGES:,} and {MOST_VOXEL_EDGES:,} can be taken: segment parts of the volume"
        )
    if name != "quantile":
        records = np.empty(edges["a"].size, EDGE)
        for field, column in (("low", "a"), ("high", "b"), ("sum", "sum"), ("count", "count")):
            records[field] = edges[column]
        records["row"] = -1
        empty = np.zeros((0, 1), np.uint64)
        return records, Histograms(np.zeros(0, np.uint8), empty, empty.astype(np.int32), np.zeros(2, np.int64))
    first = _first_rows(edges["a"], edges["b"])
    levels = np.flatnonzero(np.bincount(edges["level"], minlength=256)).astype(np.uint8)
    records = np.empty(first.size, EDGE)
    packed = np.zeros((first.size, max(1, -(-levels.size // LEVELS_PER_WORD))), np.uint64)
    most = n_voxel_edges // (PACKED_COUNT + 1) + 1
    tall, free = np.empty((most, levels.size), np.int32), np.zeros(most + 2, np.int64)
    place = np.searchsorted(levels, edges["level"]).astype(np.uint8)
    _fill(edges["a"], edges["b"], place, edges["count"], first, records, packed, tall, free)
    return records, Histograms(levels, packed, tall, free)


def columns_of(
    records: npt.NDArray[Any], left: npt.NDArray[np.int64], histograms: Histograms, name: LinkageName
) -> Columns:
    """Return sums and counts of the edges `left`; of a quantile's, one row per level and the edge's place in `left`."""
    if name != "quantile":
        return {"sum": records["sum"][left], "count": records["count"][left].astype(np.int64)}
    counts = _counts(records, left, histograms.levels.size, histograms.packed, histograms.tall)
    edge, place = np.nonzero(counts)
    level, count = histograms.levels[place], counts[edge, place].astype(np.int64)
    return {"edge": edge, "level": level, "sum": (level.astype(np.int64) << 24) * count, "count": count}


@jit
def score_all(records, levels, packed, tall, kind, quantile):
    """Write each edge's score to ``waits``."""
    for edge in range(records.size):
        records[edge].waits = score_of(records, edge, kind, quantile, levels, packed, tall)


@jit
def _first_rows(a, b):
    """Where each pair's rows begin."""
    first = np.empty(a.size, np.int64)
    n = 0
    for row in range(a.size):
        if row == 0 or a[row] != a[row - 1] or b[row] != b[row - 1]:
            first[n] = row
            n += 1
    return first[:n].copy()


@jit
def _fill(a, b, levels, counts, first, records, packed, tall, free):
    for edge in range(first.size):
        stop = first[edge + 1] if edge + 1 < first.size else a.size
        total = np.int64(0)
        for row in range(first[edge], stop):
            total += counts[row]
        records[edge].low, records[edge].high = a[first[edge]], b[first[edge]]
        records[edge].sum, records[edge].count, records[edge].row = 0, total, -1
        if total > PACKED_COUNT:
            records[edge].row = new_row(tall, free)
        for row in range(first[edge], stop):
            level = np.int64(levels[row])
            if total > PACKED_COUNT:
                tall[records[edge].row, level] += counts[row]
            else:
                shift = np.uint64(4 * (level % LEVELS_PER_WORD))
                packed[edge, level // LEVELS_PER_WORD] += np.uint64(counts[row]) << shift


@jit
def _counts(records, left, n_levels, packed, tall):
    counts = np.zeros((left.size, n_levels), np.int32)
    for row in range(left.size):
        for level in range(n_levels):
            counts[row, level] = count_of(records, left[row], level, packed, tall)
    return counts
