"""Pool rows of edge tables: what a pair of touching clusters has in several tables becomes one row."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from connectome.kernels.jit import jit
from connectome.kernels.label_numbers import number_labels
from connectome.kernels.pair_order import index_bits, sort_buckets, starts_of_counts

Columns = dict[str, npt.NDArray[Any]]
PairLinkage = Literal["mean", "maximum", "quantile"]

_LEVEL_BITS = 8


def pool_edges(columns: Columns, linkage: PairLinkage = "mean") -> Columns:
    """Sort rows by (a, b), or (a, b, level), and pool equal ones.

    Parameters
    ----------
    columns : columns ``a``, ``b``, ``sum``, ``count``, and ``level``, ``linked`` or neither
        Ids or positions, in any order; rows that are nearly in order take less time.
    linkage : {"mean", "maximum", "quantile"}
        ``sum`` and ``count`` are added up; for the maximum the largest ``sum`` is kept, with a count of 1.
        ``linked`` is ORed over all rows of a pair.

    Returns
    -------
    columns
        Those given, sorted.

    Notes
    -----
    O(rows), and a sort of the ids where they are not small numbers; 16 bytes per row beside columns and result.
    """
    n = columns["a"].size
    if n == 0:
        return dict(columns)
    low, high = _small_numbers(columns["a"], columns["b"])
    level = columns.get("level", np.zeros(n, np.uint8))
    bits = index_bits(n, int(high.max()), _LEVEL_BITS)
    keys = np.empty(n, np.uint64)
    _order(low, high, level, keys, np.zeros(int(low.max()) + 2, np.int64), bits)
    first = np.empty(n, np.int32)
    sums, counts = np.empty(n, np.int64), np.empty(n, np.int64)
    linked = columns.get("linked", np.zeros(n, np.bool_))
    any_linked = np.empty(n, np.bool_)
    rows = (low, high, level, columns["sum"], columns["count"], linked)
    mask = np.uint64((1 << bits) - 1)
    n_pooled = _pool(keys, mask, rows, first, sums, counts, any_linked, linkage == "maximum")
    first = first[:n_pooled]
    pooled = {"a": columns["a"][first], "b": columns["b"][first]}
    if "level" in columns:
        pooled["level"] = level[first]
    pooled |= {"sum": sums[:n_pooled].copy(), "count": counts[:n_pooled].copy()}
    if "linked" in columns:
        _spread_linked(low, high, first, any_linked)
        pooled["linked"] = any_linked[:n_pooled].copy()
    return pooled


def _small_numbers(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return a and b as numbers that keep the order of the ids and are about as few as the rows."""
    if max(int(a.max()), int(b.max())) <= 4 * a.size + 1024:
        return a.astype(np.int32), b.astype(np.int32)
    both = np.concatenate([a, b]).astype(np.uint64)
    ids, _, numbers = number_labels(both.reshape(1, 1, -1))
    ranks = np.zeros(ids.size + 1, np.int32)
    ranks[np.argsort(ids) + 1] = np.arange(1, ids.size + 1)
    ordered = ranks[numbers.reshape(2, -1)]
    return ordered[0], ordered[1]


@jit
def _order(low, high, level, keys, stops, bits):
    """Sort by (low, high, level, row); the row is the key's last `bits` bits."""
    for row in range(low.size):
        stops[np.int64(low[row]) + 1] += 1
    starts_of_counts(stops)
    for row in range(low.size):
        bucket = np.int64(low[row])
        pair = (np.uint64(high[row]) << np.uint64(_LEVEL_BITS)) | np.uint64(level[row])
        keys[stops[bucket]] = (pair << np.uint64(bits)) | np.uint64(row)
        stops[bucket] += 1
    sort_buckets(keys, stops)


@jit
def _pool(keys, mask, rows, first, sums, counts, any_linked, largest):
    """Pool the rows in order; return how many there are then."""
    low, high, level, row_sums, row_counts, linked = rows
    n, before = -1, np.int64(-1)
    for i in range(keys.size):
        row = np.int64(keys[i] & mask)
        if before >= 0 and low[row] == low[before] and high[row] == high[before] and level[row] == level[before]:
            sums[n] = max(sums[n], row_sums[row]) if largest else sums[n] + row_sums[row]
            counts[n] = 1 if largest else counts[n] + row_counts[row]
            any_linked[n] |= linked[row]
        else:
            n += 1
            first[n], sums[n], counts[n], any_linked[n] = row, row_sums[row], row_counts[row], linked[row]
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
