"""Which true cell is which segment: so that a cell and its segment have one colour in two pictures."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from connectome.kernels.contingency import add_tables, contingency

Labels = npt.NDArray[np.uint64]


def match_labels(planes: Iterable[tuple[Labels, Labels]]) -> dict[int, int]:
    """Pair labels one to one, those with the largest overlap first.

    Parameters
    ----------
    planes : iterable of (first, second)
        Two labellings of the same voxels; 0 is background.

    Returns
    -------
    dict of int to int
        First label -> second label. Where one covers two, the smaller one is left without a partner.
    """
    pairs, counts = add_tables([contingency(a, b, (a != 0) & (b != 0)) for a, b in planes])
    matches: dict[int, int] = {}
    taken: set[int] = set()
    for row in np.lexsort((pairs[:, 1], pairs[:, 0], -counts)):
        first, second = int(pairs[row, 0]), int(pairs[row, 1])
        if first not in matches and second not in taken:
            matches[first] = second
            taken.add(second)
    return matches
