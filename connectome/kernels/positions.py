"""Where ids stand in a sorted list of ids: by the part of the range that an id falls in, then by halving."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.kernels.jit import jit_bare

Ids = npt.NDArray[np.uint64]


def positions(ids: Ids, wanted: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Find ids in a sorted list.

    Parameters
    ----------
    ids : uint64 array, shape (n,), sorted, without repeats, n below 2^31
    wanted : uint64 array, shape (m,)

    Returns
    -------
    int32 array, shape (m,)
        Positions in `ids`; -1 where an id is not there.

    Notes
    -----
    O(n + m) where ids are spread evenly, O(m log n) otherwise; 8 bytes per id beside the result.
    """
    found = np.full(wanted.size, -1, np.int32)
    if ids.size == 0:
        return found
    wanted = np.ascontiguousarray(wanted, np.uint64)
    span = int(ids[-1]) - int(ids[0])
    shift = max(0, span.bit_length() - ids.size.bit_length())
    starts = np.empty((span >> shift) + 2, np.int32)
    _index(ids, np.uint64(shift), starts)
    _find(ids, wanted, np.uint64(shift), starts, found)
    return found


@jit_bare
def _index(ids, shift, starts):
    """Where each part of the range begins."""
    part = 0
    for place in range(ids.size):
        while part <= np.int64((ids[place] - ids[0]) >> shift):
            starts[part] = place
            part += 1
    while part < starts.size:
        starts[part] = ids.size
        part += 1


@jit_bare
def _find(ids, wanted, shift, starts, found):
    for row in range(wanted.size):
        one = wanted[row]
        if one < ids[0] or one > ids[ids.size - 1]:
            continue
        part = np.int64((one - ids[0]) >> shift)
        low, high = starts[part], starts[part + 1]
        while high - low > 1:
            middle = (low + high) // 2
            if ids[middle] <= one:
                low = middle
            else:
                high = middle
        if low < high and ids[low] == one:
            found[row] = low
