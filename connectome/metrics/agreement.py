"""How well a segmentation agrees with truth, from one contingency table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Agreement:
    """Scores of a segmentation against truth.

    Attributes
    ----------
    voi_split, voi_merge : float
        Variation of information in bits: H(segmentation | truth) and H(truth | segmentation).
    adapted_rand_error, adapted_rand_precision, adapted_rand_recall : float
        1 - F1 of the pairs of voxels, and its parts.
    n_voxels : int
        Voxels compared.
    """

    voi_split: float
    voi_merge: float
    adapted_rand_error: float
    adapted_rand_precision: float
    adapted_rand_recall: float
    n_voxels: int

    @property
    def voi(self) -> float:
        return self.voi_split + self.voi_merge


def agreement(pairs: npt.NDArray[np.uint64], counts: npt.NDArray[np.int64]) -> Agreement:
    """Score from a contingency table.

    Parameters
    ----------
    pairs : uint64 array, shape (n, 2)
        (truth label, segmentation label), each pair once. Rows of truth 0 (unknown) do not count;
        segmentation 0 is a label like any other.
    counts : int64 array, shape (n,)
        Voxels of each pair.

    Notes
    -----
    Variation of information: Meila 2007 (J. Multivariate Analysis 98:873). Adapted Rand error:
    Arganda-Carreras et al. 2015 (Front. Neuroanat. 9:142), as scikit-image computes it.
    """
    known = pairs[:, 0] != 0
    pairs, counts = pairs[known], counts[known]
    n = int(counts.sum())
    if n == 0:
        return Agreement(0.0, 0.0, 0.0, 1.0, 1.0, 0)
    per_truth, per_segment = _margin(pairs[:, 0], counts), _margin(pairs[:, 1], counts)
    joint = _entropy(counts, n)
    together = _squares(counts) - n
    in_truth, in_segments = _squares(per_truth) - n, _squares(per_segment) - n
    precision = together / in_segments if in_segments else 1.0
    recall = together / in_truth if in_truth else 1.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return Agreement(
        voi_split=max(0.0, joint - _entropy(per_truth, n)),
        voi_merge=max(0.0, joint - _entropy(per_segment, n)),
        adapted_rand_error=1.0 - f1,
        adapted_rand_precision=precision,
        adapted_rand_recall=recall,
        n_voxels=n,
    )


def _margin(labels: npt.NDArray[np.uint64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    _, inverse = np.unique(labels, return_inverse=True)
    total = np.zeros(int(inverse.max()) + 1, np.int64)
    np.add.at(total, inverse, counts)
    return total


def _entropy(counts: npt.NDArray[np.int64], n: int) -> float:
    share = np.sort(counts) / n
    return float(-(share * np.log2(share)).sum())


def _squares(counts: npt.NDArray[np.int64]) -> float:
    return float((counts.astype(np.float64) ** 2).sum())
