"""Random changes that make a network indifferent to orientation and to how the image was taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

Image = npt.NDArray[np.float32]


class Augmentation(BaseModel):
    """How far a training patch may be changed; intensities in standard deviations of the image."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    symmetry: Literal["cube", "section", "none"] = "cube"
    """Flips and axis permutations: all 48 (isotropic voxels), the 16 that keep z, or none."""
    warp_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of patches that are turned and stretched; for isotropic voxels."""
    warp_degrees: float = Field(default=45.0, ge=0, le=180)
    """Largest angle of such a turn, about any axis."""
    warp_stretch: float = Field(default=0.2, ge=0, lt=1)
    """Largest relative change of length along each axis."""
    contrast: float = Field(default=0.3, ge=0, lt=1)
    """Largest relative change of contrast."""
    brightness: float = Field(default=0.4, ge=0)
    """Largest shift of the mean."""
    gamma: float = Field(default=0.3, ge=0)
    """Largest change of the logarithm of gamma."""
    noise: float = Field(default=0.4, ge=0)
    """Largest standard deviation of added noise, in every other patch."""
    blur_probability: float = Field(default=0.25, ge=0, le=1)
    """Share of patches that are blurred by one or two [1 2 1] passes."""
    defect_probability: float = Field(default=0.1, ge=0, le=1)
    """Share of patches with one section that is dark, bright or missing."""

    def draw_warp(self, random: np.random.Generator) -> npt.NDArray[np.float64] | None:
        """Return the matrix of a warp, or None for a patch that is cut straight."""
        if random.random() >= self.warp_probability:
            return None
        return _random_matrix(self.warp_degrees, self.warp_stretch, random)

    def orient(self, arrays: Sequence[npt.NDArray[Any]], random: np.random.Generator) -> list[npt.NDArray[Any]]:
        """Apply one random symmetry to the last three axes of all arrays alike."""
        if self.symmetry == "none":
            return list(arrays)
        axes = random.permutation(3) if self.symmetry == "cube" else np.array([0, *(1 + random.permutation(2))])
        flips = random.choice([-1, 1], size=3)
        return [_turned(each, axes, flips) for each in arrays]

    def degrade(self, image: Image, random: np.random.Generator) -> Image:
        """Change the intensities of a normalised image (mean 0, standard deviation 1)."""
        image = self._gamma(image, random)
        image *= np.float32(1 + random.uniform(-self.contrast, self.contrast))
        image += np.float32(random.uniform(-self.brightness, self.brightness))
        if random.random() < self.blur_probability:
            for _ in range(random.integers(1, 3)):
                image = _blur(image)
        if random.random() < self.defect_probability:
            _spoil_section(image, random)
        if random.random() < 0.5:
            scale = np.float32(random.uniform(0, self.noise))
            image += scale * random.standard_normal(image.shape, dtype=np.float32)
        return image

    def _gamma(self, image: Image, random: np.random.Generator) -> Image:
        """Bend the grey values between -4 and 4 standard deviations, whose ends stay where they are."""
        exponent = np.float32(np.exp(random.uniform(-self.gamma, self.gamma)))
        unit = np.clip((image + 4) / 8, 0, 1)
        return np.asarray(np.power(unit, exponent) * 8 - 4, np.float32)


def _turned(array: npt.NDArray[Any], axes: npt.NDArray[np.int64], flips: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Permute the last three axes, then flip them."""
    front = array.ndim - 3
    turned = array.transpose(*range(front), *(front + int(axis) for axis in axes))
    return np.flip(turned, tuple(front + axis for axis in range(3) if flips[axis] < 0))


def _random_matrix(degrees: float, stretch: float, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return a turn about a random axis by up to `degrees` and a stretch per axis by up to `stretch`.

    Parameters
    ----------
    degrees
        Largest angle.
    stretch
        Largest relative change of length along each axis.

    Returns
    -------
    Matrix (3, 3) from offsets in the patch to offsets in the image, both zyx in voxels.
    """
    axis = random.normal(size=3)
    z, y, x = axis / np.linalg.norm(axis)
    angle = math.radians(random.uniform(-degrees, degrees))
    # Rodrigues: I + sin(a) K + (1 - cos(a)) K^2.
    cross = np.array([[0.0, -x, y], [x, 0.0, -z], [-y, z, 0.0]])
    turn = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    lengths = np.exp(random.uniform(-1, 1, size=3) * math.log1p(stretch))
    return np.asarray(turn * lengths, np.float64)


def _blur(image: Image) -> Image:
    for axis in range(3):
        padded = np.concatenate([image.take([0], axis), image, image.take([-1], axis)], axis=axis, dtype=np.float32)
        low, middle, high = (np.moveaxis(padded, axis, 0)[k : k + image.shape[axis]] for k in range(3))
        image = np.moveaxis((low + 2 * middle + high) * np.float32(0.25), 0, axis)
    return image


def _spoil_section(image: Image, random: np.random.Generator) -> None:
    section = image[random.integers(image.shape[0])]
    kind = random.integers(3)
    if kind == 0:
        section[:] = section.mean()
    else:
        section += np.float32(random.uniform(0.5, 2.0) * (1 if kind == 1 else -1))
