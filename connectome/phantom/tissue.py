"""Synthetic neuropil with dense truth, as a pure function of place, seed and appearance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.geometry import Box, Grid, Halo, Triple
from connectome.kernels.phantom import own_voxels
from connectome.kernels.phantom_image import expose, paint
from connectome.kernels.phantom_noise import Volume, smooth_noise
from connectome.kernels.phantom_skeleton import neurite_segments

BRICK_VOXELS = 128
BRICK_NM = 2560.0
"""Larger boxes are made brick by brick, which bounds memory and the search, and changes no voxel."""
COARSEST_NM = 100.0
BLUR = Halo.symmetric((1, 1, 1))
WOBBLES = ((9.0, 60.0), (26.0, 160.0), (70.0, 420.0))
"""Unevenness of the walls: amplitude and pitch in nm of each octave."""
TEXTURE_PITCHES_NM = (420.0, 130.0, 32.0, 64.0, 45.0)
"""Of patches, of roughness, of grain and, two octaves, of clumps (endoplasmic reticulum and the like)."""


@dataclass(frozen=True)
class Appearance:
    """How the microscope shows the tissue; the truth does not depend on it."""

    membrane_contrast: float = 1.0
    shot_noise: float = 16.0
    readout_noise: float = 5.0


def generate(
    box: Box,
    *,
    seed: int = 0,
    voxel_size_nm: Sequence[float] = (10.0, 10.0, 10.0),
    appearance: Appearance | None = None,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
    """Make the image and the truth of a box of synthetic tissue.

    Parameters
    ----------
    box
        Where, in voxels; negative coordinates are as good as others. Tissue has no end.
    seed
        Which tissue.
    voxel_size_nm
        Voxel size, zyx. Another voxel size shows the same tissue at another resolution.
    appearance
        Contrast and noise.

    Returns
    -------
    image
        uint8 (z, y, x).
    truth
        uint64 (z, y, x): the cell of each voxel, the same number wherever the cell turns up.

    Notes
    -----
    Any crop equals the same crop of a larger box, bit for bit. O(voxels): about 2 million per second.
    """
    look = appearance or Appearance()
    spacing = tuple(float(size) for size in voxel_size_nm)
    if len(spacing) != 3 or not all(1.0 <= size <= COARSEST_NM for size in spacing):
        wanted = f"wanted are three numbers from 1 to {COARSEST_NM:g} (zyx): choose finer or coarser voxels"
        raise InputError(f"the phantom's voxel size is {spacing} nm, {wanted}")
    image, truth = np.empty(box.shape, np.uint8), np.empty(box.shape, np.uint64)
    if box.is_empty:
        return image, truth
    grid = Grid(box, _brick_shape(spacing))
    for index in grid.indices():
        part = grid.box_at(index)
        place = part.relative_to(box.start).slices
        image[place], truth[place] = _brick(part, seed, spacing, look)
    return image, truth


def working_bytes(box: Box, voxel_size_nm: Sequence[float]) -> int:
    """Estimate the memory that `generate` takes beside its two results."""
    brick = Box.of_shape(_brick_shape(voxel_size_nm))
    return 2**24 + 72 * min(box.grow(BLUR).n_voxels, brick.grow(BLUR).n_voxels)


def _brick_shape(voxel_size_nm: Sequence[float]) -> Triple:
    z, y, x = (min(BRICK_VOXELS, int(BRICK_NM / size)) for size in voxel_size_nm)
    return z, y, x


def _brick(
    box: Box, seed: int, spacing: tuple[float, ...], look: Appearance
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
    around = box.grow(BLUR)

    def noise(pitch_nm: float, channel: int) -> Volume:
        return smooth_noise(around.start, around.shape, spacing, pitch_nm, seed, channel)

    wobble = np.zeros((3, *around.shape), np.float32)
    for octave, (amplitude, pitch) in enumerate(WOBBLES):
        for axis in range(3):
            wobble[axis] += np.float32(amplitude) * noise(pitch, 200 + 3 * octave + axis)
    reach = sum(amplitude for amplitude, _ in WOBBLES)
    low_nm, high_nm = np.multiply(around.start, spacing) - reach, np.multiply(around.stop, spacing) + reach
    segments, owners, kinds = neurite_segments(low_nm, high_nm, seed)
    truth, margin, smear, depth = own_voxels(around.start, spacing, wobble, segments, owners, kinds)
    coarse, medium, fine, clumps, more_clumps = (noise(pitch, 210 + k) for k, pitch in enumerate(TEXTURE_PITCHES_NM))
    textures = coarse, medium, fine, np.float32(0.6) * (clumps + more_clumps)
    scene = paint(around.start, spacing, seed, look.membrane_contrast, truth, margin, smear, depth, textures)
    image = expose(box.start, seed, look.shot_noise, look.readout_noise, scene)
    return image, np.ascontiguousarray(truth[1:-1, 1:-1, 1:-1])
