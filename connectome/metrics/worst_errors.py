"""Which cells are split and which segments are merged, and how many bits each costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["split", "merge"]


@dataclass(frozen=True)
class WorstError:
    """A true cell in several segments (split), or a segment over several true cells (merge).

    Attributes
    ----------
    kind : "split" or "merge"
    label : int
        The cell of a split, the segment of a merge.
    bits : float
        Its share of the variation of information: what would be gained if it were one with its parts.
    n_voxels : int
        Voxels of it that count.
    parts : tuple of (label, voxels)
        Segments of a split, cells of a merge, largest first; background (0) last.
    """

    kind: Kind
    label: int
    bits: float
    n_voxels: int
    parts: tuple[tuple[int, int], ...]

    @property
    def pair(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The two first parts, each as (cell, segment)."""
        one, two = (part for part, _ in self.parts[:2])
        if self.kind == "split":
            return (self.label, one), (self.label, two)
        return (one, self.label), (two, self.label)


def worst_errors(pairs: npt.NDArray[np.uint64], counts: npt.NDArray[np.int64], kind: Kind, n: int) -> list[WorstError]:
    """Return the `n` errors of a kind that cost most, dearest first.

    Parameters
    ----------
    pairs : uint64 array, shape (m, 2)
        (truth label, segmentation label), each pair once. Rows of truth 0 (unknown) do not count.
    counts : int64 array, shape (m,)
        Voxels of each pair.
    kind : "split" or "merge"
    n : int

    Notes
    -----
    The bits of all cells add up to VOI split and those of all segments to VOI merge (`agreement`). Segment 0 is
    background, where cells lie side by side without being merged: it is no error of its own, though VOI merge counts
    it. O(m log m).
    """
    known = pairs[:, 0] != 0
    pairs, counts = pairs[known], counts[known]
    whole, part = (pairs[:, 0], pairs[:, 1]) if kind == "split" else (pairs[:, 1], pairs[:, 0])
    labels, owner = np.unique(whole, return_inverse=True)
    sizes = np.zeros(labels.size, np.int64)
    np.add.at(sizes, owner, counts)
    bits = np.zeros(labels.size)
    np.add.at(bits, owner, -counts * np.log2(counts / sizes[owner]) / max(1, int(counts.sum())))
    order = np.lexsort((labels, -bits))
    order = order[(bits[order] > 0) & (labels[order] != 0)][:n]
    found = []
    for place in order:
        rows = np.flatnonzero(owner == place)
        rows = rows[np.lexsort((part[rows], -counts[rows], part[rows] == 0))]
        parts = tuple(zip(part[rows].tolist(), counts[rows].tolist(), strict=True))
        found.append(WorstError(kind, int(labels[place]), float(bits[place]), int(sizes[place]), parts))
    return found
