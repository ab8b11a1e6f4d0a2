"""Contact areas between the labels of a volume, as face counts by axis.

A block owns the faces between its voxels and their lower neighbours and reads one voxel of halo on its low sides:
blocks add up to the whole. Nanometres come last, so that anisotropic areas stay exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.kernels.coarse_contacts import labels_are_large, log_faces, order_of_log, sum_log
from connectome.kernels.contact_scan import AREA, add_contacts, count_contacts
from connectome.kernels.contact_table import ids_of_ends, new_table, sorted_rows
from connectome.kernels.edge_pool import Columns
from connectome.kernels.label_numbers import MOST_VOXELS, number_labels
from connectome.kernels.pair_order import order_of_pairs

_AXES = ("z", "y", "x")


def contacts(labels: npt.NDArray[Any], read_box: Box | None = None, write_box: Box | None = None) -> Columns:
    """Count the faces at which two labels touch.

    Parameters
    ----------
    labels : uint32 or uint64 array, shape (z, y, x)
        Any ids; 0 is background and touches nothing.
    read_box, write_box : Box, optional
        Where `labels` are and what the block owns: `read_box` is `write_box` with one voxel more on the low sides
        that have a neighbour. Without them `labels` is the whole volume.

    Returns
    -------
    columns ``a``, ``b`` uint64, ``z``, ``y``, ``x`` int64
        One row per pair, a < b, sorted; faces by the axis of their normal.

    Raises
    ------
    InputError
        If the boxes do not fit together or the block has more than 2**30 voxels.

    Notes
    -----
    O(voxels), and one look-up per face between labels, or run of such faces along x. Small labels take 4 bytes per
    voxel, at most 256 per label and 72 per row; large ones nothing per voxel, and up to 200 for a pair each time that
    it is met anew.
    """
    margin = _margin(labels, read_box, write_box)
    labels = np.ascontiguousarray(labels)
    if labels.size and labels.size <= MOST_VOXELS and labels_are_large(labels):
        return _contacts_of_large(labels, margin)
    return _contacts_of_small(labels, margin)


def _contacts_of_large(labels: npt.NDArray[Any], margin: tuple[int, ...]) -> Columns:
    # Four bytes per voxel are more than most volumes want; what is not used is never touched.
    log = log_faces(labels, margin, np.empty(labels.size // 2, np.uint64))
    a, b, z, y, x = np.empty((5, log.size // 4), np.int64)
    n = sum_log(log, order_of_log(log), (a, b, z, y, x))
    return {"a": a[:n].view(np.uint64), "b": b[:n].view(np.uint64), "z": z[:n], "y": y[:n], "x": x[:n]}


def _contacts_of_small(labels: npt.NDArray[Any], margin: tuple[int, ...]) -> Columns:
    ids, _, numbers = number_labels(labels, in_scan_order=True)
    table = new_table(ids.size, count_contacts(numbers))
    nothing = np.zeros((3, 1, 1, 1), np.uint8)
    table = add_contacts(table, numbers, margin, nothing, (0, (0, 0, 0), np.uint64(0), 1, AREA)).without_slots()
    del numbers
    rows = sorted_rows(table, ids)
    del table
    return _columns(*ids_of_ends(rows.ends, ids), rows.values, rows.counts.astype(np.int64))


def _columns(
    a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64], xy: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> Columns:
    """Split the faces of each pair by axis, in place: x is the low half of `xy`, y the high one, z is the rest."""
    y = xy >> 32
    counts -= y
    xy &= 0xFFFFFFFF
    counts -= xy
    return {"a": a, "b": b, "z": counts, "y": y, "x": xy}


def pool_contacts(tables: Sequence[Columns]) -> Columns:
    """Add up the contacts of blocks.

    Parameters
    ----------
    tables : sequence of columns ``a``, ``b``, ``z``, ``y``, ``x``
        At least one, in any order.

    Returns
    -------
    columns
        As of the blocks' union.
    """
    rows = {name: np.concatenate([table[name] for table in tables]) for name in ("a", "b", *_AXES)}
    n = rows["a"].size
    if n == 0:
        return rows
    low, high, order = order_of_pairs(rows["a"], rows["b"], np.zeros(n, np.uint8))
    low, high = low[order], high[order]
    first = np.flatnonzero(np.concatenate(([True], (low[1:] != low[:-1]) | (high[1:] != high[:-1]))))
    ends = {name: rows[name][order[first]] for name in ("a", "b")}
    return ends | {name: np.add.reduceat(rows[name][order], first) for name in _AXES}


def areas_nm2(table: Columns, voxel_size_nm: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """Return the area of each row of face counts in square nanometres, given the voxel size along z, y, x."""
    z_nm, y_nm, x_nm = (float(size) for size in voxel_size_nm)
    areas: npt.NDArray[np.float64] = table["z"] * (y_nm * x_nm)
    areas += table["y"] * (z_nm * x_nm) + table["x"] * (z_nm * y_nm)
    return areas


def _margin(labels: npt.NDArray[Any], read_box: Box | None, write_box: Box | None) -> tuple[int, ...]:
    """Return how many voxels of halo there are on the low sides."""
    if read_box is None and write_box is None:
        return (0, 0, 0)
    if read_box is None or write_box is None or read_box.shape != labels.shape or read_box.stop != write_box.stop:
        raise InputError(
            f"labels of shape {labels.shape} with read box {read_box} and write box {write_box} do not fit together: "
            "give both boxes or none, the read box with the shape of the labels and the stop of the write box"
        )
    margin = tuple(a - r for a, r in zip(write_box.start, read_box.start, strict=True))
    if not set(margin) <= {0, 1}:
        raise InputError(f"the read box has {margin} voxels of halo on the low sides, wanted 0 or 1: read one voxel")
    return margin
