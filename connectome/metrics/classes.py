"""How well predicted masks agree with truth: by voxels, by objects, and by the pieces that a boundary leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box
from connectome.kernels.components import connected_pieces
from connectome.kernels.contingency import contingency
from connectome.metrics.agreement import agreement
from connectome.metrics.seams import overlap_ratios

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ObjectAgreement:
    """Objects of truth and those found, and how many of them match one to one."""

    n_true: int
    n_found: int
    n_matched: int

    @property
    def precision(self) -> float:
        return self.n_matched / self.n_found if self.n_found else 1.0

    @property
    def recall(self) -> float:
        return self.n_matched / self.n_true if self.n_true else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 where there is nothing and nothing is found."""
        total = self.n_true + self.n_found
        return 2 * self.n_matched / total if total else 1.0


def intersection_over_union(truth: Mask, found: Mask) -> float:
    """Return the voxels of both masks by those of either; 1 where both are empty."""
    union = int(np.count_nonzero(truth | found))
    return int(np.count_nonzero(truth & found)) / union if union else 1.0


def object_agreement(truth: Mask, found: Mask, *, min_ratio: float = 0.0, min_voxels: int = 0) -> ObjectAgreement:
    """Match the connected objects of two masks, best overlap first.

    Parameters
    ----------
    truth, found : bool arrays of one shape (z, y, x)
        Objects are pieces connected by faces of voxels.
    min_ratio : float
        A pair matches if its intersection over union is above this; 0: if it overlaps at all.
    min_voxels : int
        Smaller objects that are found do not count.
    """
    box = Box.of_shape(truth.shape)
    true_objects, objects = (connected_pieces(mask.astype(np.uint32), box, box) for mask in (truth, found))
    ids, sizes = np.unique(objects[objects != 0], return_counts=True)
    dust = ids[sizes < min_voxels]
    objects[np.isin(objects, dust)] = 0
    pairs, counts = contingency(true_objects, objects)
    ratios = overlap_ratios(pairs, counts)
    taken_true: set[int] = set()
    taken: set[int] = set()
    for row in np.argsort(-ratios, kind="stable"):
        true_id, object_id = (int(n) for n in pairs[row])
        if ratios[row] > min_ratio and true_id not in taken_true and object_id not in taken:
            taken_true.add(true_id)
            taken.add(object_id)
    n_true, n_found = (int(np.count_nonzero(np.unique(pairs[:, k]))) for k in (0, 1))
    return ObjectAgreement(n_true, n_found, len(taken))


def boundary_rand(truth: Mask, found: Mask) -> float:
    """Score a boundary by the pieces that it cuts each section into: mean over sections of the Rand F-score.

    Parameters
    ----------
    truth, found : bool arrays of one shape (z, y, x)
        Where the boundary is. Voxels of the true boundary do not count; those of the one found are a piece.

    Notes
    -----
    One less the adapted Rand error of `agreement`, as in the challenge of Arganda-Carreras et al. 2015 (Front.
    Neuroanat. 9:142).
    """
    scores = []
    for section in range(truth.shape[0]):
        pieces = [_pieces_between(mask[section : section + 1]) for mask in (truth, found)]
        scores.append(1 - agreement(*contingency(pieces[0], pieces[1])).adapted_rand_error)
    return float(np.mean(scores))


def _pieces_between(boundary: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    box = Box.of_shape(boundary.shape)
    return connected_pieces((~boundary).astype(np.uint32), box, box)
