"""Edges as records for a sweep, and back: tables have columns, and a quantile's edges have rows per level."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.kernels.edge_pool import Columns, check_voxel_edges
from connectome.kernels.jit import jit
from connectome.kernels.linkage import (
    EDGE,
    EDGE_OF_QUANTILE,
    LEVELS_PER_WORD,
    PACKED_COUNT,
    LinkageName,
    count_of,
    new_row,
    score_of,
)

MOST_EDGES = 1 << 30
"""Entries, two for each edge, have 32-bit indices."""


class Histograms(NamedTuple):
    """Histograms of edges: four bits per level while they fit, then rows of counts.

    The first 16 levels of a packed one are in the edge's record, others in `packed`. `free` holds how many rows were
    ever taken, how many given back, and those.
    """

    levels: npt.NDArray[np.uint8]
    packed: npt.NDArray[np.uint64]
    tall: npt.NDArray[np.int32]
    free: npt.NDArray[np.int64]


def records_of(edges: Columns, name: LinkageName) -> tuple[npt.NDArray[Any], Histograms]:
    """Return edges as records (see `linkage.EDGE`), and their histograms where the linkage needs them."""
    if edges["a"].size >= MOST_EDGES:
        raise InputError(
            f"a node of the tree has {edges['a'].size:,} edges, fewer than {MOST_EDGES:,} can be taken: "
            "segment parts of the volume"
        )
    check_voxel_edges(edges)
    if name != "quantile":
        records = np.empty(edges["a"].size, EDGE)
        for field, column in (("low", "a"), ("high", "b"), ("sum", "sum"), ("count", "count")):
            records[field] = edges[column]
        nothing = np.zeros((0, 0), np.uint64)
        return records, Histograms(np.zeros(0, np.uint8), nothing, nothing.astype(np.int32), np.zeros(2, np.int64))
    is_used = np.zeros(256, np.bool_)
    records = np.empty(_count_pairs(edges["a"], edges["b"], edges["level"], is_used), EDGE_OF_QUANTILE)
    levels = np.flatnonzero(is_used).astype(np.uint8)
    packed = np.zeros((records.size, max(0, -(-levels.size // LEVELS_PER_WORD) - 1)), np.uint64)
    most = int(edges["count"].sum()) // (PACKED_COUNT + 1) + 1
    tall, free = np.empty((most, levels.size), np.int32), np.zeros(most + 2, np.int64)
    places = np.cumsum(is_used) - 1
    _fill(edges["a"], edges["b"], edges["level"], edges["count"], places, records, packed, tall, free)
    return records, Histograms(levels, packed, tall, free)


def columns_of(
    records: npt.NDArray[Any], left: npt.NDArray[np.int64], beside: Columns, histograms: Histograms, name: LinkageName
) -> Columns:
    """Return sums and counts of the edges `left` after columns of theirs; of a quantile's, one row per level."""
    if name != "quantile":
        return {**beside, "sum": records["sum"][left], "count": records["count"][left].astype(np.uint32)}
    counts = (histograms.levels, histograms.packed, histograms.tall)
    n_rows = np.empty(left.size, np.uint16)
    _count_rows(records, left, *counts, n_rows)
    rows = {name: np.repeat(column, n_rows) for name, column in beside.items()}
    n = int(n_rows.sum())
    level, count = np.empty(n, np.uint8), np.empty(n, np.uint32)
    _list_rows(records, left, *counts, level, count)
    return {**rows, "level": level, "count": count}


@jit
def score_all(records, levels, packed, tall, kind, quantile):
    """Score every edge."""
    for edge in range(records.size):
        records[edge].score = score_of(records, edge, kind, quantile, levels, packed, tall)


@jit
def _count_pairs(a, b, level, is_used):
    """Count pairs of sorted rows, and mark the levels that they use."""
    n = 0
    for row in range(a.size):
        n += row == 0 or a[row] != a[row - 1] or b[row] != b[row - 1]
        is_used[level[row]] = True
    return n


@jit
def _fill(a, b, level, counts, places, records, packed, tall, free):
    """Make a record of the rows of each pair; `places` are those of the levels in histograms."""
    start = 0
    for edge in range(records.size):
        stop, total = start, np.int64(0)
        while stop < a.size and a[stop] == a[start] and b[stop] == b[start]:
            total += counts[stop]
            stop += 1
        records[edge].low, records[edge].high = a[start], b[start]
        records[edge].sum, records[edge].count = 0, total
        if total > PACKED_COUNT:
            records[edge].sum = new_row(tall, free)
        for row in range(start, stop):
            place = places[level[row]]
            packed_count = np.uint64(counts[row]) << np.uint64(4 * (place % LEVELS_PER_WORD))
            if total > PACKED_COUNT:
                tall[records[edge].sum, place] += counts[row]
            elif place < LEVELS_PER_WORD:
                records[edge].sum += np.int64(packed_count)
            else:
                packed[edge, place // LEVELS_PER_WORD - 1] += packed_count
        start = stop


@jit
def _count_rows(records, left, levels, packed, tall, n_rows):
    """Count the levels of each edge's histogram that are not empty."""
    for row in range(left.size):
        n = 0
        for place in range(levels.size):
            n += count_of(records, left[row], place, packed, tall) > 0
        n_rows[row] = n


@jit
def _list_rows(records, left, levels, packed, tall, level, count):
    """Write a row for each level of an edge's histogram that is not empty."""
    n = 0
    for row in range(left.size):
        for place in range(levels.size):
            counted = count_of(records, left[row], place, packed, tall)
            if counted > 0:
                level[n], count[n] = levels[place], counted
                n += 1
