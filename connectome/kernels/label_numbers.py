"""Small numbers for the labels of a volume, so that tables can be arrays.

A row is compared with the rows below it at once; what neither continues gets a number without a look-up. Only
then are numbers of one label joined, by a hash table over numbers, not voxels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.kernels.flags import positions_of, row_of_flags
from connectome.kernels.jit import jit

MOST_VOXELS = 1 << 30
_FIRST = np.uint64(0x9E3779B97F4A7C15)
_SECOND = np.uint64(0xBF58476D1CE4E5B9)


def number_labels(
    labels: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Give the labels the numbers 1, 2, ... in ascending order.

    Parameters
    ----------
    labels : uint32 or uint64 array, shape (z, y, x)
        Any ids; 0 is background.

    Returns
    -------
    ids : uint64 array
        The label of number k at k - 1, ascending.
    sizes : int64 array
        Voxels of number k at k - 1.
    numbers : int32 array, shape of `labels`
        0 for background.

    Raises
    ------
    InputError
        If there are more than 2**30 voxels.

    Notes
    -----
    O(voxels), and a sort of the ids if they do not ascend in scan order. 4 bytes per voxel for the numbers and at
    most 32 per run of voxels that starts a piece of a label.
    """
    if labels.size > MOST_VOXELS:
        raise InputError(f"a block has {labels.size:,} voxels, at most 2**30 can be numbered: use smaller blocks")
    numbers = np.empty(labels.shape, np.int32)
    if labels.size == 0:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64), numbers
    ids, n_pieces = _number_pieces(np.ascontiguousarray(labels), numbers.reshape(-1))
    final = np.zeros(n_pieces + 1, np.int32)
    slots = np.zeros(1 << (2 * n_pieces + 1).bit_length(), np.int32)
    n = _join_numbers(ids, slots, final[1:])
    del slots
    ids = ids[:n].copy()
    if not (ids[1:] > ids[:-1]).all():
        order = np.argsort(ids)
        ranks = np.zeros(n + 1, np.int32)
        ranks[order + 1] = np.arange(1, n + 1)
        ids, final = ids[order], ranks[final]
    sizes = np.zeros((n + 1, 2), np.int32)
    _renumber(numbers.reshape(-1), final, sizes)
    return ids, sizes[1:].sum(axis=1, dtype=np.int64), numbers


@jit
def _number_pieces(labels, numbers):
    """Give numbers to pieces of labels, several to a label where it starts anew before it is seen to be connected."""
    nz, ny, nx = labels.shape
    flat = labels.reshape(labels.size)
    ids = np.empty(1 << 10, np.uint64)
    n = 0
    flags, unknown = row_of_flags(nx), np.empty(nx, np.int32)
    for z in range(nz):
        for y in range(ny):
            row = (z * ny + y) * nx
            here, mine = flat[row : row + nx], numbers[row : row + nx]
            mine[:] = 0
            if y > 0:
                _continue(here, mine, flat[row - nx : row], numbers[row - nx : row])
            if z > 0:
                below = row - ny * nx
                _continue(here, mine, flat[below : below + nx], numbers[below : below + nx])
            _flag_unknown(here, mine, flags)
            n_unknown = positions_of(flags, unknown)
            if n + n_unknown >= ids.size:
                ids = _longer(ids, n + n_unknown + 1)
            n = _number_unknown(here, mine, unknown[:n_unknown], ids, n)
    return ids[:n], n


@jit
def _number_unknown(here, mine, unknown, ids, n):
    """Give voxels the number of a neighbour in the row, or a new one; without branches, for they cannot be foreseen."""
    for i in range(unknown.size - 1, -1, -1):
        x = np.int64(unknown[i])
        after = min(x + 1, here.size - 1)
        mine[x] = mine[after] if here[after] == here[x] else 0
    for i in range(unknown.size):
        x = np.int64(unknown[i])
        before = max(x - 1, 0)
        number = mine[before] if here[before] == here[x] else mine[x]
        number = mine[x] if mine[x] != 0 else number
        is_new = np.int64(number == 0)
        ids[n] = here[x]
        n += is_new
        mine[x] = n if is_new else number
    return n


@jit
def _continue(here, mine, other, numbers):
    """Take over the numbers of the row `other` where the labels are the same."""
    for x in range(here.size):
        mine[x] = numbers[x] if here[x] == other[x] else mine[x]


@jit
def _flag_unknown(here, mine, flags):
    for x in range(here.size):
        flags[x] = np.uint8((mine[x] == 0) & (here[x] != 0))


@jit
def _longer(ids, n):
    longer = np.empty(2 * n, np.uint64)
    longer[: ids.size] = ids
    return longer


@jit
def _join_numbers(ids, slots, final):
    """Give the pieces of one label one number, close up `ids`, and return how many labels there are."""
    wrap = slots.size - 1
    n = 0
    for piece in range(ids.size):
        label = ids[piece]
        mixed = label * _FIRST
        mixed ^= mixed >> np.uint64(32)
        place = np.int64((mixed * _SECOND) >> np.uint64(32)) & wrap
        while slots[place] != 0 and ids[slots[place] - 1] != label:
            place = (place + 1) & wrap
        if slots[place] == 0:
            ids[n] = label
            n += 1
            slots[place] = n
        final[piece] = slots[place]
    return n


@jit
def _renumber(numbers, final, sizes):
    """Replace numbers and count voxels, even and odd ones apart: two of one label would wait for each other."""
    for voxel in range(0, numbers.size - 1, 2):
        even, odd = final[numbers[voxel]], final[numbers[voxel + 1]]
        numbers[voxel] = even
        numbers[voxel + 1] = odd
        sizes[even, 0] += 1
        sizes[odd, 1] += 1
    if numbers.size % 2:
        last = final[numbers[numbers.size - 1]]
        numbers[numbers.size - 1] = last
        sizes[last, 0] += 1
