"""Training examples of flood filling: a subvolume about a place, and which of its voxels belong to the object there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.geometry import Box, Triple, as_triple
from connectome.models.augmentation import Augmentation
from connectome.models.samples import LabelledImage, changed_patch

OUTSIDE, INSIDE = 0.05, 0.95
"""What the network is taught of voxels outside and inside of the object."""
SHARES = (0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Where one class of places ends and the next begins: the share of the subvolume that their object fills."""
N_PLACES = 10_000
"""Places that are drawn and divided into classes; examples are drawn from them."""


@dataclass(frozen=True)
class ObjectSample:
    """A subvolume (z, y, x): normalised image, what the object map shall be, and where that is known."""

    image: npt.NDArray[np.float32]
    target: npt.NDArray[np.float32]
    known: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """Where a subvolume begins."""

    image: LabelledImage
    start: Triple


@lru_cache(maxsize=4)
def places_by_share(images: tuple[LabelledImage, ...], shape: Triple, seed: int) -> list[list[Place]]:
    """Return labelled places, in classes of the share of their subvolume that the object in the centre fills.

    Parameters
    ----------
    images
        At least as large as a subvolume; places are drawn uniformly over all of them.
    shape
        Of a subvolume (z, y, x), odd.
    seed
        Of what is drawn.

    Raises
    ------
    InputError
        If there is no label at any of them.

    Notes
    -----
    Thin processes are rare by volume: with the classes drawn alike, the network sees them as often as somata.
    Januszewski et al. 2018 (Nature Methods 15:605) classify all voxels of their volumes; here it is `N_PLACES` of them.
    """
    random = np.random.default_rng(seed)
    rooms = [[n - s + 1 for n, s in zip(image.shape, shape, strict=True)] for image in images]
    sizes = np.prod(rooms, axis=1, dtype=np.float64)
    classes: list[list[Place]] = [[] for _ in range(len(SHARES) + 1)]
    for number in random.choice(len(images), size=N_PLACES, p=sizes / sizes.sum()):
        start = as_triple([int(random.integers(n)) for n in rooms[number]])
        labels = images[number].labels[Box.of_shape(shape).shift(start).slices]
        label = _central(labels)
        if label:
            share = float(np.count_nonzero(labels == label) / labels.size)
            classes[int(np.searchsorted(SHARES, share))].append(Place(images[number], start))
    if not any(classes):
        raise InputError("no labels are where a training patch can be centred: choose a smaller patch or other boxes")
    return [each for each in classes if each]


def draw_object(
    places: Sequence[Sequence[Place]],
    shape: Triple,
    normalisation: tuple[float, float],
    augmentation: Augmentation | None,
    random: np.random.Generator,
) -> ObjectSample:
    """Draw one subvolume, all classes of places alike; the object is that in its centre."""
    label = 0
    while label == 0:  # sections that are out of place may bring an unlabelled voxel to the centre
        among = places[int(random.integers(len(places)))]
        place = among[int(random.integers(len(among)))]
        image, labels, _ = changed_patch(place.image, place.start, shape, normalisation, augmentation, random)
        label = _central(labels)
    target = np.where(labels == label, INSIDE, OUTSIDE).astype(np.float32)
    return ObjectSample(image, target, (labels != 0).astype(np.float32))


def _central(labels: npt.NDArray[np.int64]) -> int:
    return int(labels[tuple(n // 2 for n in labels.shape)])
