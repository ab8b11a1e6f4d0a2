"""Pool rows of edge tables: what a pair of touching clusters has in several tables becomes one row."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.kernels.jit import jit
from connectome.kernels.pair_order import order_of_pairs

MOST_VOXEL_EDGES = 1 << 31
"""The score of a pair in 32.32 fixed point needs a count below this, and clusters may pool all edges of a node."""

Columns = dict[str, npt.NDArray[Any]]
PairLinkage = Literal["mean", "maximum", "quantile"]


def pool_edges(columns: Columns, linkage: PairLinkage = "mean") -> Columns:
    """Sort rows by (a, b), or (a, b, level), and pool equal ones.

    Parameters
    ----------
    columns : columns ``a``, ``b``, ``count``, and of ``sum``, ``level``, ``linked`` those that there are
        Ids or positions, in any order; rows that are nearly in order take less time.
    linkage : {"mean", "maximum", "quantile"}
        ``sum`` and ``count`` are added up; for the maximum the largest ``sum`` is kept, with a count of 1.
        ``linked`` is ORed over all rows of a pair.

    Returns
    -------
    columns
        Those given, sorted.

    Raises
    ------
    InputError
        If they are of 2^31 voxel edges or more: clusters may come to pool all of them.

    Notes
    -----
    O(rows), and a sort of the ids where they are not small numbers; 20 bytes per row beside columns and result.
    """
    n = columns["a"].size
    if n == 0:
        return dict(columns)
    check_voxel_edges(columns)
    level = columns.get("level", np.zeros(n, np.uint8))
    low, high, order = order_of_pairs(columns["a"], columns["b"], level)
    first = np.empty(n, np.int32)
    row_sums = columns.get("sum", np.zeros(0, np.int64))
    sums, counts = np.empty(row_sums.size, np.int64), np.empty(n, columns["count"].dtype)
    linked = columns.get("linked", np.zeros(n, np.bool_))
    any_linked = np.empty(n, np.bool_)
    rows = (low, high, level, row_sums, columns["count"], linked)
    n_pooled = _pool(order, rows, first, sums, counts, any_linked, linkage == "maximum")
    first = first[:n_pooled]
    pooled = {"a": columns["a"][first], "b": columns["b"][first]}
    if "level" in columns:
        pooled["level"] = level[first]
    if "sum" in columns:
        pooled["sum"] = sums[:n_pooled].copy()
    pooled["count"] = counts[:n_pooled].copy()
    if "linked" in columns:
        _spread_linked(low, high, first, any_linked)
        pooled["linked"] = any_linked[:n_pooled].copy()
    return pooled


def check_voxel_edges(columns: Columns) -> None:
    """Refuse a table of so many voxel edges that the score of a pair might not be exact."""
    n_voxel_edges = int(columns["count"].sum())
    if n_voxel_edges >= MOST_VOXEL_EDGES:
        raise InputError(
            f"a table of edges has {n_voxel_edges:,} voxel edges, fewer than {MOST_VOXEL_EDGES:,} can be pooled: "
            "segment parts of the volume"
        )


@jit
def _pool(order, rows, first, sums, counts, any_linked, largest):
    """Pool the rows in order; return how many there are then."""
    low, high, level, row_sums, row_counts, linked = rows
    n, before = -1, np.int64(-1)
    for i in range(order.size):
        row = order[i]
        if before >= 0 and low[row] == low[before] and high[row] == high[before] and level[row] == level[before]:
            counts[n] = 1 if largest else counts[n] + row_counts[row]
            any_linked[n] |= linked[row]
            if sums.size > 0:
                sums[n] = max(sums[n], row_sums[row]) if largest else sums[n] + row_sums[row]
        else:
            n += 1
            first[n], counts[n], any_linked[n] = row, row_counts[row], linked[row]
            if sums.size > 0:
                sums[n] = row_sums[row]
        before = row
    return n + 1


@jit
def _spread_linked(low, high, first, linked):
    """OR over the rows of each pair, forth and back."""
    for i in range(1, first.size):
        if low[first[i]] == low[first[i - 1]] and high[first[i]] == high[first[i - 1]]:
            linked[i] |= linked[i - 1]
    for i in range(first.size - 1, 0, -1):
        if low[first[i]] == low[first[i - 1]] and high[first[i]] == high[first[i - 1]]:
            linked[i - 1] |= linked[i]
