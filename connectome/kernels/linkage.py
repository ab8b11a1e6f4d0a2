"""Linkages: how the voxel edges between two clusters become one score, and what pooling does to it.

All three are reducible: where two clusters merge, neither one's edge to a third gets better than the
better of the two was. With ties broken by ``(score, lower id, higher id)``, larger first, and a merged
cluster named by the lower id, the whole key is reducible too, so that a pair that is the best of both
its ends is merged by the global greedy algorithm whatever happens elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from connectome.kernels.jit import jit_bare

LinkageName = Literal["mean", "maximum", "quantile"]

SCORE_ONE = 1 << 24
"""Score of one affinity grey level: sums hold ``affinity << 24``."""
MEAN, MAXIMUM, QUANTILE = 0, 1, 2
KINDS: dict[LinkageName, int] = {"mean": MEAN, "maximum": MAXIMUM, "quantile": QUANTILE}
QUANTILE_ONE = 10_000
"""Quantiles are kept in ten-thousandths, so that ranks are integers."""
LEVELS_PER_WORD = 16
PACKED_COUNT = 15
"""A histogram of at most this many voxel edges fits in four bits per level."""

_ENDS = [("count", np.int32), ("low", np.int32), ("high", np.int32)]
EDGE = np.dtype([("sum", np.int64), ("score", np.uint64), *_ENDS, ("unused", np.int32)])
"""One edge in half a cache line: its pooled sum and count, its score, and the ends that it began with."""
EDGE_OF_QUANTILE = np.dtype([("sum", np.int64), *_ENDS, ("score", np.uint32)])
"""The same with a histogram in the place of the sum: its first 16 levels, or from 16 voxel edges on its row of tall
ones."""


@dataclass(frozen=True)
class Linkage:
    """When an edge acts.

    Attributes
    ----------
    threshold : int
        Score (affinity x 2^24) at and above which an edge acts.
    small_threshold : int
        The same for pairs with one side below `small_size` voxels; at most `threshold`.
    small_size : int
        Size rule, in voxels; 0 turns it off.
    name : "mean", "maximum" or "quantile"
        How voxel edges become a score: their mean, the best one, or the one of rank ``ceil(q n)`` from
        below by the lowest affinity of its histogram bin.
    quantile : int
        q in ten-thousandths, 1 to 10,000; for the quantile linkage alone.
    dust_size : int
        Clusters that end below this many voxels become background; 0 keeps all.
    """

    threshold: int
    small_threshold: int
    small_size: int = 0
    name: LinkageName = "mean"
    quantile: int = QUANTILE_ONE // 2
    dust_size: int = 0

    def __post_init__(self) -> None:
        """Refuse an order that would not be monotone, and ranks that do not exist."""
        if not 0 <= self.small_threshold <= self.threshold < 1 << 32:
            raise ValueError(f"0 <= small_threshold <= threshold < 2^32 is wanted, got {self}")
        if self.name not in KINDS or not 1 <= self.quantile <= QUANTILE_ONE:
            raise ValueError(f"a linkage of {tuple(KINDS)} and a quantile of 1 to {QUANTILE_ONE} is wanted, got {self}")


def fraction_bits(name: LinkageName) -> int:
    """Bits behind the point of scores: they are in 32.32 fixed point, but for a quantile's, which are whole."""
    return 0 if name == "quantile" else 32


@jit_bare
def mean_score(total, count):
    """Exact mean in 32.32 fixed point, rounded down."""
    if count == 1:
        return np.uint64(total) << np.uint64(32)
    mean = total // count
    return (np.uint64(mean) << np.uint64(32)) | np.uint64(((total - mean * count) << 32) // count)


@jit_bare
def score_of(edges, edge, kind, quantile, levels, packed, tall):
    """Score of an edge: the order of edges, never through floats. See `fraction_bits`."""
    if kind != QUANTILE:
        return mean_score(edges[edge].sum, edges[edge].count)
    rank = (edges[edge].count * quantile + QUANTILE_ONE - 1) // QUANTILE_ONE
    seen, level = np.int64(0), -1
    while seen < rank:
        level += 1
        seen += count_of(edges, edge, level, packed, tall)
    return np.uint64(levels[level]) << np.uint64(24)


@jit_bare
def count_of(edges, edge, level, packed, tall):
    """Count of one level of an edge's histogram."""
    if edges[edge].count > PACKED_COUNT:
        return np.int64(tall[edges[edge].sum, level])
    word = np.uint64(edges[edge].sum) if level < LEVELS_PER_WORD else packed[edge, level // LEVELS_PER_WORD - 1]
    return np.int64((word >> np.uint64(4 * (level % LEVELS_PER_WORD))) & np.uint64(15))


@jit_bare
def pool(edges, keep, gone, kind, packed, tall, free):
    """Pool the voxel edges of `gone` into `keep`. Sums of packed counts are packed counts while these fit."""
    if kind == MAXIMUM:
        edges[keep].sum = max(edges[keep].sum, edges[gone].sum)
        return
    if kind == QUANTILE and edges[keep].count + edges[gone].count > PACKED_COUNT:
        edges[keep].sum = _pool_tall(edges, keep, gone, packed, tall, free)
    else:
        edges[keep].sum += edges[gone].sum
        for word in range(packed.shape[1]):
            packed[keep, word] += packed[gone, word]
    edges[keep].count += edges[gone].count


@jit_bare
def _pool_tall(edges, keep, gone, packed, tall, free):
    """Pool two histograms in a row of tall ones; returns the row."""
    if edges[keep].count <= PACKED_COUNT and edges[gone].count <= PACKED_COUNT:
        row = new_row(tall, free)
        _add_counts(edges, keep, row, packed, tall)
        _add_counts(edges, gone, row, packed, tall)
    elif edges[keep].count <= PACKED_COUNT:
        row = edges[gone].sum
        _add_counts(edges, keep, row, packed, tall)
    else:
        row = edges[keep].sum
        _add_counts(edges, gone, row, packed, tall)
        if edges[gone].count > PACKED_COUNT:
            free[1] += 1
            free[1 + free[1]] = edges[gone].sum
    return row


@jit_bare
def new_row(tall, free):
    """Take a row of zeros; `free` holds how many were ever taken, how many given back, and those."""
    if free[1] > 0:
        row = free[1 + free[1]]
        free[1] -= 1
    else:
        row = free[0]
        free[0] += 1
    for level in range(tall.shape[1]):
        tall[row, level] = 0
    return row


@jit_bare
def _add_counts(edges, edge, row, packed, tall):
    for level in range(tall.shape[1]):
        tall[row, level] += count_of(edges, edge, level, packed, tall)
