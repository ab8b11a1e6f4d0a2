"""Subvolumes that are flood-filled each on its own, and what neighbours need to compare their objects.

Subvolumes lie on one grid anchored at the start of the volume, whatever the blocks of a run: a voxel belongs to one
subvolume, and its object follows from image, options and that grid alone. A subvolume is filled from its box grown
by a margin. In the part of the margin where the field of view could go, the *slabs* below its low faces, it and its
lower neighbour have both said what they see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Grid, Halo, Triple, as_triple
from connectome.kernels.components import connected_pieces, first_voxels, ids_of_voxels

Columns = dict[str, npt.NDArray[Any]]
OVERLAPS = {"subvolume": "int64", "axis": "uint8", "start": "int64", "length": "int64", "object": "uint64"}
"""Runs of an object in a slab, by the C-order index of their first voxel there."""
PIECES = {"piece": "uint64", "object": "uint64"}
"""Pieces of objects that are connected within their subvolume, and whose they are."""


@dataclass(frozen=True)
class Subvolumes:
    """A grid of subvolumes.

    Attributes
    ----------
    shape : Triple
        Voxels (z, y, x) of a subvolume; those at the far faces are cut by the volume.
    margin : Triple
        Voxels (z, y, x) that are filled beyond it on every side.
    depth : Triple
        Voxels (z, y, x) of the slabs, at most the margin.
    """

    shape: Triple
    margin: Triple
    depth: Triple

    def numbers_meeting(self, box: Box, domain: Box) -> list[int]:
        """Return the numbers of the subvolumes that meet `box`, in C order."""
        grid = Grid(domain, self.shape)
        positions = grid.covering(box)
        return [
            grid.number([a + i for a, i in zip(positions.start, index, strict=True)])
            for index in np.ndindex(*positions.shape)
        ]

    def box(self, number: int, domain: Box) -> Box:
        """Return the box of a subvolume without its margin."""
        grid = Grid(domain, self.shape)
        return grid.box_at([int(place) for place in np.unravel_index(number, grid.shape)])

    def filled_box(self, box: Box, domain: Box) -> Box:
        """Return what is filled for the subvolume of `box`: all that its objects depend on."""
        return box.grow(Halo.symmetric(self.margin)).intersect(domain)

    def slab(self, box: Box, axis: int, domain: Box) -> Box:
        """Return the slab below the low face of `axis`; empty at the volume's face."""
        start, stop = list(box.start), list(box.stop)
        start[axis], stop[axis] = max(domain.start[axis], box.start[axis] - self.depth[axis]), box.start[axis]
        return Box(as_triple(start), as_triple(stop))

    def read_box(self, box: Box, domain: Box, *, filled: bool) -> Box:
        """Return the hull of the subvolumes that meet `box`, with their margins (`filled`) or their slabs."""
        boxes = [self.box(number, domain) for number in self.numbers_meeting(box, domain)]
        halo = Halo.symmetric(self.margin) if filled else Halo(low=self.depth)
        return Box(boxes[0].start, boxes[-1].stop).grow(halo).intersect(domain)


def name_objects(
    labels: npt.NDArray[np.int32], number: int, subvolumes: Subvolumes, domain: Box
) -> tuple[npt.NDArray[np.uint64], Columns, Columns]:
    """Name the objects of a subvolume, and say where they lie in its slabs.

    Parameters
    ----------
    labels : int32 array, shape of the filled box
        Objects of the subvolume from 1 on; 0 is background.
    number : int
        The subvolume's.

    Returns
    -------
    objects : uint64 array, shape of the subvolume
        Pieces of objects that are connected within it, by global ids (`connected_pieces`).
    pieces : Columns
        `PIECES`: an object is named by its first voxel in the subvolume. Sorted by piece.
    overlaps : Columns
        `OVERLAPS`, of objects that lie in the subvolume too.
    """
    box = subvolumes.box(number, domain)
    filled = subvolumes.filled_box(box, domain)
    inside = np.ascontiguousarray(labels[box.relative_to(filled.start).slices])
    first = np.full(int(labels.max(initial=0)) + 1, -1, np.int64)
    found = first_voxels(inside)
    first[: found.size] = found
    names = ids_of_voxels(first, box, domain)
    objects = connected_pieces(inside.view(np.uint32), box, domain)
    piece, place = np.unique(objects, return_index=True)
    pieces = {"piece": piece[piece > 0], "object": names[inside.reshape(-1)[place]][piece > 0]}
    parts = []
    for axis in range(3):
        slab = subvolumes.slab(box, axis, domain)
        parts.append(_runs(names[labels[slab.relative_to(filled.start).slices]], number, axis))
    return objects, pieces, {name: np.concatenate([part[name] for part in parts]) for name in OVERLAPS}


def _runs(objects: npt.NDArray[np.uint64], number: int, axis: int) -> Columns:
    flat = objects.reshape(-1)
    start = np.flatnonzero(np.concatenate([[flat.size > 0], flat[1:] != flat[:-1]])[: flat.size]).astype(np.int64)
    length = np.diff(np.append(start, flat.size))
    is_object = flat[start] != 0
    start, length = start[is_object], length[is_object]
    whose = {"subvolume": np.full(start.size, number, np.int64), "axis": np.full(start.size, axis, np.uint8)}
    return {**whose, "start": start, "length": length, "object": flat[start]}


def slab_objects(overlaps: Columns, number: int, axis: int, slab: Box) -> npt.NDArray[np.uint64]:
    """Return the objects that subvolume `number` sees in its slab, from the table that `name_objects` made."""
    rows = (overlaps["subvolume"] == number) & (overlaps["axis"] == axis)
    start, length = overlaps["start"][rows].astype(np.int64), overlaps["length"][rows].astype(np.int64)
    flat = np.zeros(slab.n_voxels, np.uint64)
    within = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
    flat[np.repeat(start, length) + within] = np.repeat(overlaps["object"][rows].astype(np.uint64), length)
    return flat.reshape(slab.shape)
