"""Training patches: where they come from, and how one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from connectome.errors import InputError
from connectome.geometry import Box, Triple, as_triple
from connectome.models.architecture import Architecture
from connectome.models.augmentation import Augmentation
from connectome.models.targets import affinity_targets, offsets_of
from connectome.models.tiles import gather
from connectome.models.warping import Matrix, warp_image, warp_labels

Image = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """One patch: normalised image (z, y, x), and target and mask (channel, z, y, x)."""

    image: npt.NDArray[np.float32]
    same: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]


class LabelledImage:
    """An image with dense labels, padded so that every labelled voxel can be an output voxel.

    The image is reflected at its ends, as at inference; the labels are padded by 0 (unlabelled).
    """

    def __init__(self, image: Image, labels: npt.NDArray[Any], architecture: Architecture) -> None:
        if image.shape != labels.shape or image.ndim != 3:
            raise InputError(
                f"image and labels must be two arrays (z, y, x) of one shape, got {image.shape} and "
                f"{labels.shape}: give the same box of both"
            )
        if image.dtype != np.uint8:
            raise InputError(f"the image must be uint8, got {image.dtype}: convert it when it is ingested")
        self.shape = as_triple(image.shape)
        self.architecture = architecture
        self.margin = max((1, *architecture.long_range))
        domain = Box.of_shape(self.shape)
        self.image = gather(image, (0, 0, 0), domain.grow(architecture.halo), domain)
        self.labels = np.pad(labels.astype(np.int64), self.margin)
        self.whole = torch.from_numpy(image.astype(np.float32))[None, None]

    def check_patch(self, output: Triple) -> None:
        """Raise InputError if a patch of this output shape does not fit in."""
        if any(n < p for n, p in zip(self.shape, output, strict=True)):
            raise InputError(
                f"a labelled volume of shape {self.shape} is smaller than the training patch {output}: choose a "
                "smaller patch or a larger box"
            )

    def normalisation(self) -> tuple[float, float]:
        """Return mean and standard deviation of the image itself."""
        halo = self.architecture.halo
        inside = self.image[Box.of_shape(self.shape).shift(halo.low).slices]
        return float(inside.mean()), float(inside.std())

    def cut(self, start: Triple, output: Triple) -> tuple[Image, Labels]:
        """Return the image that the tile at `start` reads, and its labels with margin."""
        read = self.architecture.input_shape(output)
        wide = [n + 2 * self.margin for n in output]
        return self.image[_at(start, read)], self.labels[_at(start, wide)]

    def cut_warped(self, start: Triple, output: Triple, matrix: Matrix) -> tuple[npt.NDArray[np.float32], Labels]:
        """Return the same about the same middle, along axes that `matrix` turns and stretches."""
        middle = [a + (n - 1) / 2 for a, n in zip(start, output, strict=True)]
        image = warp_image(self.whole, middle, matrix, self.architecture.input_shape(output))
        wide = as_triple([n + 2 * self.margin for n in output])
        return image, warp_labels(self.labels, [m + self.margin for m in middle], matrix, wide)


def draw_sample(
    images: Sequence[LabelledImage],
    output: Triple,
    normalisation: tuple[float, float],
    augmentation: Augmentation | None,
    random: np.random.Generator,
) -> Sample:
    """Draw one patch, uniformly over all places of all images."""
    places = [[n - p + 1 for n, p in zip(image.shape, output, strict=True)] for image in images]
    weights = np.array([np.prod(place) for place in places], np.float64)
    chosen = random.choice(len(images), p=weights / weights.sum())
    source = images[chosen]
    start = as_triple([int(random.integers(n)) for n in places[chosen]])
    matrix = None if augmentation is None else augmentation.draw_warp(random)
    raw, labels = source.cut(start, output) if matrix is None else source.cut_warped(start, output, matrix)
    mean, deviation = normalisation
    image = ((raw.astype(np.float32) - mean) / deviation).astype(np.float32)
    if augmentation is not None:
        image = augmentation.degrade(image, random)
        image, labels = augmentation.orient(image, labels, random)
    offsets = offsets_of(source.architecture.long_range)
    same, known = affinity_targets(labels, offsets, source.margin)
    return Sample(np.ascontiguousarray(image), same, known)


def _at(start: Triple, shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
