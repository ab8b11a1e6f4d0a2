"""How well neighbouring subvolumes agree where both have segmented."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SEAMS = {"subvolume": "int64", "axis": "uint8", "a": "uint64", "b": "uint64", "count": "int64", "joined": "bool"}
"""Voxels of a slab by what the subvolume above (a) and the one below (b) call them; 0 is background."""


@dataclass(frozen=True)
class SeamErrors:
    """What the seams of a segmentation are worth.

    Attributes
    ----------
    n_faces : int
        Faces between two subvolumes.
    n_voxels : int
        Voxels of their slabs that are an object's for one side at least.
    disagreement : float
        Share of these voxels that the sides give to objects that are not joined.
    n_joined : int
        Pairs of objects that are joined.
    overlap_ratio : float
        Mean over the joined pairs of intersection over union.
    """

    n_faces: int
    n_voxels: int
    disagreement: float
    n_joined: int
    overlap_ratio: float


def overlap_ratios(pairs: npt.NDArray[np.uint64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return intersection over union of the labels of each pair; 0 where one of them is background.

    Parameters
    ----------
    pairs : uint64 array, shape (n, 2)
        Each pair once.
    counts : int64 array, shape (n,)
        Voxels of each pair.
    """
    first, second = (_totals(pairs[:, k], counts) for k in (0, 1))
    union = np.maximum(first + second - counts, 1)
    return np.where((pairs != 0).all(axis=1), counts / union, 0.0)


def seam_errors(seams: Mapping[str, npt.NDArray[Any]]) -> SeamErrors:
    """Measure the seams of one or many blocks from the table `SEAMS`."""
    faces = np.unique(np.stack([seams["subvolume"].astype(np.int64), seams["axis"].astype(np.int64)]), axis=1).T
    counts, joined = seams["count"].astype(np.int64), seams["joined"].astype(np.bool_)
    pairs = np.stack([seams["a"], seams["b"]], axis=1).astype(np.uint64)
    ratios = np.zeros(counts.size)
    for number, axis in faces:
        rows = (seams["subvolume"] == number) & (seams["axis"] == axis)
        ratios[rows] = overlap_ratios(pairs[rows], counts[rows])
    seen = (pairs != 0).any(axis=1)
    n_voxels = int(counts[seen].sum())
    apart = int(counts[seen & ~joined].sum())
    mean_ratio = float(ratios[joined].mean()) if joined.any() else 0.0
    return SeamErrors(len(faces), n_voxels, apart / max(n_voxels, 1), int(joined.sum()), mean_ratio)


def _totals(labels: npt.NDArray[np.uint64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Voxels of each row's label over all rows."""
    ids, place = np.unique(labels, return_inverse=True)
    totals = np.zeros(ids.size, np.int64)
    np.add.at(totals, place, counts)
    return totals[place]
