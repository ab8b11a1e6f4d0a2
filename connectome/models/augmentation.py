"""Random changes that make a network indifferent to orientation and to how the image was taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from connectome.geometry import Box, Triple
from connectome.models.deformation import Deformation, n_controls
from connectome.models.section_defects import defocus_sections, spoil_section, stain_sections, thicken_sections

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

    elastic_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of patches that are warped elastically."""
    elastic_voxels: tuple[float, float, float] = (2.0, 8.0, 8.0)
    """Largest displacement (z, y, x) of such a warp, voxels; less than half the spacing, or tissue would fold."""
    elastic_spacing: tuple[float, float, float] = (16.0, 32.0, 32.0)
    """Voxels (z, y, x) between the control points of the warp."""
    shift_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of patches in which all sections from one on are out of place."""
    slip_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of patches in which one section is out of place."""
    misalignment_voxels: float = Field(default=10.0, ge=0)
    """Largest distance, along y and x, by which sections are out of place."""
    defocus_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of patches with sections out of focus: one, or a few in a row."""
    defocus_voxels: float = Field(default=2.0, ge=0)
    """Largest standard deviation of that blur in the plane of the section."""
    section_contrast: float = Field(default=0.0, ge=0, lt=1)
    """Largest change of contrast and brightness of each section by itself."""
    thick_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of patches whose sections are made thicker, so that isotropic tissue looks anisotropic."""
    thick_factor: int = Field(default=4, ge=2)
    """Largest number of sections that look like one then."""

    @model_validator(mode="after")
    def _check_spacing(self) -> Self:
        reaches = zip(self.elastic_voxels, self.elastic_spacing, strict=True)
        if any(reach < 0 or spacing < 1 or 2 * reach >= spacing for reach, spacing in reaches):
            raise ValueError(
                f"elastic_voxels {self.elastic_voxels} must be 0 or more and less than half of elastic_spacing "
                f"{self.elastic_spacing}, which is 1 at least: tissue would fold"
            )
        return self

    def draw_deformation(self, output: Triple, box: Box, random: np.random.Generator) -> Deformation | None:
        """Draw where the voxels of a patch lie in the image.

        Parameters
        ----------
        output
            Shape of the patch's output (z, y, x).
        box
            All that image and labels of the patch hold, in voxels from the output's first one.
        random
            Source of what is drawn.

        Returns
        -------
        None for a patch that is cut straight.
        """
        turned, bent = _happens(self.warp_probability, random), None
        matrix = _random_matrix(self.warp_degrees, self.warp_stretch, random) if turned else np.eye(3)
        if _happens(self.elastic_probability, random):
            shape = [n_controls(n, s) for n, s in zip(box.shape, self.elastic_spacing, strict=True)]
            bent = random.uniform(-1, 1, (3, *shape)) * np.reshape(self.elastic_voxels, (3, 1, 1, 1))
        offsets = self._section_offsets(output[0], box, random)
        if not turned and bent is None and offsets is None:
            return None
        z, y, x = ((n - 1) / 2 for n in output)
        return Deformation((z, y, x), matrix, box, bent, self.elastic_spacing, offsets)

    def _section_offsets(
        self, n_sections: int, box: Box, random: np.random.Generator
    ) -> npt.NDArray[np.float64] | None:
        """Draw how far each section of `box` is out of place; the first of them lies among the output's sections."""
        shifted, slipped = _happens(self.shift_probability, random), _happens(self.slip_probability, random)
        if not shifted and not slipped:
            return None
        offsets = np.zeros((box.shape[0], 2))
        for happened, n in ((shifted, box.shape[0]), (slipped, 1)):
            if happened:
                first = int(random.integers(n_sections)) - box.start[0]
                offsets[first : first + n] += random.uniform(-1, 1, 2) * self.misalignment_voxels
        return offsets

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
        if self.section_contrast > 0:
            stain_sections(image, self.section_contrast, random)
        if _happens(self.defocus_probability, random):
            defocus_sections(image, self.defocus_voxels, random)
        if _happens(self.thick_probability, random):
            thicken_sections(image, self.thick_factor, random)
        if random.random() < self.defect_probability:
            spoil_section(image, random)
        if random.random() < 0.5:
            scale = np.float32(random.uniform(0, self.noise))
            image += scale * random.standard_normal(image.shape, dtype=np.float32)
        return image

    def _gamma(self, image: Image, random: np.random.Generator) -> Image:
        """Bend the grey values between -4 and 4 standard deviations, whose ends stay where they are."""
        exponent = np.float32(np.exp(random.uniform(-self.gamma, self.gamma)))
        unit = np.clip((image + 4) / 8, 0, 1)
        return np.asarray(np.power(unit, exponent) * 8 - 4, np.float32)


def _happens(probability: float, random: np.random.Generator) -> bool:
    """Tell whether something that may happen does. What is switched off draws no number, and so changes no other."""
    return probability > 0 and bool(random.random() < probability)


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
