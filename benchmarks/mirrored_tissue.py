"""Affinities of synthetic tissue of any size at no cost: one tile of known cells, mirrored, under noise without end.

Making cells takes half a second per million voxels, so that a few gigavoxels take an hour of a core. Here one tile
of them is made once and mirrored at its faces, again and again: a cell that meets a face goes on behind it, and
cells run through the whole volume. What repeats are the cells' shapes; the noise does not, so that fragments,
contacts and merges are others in every tile. A voxel's value is a function of its place alone.

The noise is as strong as leaves a segmentation with the parameters of `workflows/fib25.yaml` about as many errors as
it has on FIB-25: variation of information 0.78 (split) + 0.26 (merge) on 256^3, with 0.6 fragments per 1,000 voxels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from connectome.geometry import Block, Box, Halo, Triple
from connectome.kernels.jit import jit
from connectome.kernels.location_noise import location_hash
from connectome.kernels.phantom_noise import smooth_noise
from connectome.phantom import generate
from connectome.stages.stage import Artifact, BlockStage, VolumeArtifact, VoxelSize

VOXEL_SIZE_NM = (10.0, 10.0, 10.0)
INSIDE, ACROSS = 242, 80
"""Affinities inside cells, and at their walls, before the noise."""
UNEVEN, PITCH_NM, SEED = 135.0, 70.0, 40
"""What all three affinities of a voxel share: smooth, up to so many grey levels up and down."""
GRAIN = 15
"""What each affinity has of its own: even over as many grey levels up and down."""
AROUND = Halo(low=(2, 2, 2), high=(1, 1, 1))
"""A voxel is wall by its neighbours, and a pair is dark where one of its two is wall."""


def write_tile(path: Path, size: int) -> None:
    """Make the cells of a cube of `size` voxels along each axis."""
    _, truth = generate(Box.of_shape((size,) * 3), seed=0, voxel_size_nm=VOXEL_SIZE_NM)
    cells = np.unique(truth, return_inverse=True)[1].reshape(truth.shape)
    np.save(path, cells.astype(np.uint16))


class MirroredTissue(BlockStage):
    """Make affinities from a tile of cells that is mirrored over and over."""

    outputs: ClassVar[tuple[Artifact, ...]] = (VolumeArtifact("affinities", "uint8", n_channels=3),)
    is_local: ClassVar[bool] = True

    stage: Literal["mirrored_tissue"] = "mirrored_tissue"
    tile: str
    """A file of `write_tile`."""
    shape: Triple
    """Voxels to make, zyx."""

    def domain(self) -> tuple[Box, VoxelSize]:
        return Box.of_shape(self.shape), VOXEL_SIZE_NM

    def process(self, block: Block) -> dict[str, Any]:
        around, box = block.write_box.grow(AROUND), block.write_box
        # Mapped, not read: a worker holds no more of the tile than the block at hand looks at.
        tile = np.load(self.tile, mmap_mode="r")
        cells = tile[
            np.ix_(*(mirrored(a, b, n) for a, b, n in zip(around.start, around.stop, tile.shape, strict=True)))
        ]
        noise = smooth_noise(box.start, box.shape, VOXEL_SIZE_NM, PITCH_NM, SEED, 0)
        affinities = np.empty((3, *box.shape), np.uint8)
        _paint(_walls(cells), noise, box.start, self.shape, (INSIDE, ACROSS, UNEVEN, GRAIN), affinities)
        return {"affinities": affinities}

    def peak_bytes(self, block: Block) -> int:
        return 7 * block.write_box.grow(AROUND).n_voxels


def mirrored(start: int, stop: int, n: int) -> npt.NDArray[np.int64]:
    """Return the places in a tile of `n` voxels that stand for those from `start` to `stop` of the endless tissue."""
    place = np.arange(start, stop) % (2 * n)
    return np.minimum(place, 2 * n - 1 - place)


@jit
def _walls(cells):
    """Tell which voxels touch another cell; those at the array's own faces are not asked for."""
    walls = np.zeros(cells.shape, np.bool_)
    for z in range(1, cells.shape[0] - 1):
        for y in range(1, cells.shape[1] - 1):
            for x in range(1, cells.shape[2] - 1):
                own = cells[z, y, x]
                walls[z, y, x] = (
                    (cells[z - 1, y, x] != own)
                    | (cells[z + 1, y, x] != own)
                    | (cells[z, y - 1, x] != own)
                    | (cells[z, y + 1, x] != own)
                    | (cells[z, y, x - 1] != own)
                    | (cells[z, y, x + 1] != own)
                )
    return walls


@jit
def _paint(walls, noise, start, shape, greys, affinities):
    inside, across, unevenness, graininess = greys
    for z in range(noise.shape[0]):
        for y in range(noise.shape[1]):
            row = ((start[0] + z) * shape[1] + start[1] + y) * shape[2] + start[2]
            for x in range(noise.shape[2]):
                uneven = int(np.floor(unevenness * noise[z, y, x]))
                grains = location_hash(row + x, 0, np.uint64(0xFFFFFF))
                for axis in range(3):
                    w, v, u = z + 2 - (axis == 0), y + 2 - (axis == 1), x + 2 - (axis == 2)
                    is_inside = not (walls[z + 2, y + 2, x + 2] or walls[w, v, u])
                    grain = (grains >> (8 * axis) & 0xFF) * (2 * graininess + 1) // 256 - graininess
                    grey = (inside if is_inside else across) + uneven + grain
                    affinities[axis, z, y, x] = min(max(grey, 0), 255)
