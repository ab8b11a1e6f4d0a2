"""Training patches: where they come from, and how one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from connectome.errors import InputError
from connectome.geometry import Box, Halo, Triple, as_triple
from connectome.kernels.shape_descriptors import shape_descriptors
from connectome.models.augmentation import Augmentation
from connectome.models.deformation import Deformation
from connectome.models.targets import UNKNOWN, affinity_targets, class_targets, offsets_of
from connectome.models.tiles import gather
from connectome.models.training_config import Training
from connectome.models.training_run import TrainingRun
from connectome.models.warping import warp_image, warp_labels

Image = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Masks = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """One patch: normalised image (z, y, x), and target and mask (channel, z, y, x) in the order of the heads."""

    image: npt.NDArray[np.float32]
    target: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Patch:
    """What a tile reads of the image, its labels with margin, and its class masks (class, z, y, x)."""

    image: npt.NDArray[Any]
    labels: Labels
    masks: Masks


class LabelledImage:
    """An image with what is known of it, padded so that every labelled voxel can be an output voxel.

    The image is reflected at its ends, as at inference; labels are padded by 0 (unlabelled).

    Parameters
    ----------
    image
        Image (z, y, x), uint8.
    labels
        Dense labels of the same shape, 0 where unlabelled; none if there are none.
    config
        Halo of the image, margin of the labels and names of the classes.
    classes
        Masks by class, of the same shape: 0, 1 or `UNKNOWN`. What is not given is unknown.
    """

    def __init__(
        self,
        image: Image,
        labels: npt.NDArray[Any] | None,
        config: TrainingRun,
        classes: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> None:
        masks = {} if classes is None else dict(classes)
        for name, array in (("labels", labels), *masks.items()):
            if image.ndim != 3 or (array is not None and image.shape != array.shape):
                raise InputError(
                    f"image and {name} must be two arrays (z, y, x) of one shape, got {image.shape} and "
                    f"{image.shape if array is None else array.shape}: give the same box of both"
                )
        if image.dtype != np.uint8:
            raise InputError(f"the image must be uint8, got {image.dtype}: convert it when it is ingested")
        self.shape = as_triple(image.shape)
        self.halo, self.margin = config.image_halo, config.label_margin
        domain = Box.of_shape(self.shape)
        self.image = gather(image, (0, 0, 0), domain.grow(self.halo), domain)
        known = np.zeros(self.shape, np.int64) if labels is None else labels.astype(np.int64)
        self.labels = np.pad(known, [(n, n) for n in self.margin])
        unknown = np.full(self.shape, UNKNOWN, np.uint8)
        names = config.class_names
        self.masks = np.empty((len(names), *self.shape), np.uint8)
        for name, mask in zip(names, self.masks, strict=True):
            mask[:] = masks.get(name, unknown)
        self.inside = {name: np.flatnonzero(mask == 1) for name, mask in zip(names, self.masks, strict=True)}
        self.whole = torch.from_numpy(image.astype(np.float32))[None, None]

    def check_patch(self, output: Triple) -> None:
        """Raise InputError if a patch of this output shape does not fit in."""
        if any(n < p for n, p in zip(self.shape, output, strict=True)):
            raise InputError(
                f"a labelled volume of shape {self.shape} is smaller than the training patch {output}: choose a "
                "smaller patch or a larger box"
            )

    @property
    def own_image(self) -> Image:
        """The image itself, without what is reflected."""
        return self.image[Box.of_shape(self.shape).shift(self.halo.low).slices]

    @property
    def own_labels(self) -> Labels:
        """The labels of the image itself."""
        return self.labels[Box.of_shape(self.shape).shift(self.margin).slices]

    def normalisation(self) -> tuple[float, float]:
        """Return mean and standard deviation of the image itself."""
        return float(self.own_image.mean()), float(self.own_image.std())

    def cut(self, start: Triple, output: Triple) -> Patch:
        """Return what there is at the tile at `start`."""
        read = Box.of_shape(output).grow(self.halo).shape
        wide = [n + 2 * m for n, m in zip(output, self.margin, strict=True)]
        return Patch(self.image[_at(start, read)], self.labels[_at(start, wide)], self.masks[:, *_at(start, output)])

    def patch_box(self, output: Triple) -> Box:
        """Return all that a patch may read, in voxels from the first one of its output."""
        box, halo = Box.of_shape(output), self.halo
        low = [max(pair) for pair in zip(halo.low, self.margin, strict=True)]
        high = [max(pair) for pair in zip(halo.high, self.margin, strict=True)]
        return box.grow(Halo(as_triple(low), as_triple(high)))

    def cut_warped(self, start: Triple, output: Triple, deformation: Deformation) -> Patch:
        """Return the same where `deformation` says that the patch's voxels lie."""
        centre = [a + m for a, m in zip(start, deformation.middle, strict=True)]
        padded = [c + m for c, m in zip(centre, self.margin, strict=True)]
        box = Box.of_shape(output)
        image = warp_image(self.whole, centre, deformation, box.grow(self.halo))
        labels = warp_labels(self.labels, padded, deformation, box.grow(Halo.symmetric(self.margin)))
        return Patch(image, labels, warp_labels(self.masks, centre, deformation, box, UNKNOWN))


def draw_sample(
    images: Sequence[LabelledImage],
    config: Training,
    normalisation: tuple[float, float],
    augmentation: Augmentation | None,
    random: np.random.Generator,
) -> Sample:
    """Draw one patch: uniformly over all places of all images, or about a voxel of a class that asks for it."""
    source, start = _draw_place(images, config, random)
    image, labels, masks = changed_patch(source, start, config.patch, normalisation, augmentation, random)
    return Sample(image, *targets(config, labels, masks))


def changed_patch(
    source: LabelledImage,
    start: Triple,
    output: Triple,
    normalisation: tuple[float, float],
    augmentation: Augmentation | None,
    random: np.random.Generator,
) -> tuple[npt.NDArray[np.float32], Labels, Masks]:
    """Return image (normalised), labels and masks of the patch at `start`, changed as augmentation draws it."""
    bent = None
    if augmentation is not None:
        bent = augmentation.draw_deformation(output, source.patch_box(output), random)
    patch = source.cut(start, output) if bent is None else source.cut_warped(start, output, bent)
    mean, deviation = normalisation
    image = ((patch.image.astype(np.float32) - mean) / deviation).astype(np.float32)
    labels, masks = patch.labels, patch.masks
    if augmentation is not None:
        image = augmentation.degrade(image, random)
        image, labels, masks = augmentation.orient((image, labels, masks), random)
    return np.ascontiguousarray(image), labels, masks


def targets(config: Training, labels: Labels, masks: Masks) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return what all heads shall give for a patch, and where that is known.

    Parameters
    ----------
    config
        Which heads there are.
    labels
        Labels with `config.label_margin` voxels (z, y, x) around the patch; 0 is unlabelled.
    masks
        Masks (class, z, y, x) of the patch: 0, 1 or `UNKNOWN`.

    Returns
    -------
    target, known
        Arrays (channel, z, y, x) in the order of `Architecture.heads`.
    """
    architecture, margin = config.architecture, config.label_margin
    same, known = affinity_targets(labels, offsets_of(architecture.long_range) * architecture.affinities, margin)
    parts: list[tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]] = [(same, known)]
    if architecture.shape_descriptors:
        own = config.descriptor_margin
        around = [m - n for m, n in zip(margin, own, strict=True)]
        near = labels[tuple(slice(a, n - a) for a, n in zip(around, labels.shape, strict=True))]
        options = config.shape_descriptors
        described = shape_descriptors(near, options.sigma(config.voxel_size_nm), options.step)
        inner = near[tuple(slice(m, n - m) for m, n in zip(own, near.shape, strict=True))]
        parts.append((described, np.broadcast_to(inner != 0, described.shape)))
    parts.append(class_targets(masks))
    target, mask = (np.concatenate(each) for each in zip(*parts, strict=True))
    return target.astype(np.float32), mask


def _draw_place(
    images: Sequence[LabelledImage], config: Training, random: np.random.Generator
) -> tuple[LabelledImage, Triple]:
    focused, output = _draw_focused(images, config, random), config.patch
    if focused is not None:
        return focused
    places = [[n - p + 1 for n, p in zip(image.shape, output, strict=True)] for image in images]
    weights = np.array([np.prod(place) for place in places], np.float64)
    chosen = random.choice(len(images), p=weights / weights.sum())
    return images[chosen], as_triple([int(random.integers(n)) for n in places[chosen]])


def _draw_focused(
    images: Sequence[LabelledImage], config: Training, random: np.random.Generator
) -> tuple[LabelledImage, Triple] | None:
    """Draw a voxel of a class that wants patches of its own, and a patch that holds it; None for a free place."""
    names = config.class_names
    shares = [config.class_head(name).focus for name in names]
    if not any(shares):
        return None
    number = int(np.searchsorted(np.cumsum(shares), random.random(), side="right"))
    if number == len(names):
        return None
    sizes = np.array([image.inside[names[number]].size for image in images])
    if not sizes.any():
        return None
    source = images[random.choice(len(images), p=sizes / sizes.sum())]
    voxel = np.unravel_index(int(random.choice(source.inside[names[number]])), source.shape)
    start = [
        min(max(int(v) - int(random.integers(p)), 0), n - p)
        for v, p, n in zip(voxel, config.patch, source.shape, strict=True)
    ]
    return source, as_triple(start)


def _at(start: Triple, shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
