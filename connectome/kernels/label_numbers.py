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
    labels: npt.NDArray[Any], *, in_scan_order: bool = False
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Give the labels the numbers 1, 2, ... in ascending order.

    Parameters
    ----------
    labels : uint32 or uint64 array, shape (z, y, x)
        Any ids; 0 is background.
    in_scan_order : bool
        Number the labels as they come instead, so that near labels have near numbers whatever their ids.

    Returns
    -------
    ids : uint64 array
        The label of number k at k - 1.
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
    if not in_scan_order and not is_ascending(ids):
        final = ranks_of(ids)[final]
        ids.sort()
    sizes, odd_sizes = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int32)
    _renumber(numbers.reshape(-1), final, sizes, odd_sizes)
    return ids, (sizes + odd_sizes)[1:], numbers


def is_ascending(ids: npt.NDArray[np.uint64]) -> bool:
    """Tell whether every id is larger than the one before."""
    return bool((ids[1:] > ids[:-1]).all())


def ranks_of(ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
    """Return the place, from 1, of the label of each number among the sorted ids; 0 for 0."""
    ranks = np.zeros(ids.size + 1, np.int32)
    ranks[np.argsort(ids) + 1] = np.arange(1, ids.size + 1)
    return ranks


@jit
def _number_pieces(labels, numbers):
    """Give numbers to pieces of labels, several to a label where it starts anew before it is seen to be connected."""
    nz, ny, nx = labels.shape
    flat = labels.reshape(labels.size)
    ids = np.empty(1 << 10, np.uint64)
    n = 0
    (flags, words), unknown = row_of_flags(nx), np.empty(nx, np.int32)
    width = np.uint64(nx)
    for z in range(nz):
        for y in range(ny):
            row = np.uint64((z * ny + y) * nx)
            _start_row(numbers, row, width)
            if y > 0:
                _continue(flat, numbers, row, row - width, width)
            if z > 0:
                _continue(flat, numbers, row, row - width * np.uint64(ny), width)
            _flag_unknown(flat, numbers, row, width, flags)
            n_unknown = positions_of(words, unknown)
            if n + n_unknown >= ids.size:
                ids = _longer(ids, n + n_unknown + 1)
            n = _number_unknown(flat, numbers, row, nx, unknown, n_unknown, ids, n)
    return ids[:n], n


@jit
def _start_row(numbers, row, width):
    for x in range(width):
        numbers[row + x] = 0


@jit
def _continue(labels, numbers, row, other, width):
    """Take over the numbers of the row at `other` where the labels are the same."""
    for x in range(width):
        mine = numbers[row + x]
        numbers[row + x] = numbers[other + x] if labels[row + x] == labels[other + x] else mine


@jit
def _flag_unknown(labels, numbers, row, width, flags):
    for x in range(width):
        flags[x] = np.uint8((numbers[row + x] == 0) & (labels[row + x] != 0))


@jit
def _number_unknown(labels, numbers, row, nx, unknown, n_unknown, ids, n):
    """Give voxels the number of a neighbour in the row, or a new one; without branches, for they cannot be foreseen."""
    one, last = np.uint64(1), row + np.uint64(nx) - np.uint64(1)
    for i in range(n_unknown - 1, -1, -1):
        voxel = row + np.uint64(unknown[i])
        after = voxel + one if voxel < last else last
        numbers[voxel] = numbers[after] if labels[after] == labels[voxel] else 0
    for i in range(n_unknown):
        voxel = row + np.uint64(unknown[i])
        before = voxel - one if voxel > row else row
        number = numbers[before] if labels[before] == labels[voxel] else numbers[voxel]
        number = numbers[voxel] if numbers[voxel] != 0 else number
        is_new = np.int64(number == 0)
        ids[n] = labels[voxel]
        n += is_new
        numbers[voxel] = n if is_new else number
    return n


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
def _renumber(numbers, final, sizes, odd_sizes):
    """Replace numbers and count voxels, even and odd ones apart: two of one label would wait for each other."""
    for pair in range(np.uint64(numbers.size // 2)):
        voxel = np.uint64(2) * pair
        even = final[np.uint64(numbers[voxel])]
        odd = final[np.uint64(numbers[voxel + np.uint64(1)])]
        numbers[voxel] = even
        numbers[voxel + np.uint64(1)] = odd
        sizes[np.uint64(even)] += 1
        odd_sizes[np.uint64(odd)] += 1
    if numbers.size % 2:
        last = final[numbers[numbers.size - 1]]
        numbers[numbers.size - 1] = last
        sizes[last] += 1
