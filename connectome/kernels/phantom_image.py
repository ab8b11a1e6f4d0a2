"""What a microscope would see of synthetic tissue: membranes, cytoplasm, organelles, blur and noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from connectome.kernels.jit import jit
from connectome.kernels.phantom_noise import Floats, Ids, Indices, Volume, as_seed, hash4, mix, uniform


@jit
def _spot(z: float, y: float, x: float, pitch: float, seed: np.uint64, channel: int) -> float:
    """Return how far inside a vesicle a place is, in nm: at most one vesicle per cube of side `pitch`."""
    a, b, c = math.floor(z / pitch - 0.5), math.floor(y / pitch - 0.5), math.floor(x / pitch - 0.5)
    best = -pitch
    for corner in range(8):
        i, j, k = int(a) + (corner >> 2), int(b) + (corner >> 1 & 1), int(c) + (corner & 1)
        bits = hash4(seed, channel, i, j, k)
        size = float(bits & np.uint64(0xFF))
        if size < 96.0:
            continue
        dz = pitch * (i + 0.05 + 0.9 / 65536.0 * float((bits >> np.uint64(8)) & np.uint64(0xFFFF))) - z
        dy = pitch * (j + 0.05 + 0.9 / 65536.0 * float((bits >> np.uint64(24)) & np.uint64(0xFFFF))) - y
        dx = pitch * (k + 0.05 + 0.9 / 65536.0 * float((bits >> np.uint64(40)) & np.uint64(0xFFFF))) - x
        best = max(best, 10.0 + size * (20.0 / 256.0) - math.sqrt(dz * dz + dy * dy + dx * dx))
    return best


@jit
def _paint(
    start: Indices,
    spacing: Floats,
    seed: np.uint64,
    contrast: float,
    truth: Ids,
    margin: Volume,
    smear: Volume,
    depth: Volume,
    coarse: Volume,
    medium: Volume,
    fine: Volume,
    clumps: Volume,
    out: Volume,
) -> None:
    for z in range(truth.shape[0]):
        for y in range(truth.shape[1]):
            pz, py = (start[0] + z + 0.5) * spacing[0], (start[1] + y + 0.5) * spacing[1]
            for x in range(truth.shape[2]):
                bits = mix(truth[z, y, x])
                shade, crowd = uniform(bits), uniform(mix(bits))
                rough, patch, grain = medium[z, y, x], coarse[z, y, x], fine[z, y, x]
                value = (118.0 if shade < 0.2 else 138.0) + 48.0 * shade + 12.0 * patch + 7.0 * rough + 9.0 * grain
                clump = (0.4 + 0.6 * crowd) * min(0.5, max(0.0, clumps[z, y, x] + 0.25 * rough - 0.15))
                value += (78.0 - value) * 1.4 * clump
                many = min(1.0, max(0.0, 2.0 * (patch + 1.6 * crowd - 0.8)))
                if many > 0.0:
                    spot = _spot(pz, py, (start[2] + x + 0.5) * spacing[2], 62.0, seed, 30)
                    value += (78.0 - value) * 0.6 * many * min(1.0, max(0.0, (spot + 6.0) / 12.0))
                inside = min(1.0, max(0.0, (8.0 - depth[z, y, x]) / 12.0))
                if inside > 0.0:
                    body = 80.0 + 12.0 * grain + 16.0 * clumps[z, y, x] if depth[z, y, x] < -16.0 else 70.0
                    value += (body - value) * inside
                width = math.sqrt(20.0 * 20.0 + 0.2 * smear[z, y, x] * smear[z, y, x])
                ratio = margin[z, y, x] / width
                ratio *= ratio
                dark = contrast * (20.0 / width) * (1.0 - 0.6 * max(0.0, rough)) / (1.0 + ratio * ratio)
                value += (86.0 + 6.0 * grain - value) * dark
                out[z, y, x] = value


@jit
def _white(seed: np.uint64, channel: int, z: int, y: int, x: int) -> float:
    """Return noise of mean 0 and standard deviation 1 that is nearly normal."""
    bits = hash4(seed, channel, z, y, x)
    total = 0
    for k in range(8):
        total += int((bits >> np.uint64(8 * k)) & np.uint64(255))
    return (total - 1020.0) / 209.0


@jit
def _expose(
    start: Indices, seed: np.uint64, shot: float, readout: float, scene: Volume, out: npt.NDArray[np.uint8]
) -> None:
    nz, ny, nx = scene.shape
    noisy = np.empty((nz, ny, nx), np.float32)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                white = _white(seed, 31, start[0] + z - 1, start[1] + y - 1, start[2] + x - 1)
                noisy[z, y, x] = scene[z, y, x] + shot * white
    along = np.empty((nz, ny, nx - 2), np.float32)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx - 2):
                along[z, y, x] = 0.25 * noisy[z, y, x] + 0.5 * noisy[z, y, x + 1] + 0.25 * noisy[z, y, x + 2]
    for z in range(nz - 2):
        drift = 6.0 * uniform(hash4(seed, 33, start[0] + z, 0, 0)) - 3.0
        for y in range(ny - 2):
            for x in range(nx - 2):
                value = drift + readout * _white(seed, 32, start[0] + z, start[1] + y, start[2] + x)
                for dz in range(3):
                    for dy in range(3):
                        weight = (0.6 if dz == 1 else 0.2) * (0.5 if dy == 1 else 0.25)
                        value += weight * along[z + dz, y + dy, x]
                out[z, y, x] = np.uint8(min(255.0, max(0.0, math.floor(value + 0.5))))


def paint(
    start: Sequence[int],
    voxel_size_nm: Sequence[float],
    seed: int,
    contrast: float,
    truth: Ids,
    margin: Volume,
    smear: Volume,
    depth: Volume,
    textures: tuple[Volume, Volume, Volume, Volume],
) -> Volume:
    """Paint tissue in grey values before blur and noise.

    Parameters
    ----------
    start, voxel_size_nm
        Global coordinates of the first voxel and voxel size, zyx.
    seed
        Places the vesicles.
    contrast
        1 for membranes as dark as in well stained tissue, 0 for none.
    truth, margin, smear, depth
        From `own_voxels`.
    textures
        Coarse, medium and fine noise and that of clumps, in [-1, 1], float32, of the same shape.

    Returns
    -------
    float32 (z, y, x), about 60 to 200. O(voxels).
    """
    out = np.empty(truth.shape, np.float32)
    corner, spacing = np.array(start, np.int64), np.array(voxel_size_nm, np.float64)
    _paint(corner, spacing, as_seed(seed), contrast, truth, margin, smear, depth, *textures, out)
    return out


def expose(start: Sequence[int], seed: int, shot: float, readout: float, scene: Volume) -> npt.NDArray[np.uint8]:
    """Take the picture: noise, a blur of one voxel, the drift of each section, more noise, 8 bits.

    Parameters
    ----------
    start
        Global coordinates of the first voxel of the result, zyx.
    seed
        Which noise.
    shot, readout
        Standard deviation, in grey values, of the noise before and after the blur.
    scene
        float32, from `paint`, one voxel larger than the result on every side.

    Returns
    -------
    uint8, two voxels smaller than `scene` along each axis. O(voxels).
    """
    z, y, x = (max(0, n - 2) for n in scene.shape)
    out = np.empty((z, y, x), np.uint8)
    if out.size:
        _expose(np.array(start, np.int64), as_seed(seed), shot, readout, scene, out)
    return out
