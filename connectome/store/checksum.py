"""Checksum of a volume's voxels: the same whatever the format, the store, the chunks and the blocks."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np

from connectome.geometry import Grid
from connectome.store.array_volume import ArrayVolume
from connectome.store.volume import Volume

CELL = (256, 256, 256)


def checksum(volume: Volume | ArrayVolume) -> str:
    """Return a SHA-256 (hex) of the voxels, their type and their shape.

    Cells of 256^3 from the box's start are hashed by themselves, C order, little-endian, channels first;
    then the header and the cells' digests in C order of cells. One cell is in memory at a time. Offset
    and voxel size do not count.
    """
    little = volume.dtype.newbyteorder("<")
    header = f"{volume.n_channels or 0} {volume.box.shape} {volume.dtype.newbyteorder('=').name}"
    total = hashlib.sha256(header.encode())
    grid = Grid(volume.box, CELL)
    for index in itertools.product(*(range(n) for n in grid.shape)):
        cell = np.ascontiguousarray(volume.read(grid.box_at(index)), little)
        total.update(hashlib.sha256(cell.data.cast("B")).digest())
    return total.hexdigest()
