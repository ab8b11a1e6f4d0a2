"""Expected run length: how far one may walk along a true cell before the segmentation errs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectome.kernels.contingency import contingency
from connectome.metrics.skeletons import Skeletons

Labels = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class RunLength:
    """Expected run length of a segmentation.

    Attributes
    ----------
    expected_nm : float
        Mean over all points of the skeletons of the length of the run that a point lies on.
    total_nm : float
        Length of all skeletons.
    n_skeletons : int
    n_merged : int
        Segments that hold nodes of several skeletons: no run leads through them.
    """

    expected_nm: float
    total_nm: float
    n_skeletons: int
    n_merged: int


def run_length(skeletons: Skeletons, segments: Labels) -> RunLength:
    """Score a segmentation by its labels at the nodes of the true skeletons.

    Parameters
    ----------
    skeletons : Skeletons
    segments : uint64 array, shape (n nodes,)
        Segment at each node; 0 is none.

    Notes
    -----
    Januszewski et al. 2018 (Nature Methods 15:605, Methods): an edge is right if both of its ends lie in one segment,
    and that segment holds nodes of no other skeleton. Right edges of one skeleton in one segment are a run. A point of
    the skeletons, drawn by length, lies on a run of L with probability L / total, so the expectation is the sum of L^2
    over the total. O(nodes + edges) but for sorting.
    """
    ends = skeletons.edges
    pairs, _ = contingency(skeletons.cells, segments)
    held, n_cells = np.unique(pairs[pairs[:, 1] != 0, 1], return_counts=True)
    merged = held[n_cells > 1]
    first, second = segments[ends[:, 0]], segments[ends[:, 1]]
    is_right = (first == second) & (first != 0) & ~np.isin(first, merged)
    total = float(skeletons.lengths_nm.sum())
    runs = np.stack([skeletons.cells[ends[is_right, 0]], first[is_right]], axis=1)
    _, place = np.unique(runs, axis=0, return_inverse=True)
    lengths = np.bincount(place.reshape(-1), skeletons.lengths_nm[is_right])
    expected = float((lengths**2).sum()) / total if total else 0.0
    return RunLength(expected, total, int(np.unique(skeletons.cells).size), int(merged.size))
