"""Flood filling of one subvolume: seeds, objects one after the other, and why seeds came to nothing.

Source: Januszewski et al. 2018, Nature Methods 15:605; options and order as in the published inference
(github.com/google/ffn).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.geometry import Triple, as_triple
from connectome.models.flood_filling_network import FloodFillingNetwork
from connectome.models.object_growth import Growth, GrowthRule, fits
from connectome.models.seeds import boundary_peaks

Progress = Callable[["FillStatistics"], None]


@dataclass(frozen=True)
class FillOptions:
    """Options of flood filling; the defaults are those of the published inference on FIB-25.

    Attributes
    ----------
    initial, padding : float
        Probability at the seed, and where nothing is known.
    move_threshold : float
        Least probability at a place for the field of view to move there, and at the seed for an object to stand.
    segment_threshold : float
        A voxel of at least this probability belongs to the object.
    freeze_share : float
        A voxel judged outside (below 1/2) cannot come back where more than this share of the field of view is above
        `move_threshold`; below 0: it can.
    min_boundary_distance : Triple
        No seed starts where another object is so near (z, y, x), in voxels.
    min_segment_size : int
        Objects with fewer new voxels are dropped.
    n_at_once : int
        Objects whose fields of view are evaluated together. See `flood_fill`.
    """

    initial: float = 0.95
    padding: float = 0.05
    move_threshold: float = 0.9
    segment_threshold: float = 0.6
    freeze_share: float = 0.0
    min_boundary_distance: Triple = (1, 1, 1)
    min_segment_size: int = 1000
    n_at_once: int = 1

    def rule(self, network: FloodFillingNetwork) -> GrowthRule:
        """Return what growth needs to know."""
        return GrowthRule(
            network.field_of_view,
            network.deltas,
            initial=logit(self.initial),
            padding=logit(self.padding),
            move_threshold=logit(self.move_threshold),
            freeze_share=self.freeze_share,
        )


@dataclass
class FillStatistics:
    """What flood filling did.

    Attributes
    ----------
    n_seeds : int
        Seeds proposed; each is counted once in what follows, up to `n_objects`.
    n_border : int
        Seeds at which the field of view leaves the image.
    n_inside, n_near : int
        Seeds inside an object, and too near to one.
    n_weak : int
        Seeds whose own probability fell below the threshold of moves.
    n_small : int
        Objects with too few new voxels.
    n_objects : int
        Objects that stand.
    n_fields : int
        Fields of view that the objects, standing or not, took one after the other.
    n_discarded_fields : int
        Fields of view evaluated beside these, in vain, because objects grew together.
    n_voxels : int
        Voxels of the objects.
    """

    n_seeds: int = 0
    n_border: int = 0
    n_inside: int = 0
    n_near: int = 0
    n_weak: int = 0
    n_small: int = 0
    n_objects: int = 0
    n_fields: int = 0
    n_discarded_fields: int = 0
    n_voxels: int = 0

    @property
    def n_seeds_done(self) -> int:
        return self.n_border + self.n_inside + self.n_near + self.n_weak + self.n_small + self.n_objects

    def __add__(self, other: FillStatistics) -> FillStatistics:
        names = [field.name for field in fields(self)]
        return FillStatistics(**{name: getattr(self, name) + getattr(other, name) for name in names})


def logit(probability: float) -> float:
    """Return log(p / (1 - p))."""
    return math.log(probability / (1 - probability))


def advance(network: FloodFillingNetwork, image: npt.NDArray[np.float32], growths: Iterable[Growth]) -> None:
    """Evaluate the next field of view of each object that still grows, all in one batch."""
    active = [growth for growth in growths if growth.position is not None]
    images = np.stack([growth.field_at(image) for growth in active])
    answers = network.predict(images, np.stack([growth.known() for growth in active]))
    for growth, logits in zip(active, answers, strict=True):
        growth.advance(logits)


def flood_fill(
    network: FloodFillingNetwork,
    image: npt.NDArray[np.uint8],
    options: FillOptions | None = None,
    *,
    seeds: Sequence[Sequence[int]] | None = None,
    progress: Progress | None = None,
) -> tuple[npt.NDArray[np.int32], FillStatistics]:
    """Segment an image, one object after the other.

    Parameters
    ----------
    network : FloodFillingNetwork
    image : uint8 array, shape (z, y, x)
    options : FillOptions, optional
        Those of the published inference if not given.
    seeds : sequence of (z, y, x), optional
        Where to start, in this order; `boundary_peaks` of the image if not given.
    progress : callable, optional
        Called with the statistics after every evaluation and every object.

    Returns
    -------
    labels : int32 array, shape of the image
        Objects 1, 2, ... in the order in which they were made; 0 elsewhere.
    statistics : FillStatistics

    Raises
    ------
    InputError
        If the image is not uint8 (z, y, x).

    Notes
    -----
    With ``n_at_once = 1`` every field of view is evaluated alone, in the published order. With more, the objects of
    the next seeds grow together, each on a map of its own, and their fields of view form one batch. They still end in
    the order of their seeds. When one stands, those that follow are dropped if their seed is now inside or near it,
    and begin again if a field of view of theirs was centred in it: each sees what it would have seen alone. So labels
    are those of ``n_at_once = 1`` wherever the hardware gives a field of view the same numbers in a batch as alone, and
    `n_discarded_fields` is the price. The other counts are the same too, but that a seed may count as near an object
    where it would have been inside a later one.

    4 bytes per voxel for labels, 4 for the image and 4 for each object that grows.
    """
    if image.dtype != np.uint8 or image.ndim != 3:
        raise InputError(f"the image must be uint8 with axes z, y, x, got {image.dtype} of shape {image.shape}")
    normalised = network.normalised(image)
    starts = boundary_peaks(normalised) if seeds is None else seeds
    filling = _Filling(network, options or FillOptions(), normalised, [as_triple(seed) for seed in starts])
    while filling.is_busy:
        filling.step()
        if progress is not None:
            progress(filling.statistics)
    return filling.labels, filling.statistics


class _Filling:
    """Seeds that wait, the objects that grow, in the order of their seeds, and those that stand."""

    def __init__(
        self, network: FloodFillingNetwork, options: FillOptions, image: npt.NDArray[np.float32], seeds: list[Triple]
    ) -> None:
        self.labels = np.zeros(image.shape, np.int32)
        self.statistics = FillStatistics(n_seeds=len(seeds))
        self._network, self._options, self._image = network, options, image
        self._rule = options.rule(network)
        self._waiting = deque(seeds)
        self._growing: deque[Growth] = deque()
        self._start()

    @property
    def is_busy(self) -> bool:
        return bool(self._growing)

    def step(self) -> None:
        """Evaluate one batch, or end the object that is first in line."""
        if self._growing[0].position is None:
            self._end(self._growing.popleft())
        else:
            advance(self._network, self._image, self._growing)
        self._start()

    def _start(self) -> None:
        while self._waiting and len(self._growing) < self._options.n_at_once:
            seed = self._waiting.popleft()
            if not self._is_refused(seed):
                self._growing.append(Growth(self._rule, self.labels, seed))

    def _is_refused(self, seed: Triple) -> bool:
        """Tell whether a seed is not tried, and count why."""
        if not fits(seed, self._rule.field_of_view, self.labels.shape):
            self.statistics.n_border += 1
        elif self.labels[seed] > 0:
            self.statistics.n_inside += 1
        elif self._around(seed).any():
            self.statistics.n_near += 1
        else:
            return False
        return True

    def _around(self, seed: Triple) -> npt.NDArray[np.int32]:
        distances = self._options.min_boundary_distance
        return self.labels[tuple(slice(max(0, p - d), p + d + 1) for p, d in zip(seed, distances, strict=True))]

    def _end(self, growth: Growth) -> None:
        self.statistics.n_fields += len(growth.visited)
        if growth.is_weak:
            self.statistics.n_weak += 1
            return
        box, mask = growth.mask(logit(self._options.segment_threshold))
        labels = self.labels[box]
        mask &= labels == 0
        n_voxels = int(mask.sum())
        if n_voxels < self._options.min_segment_size:
            self.statistics.n_small += 1
            return
        self.statistics.n_objects += 1
        self.statistics.n_voxels += n_voxels
        labels[mask] = self.statistics.n_objects
        self._begin_again()

    def _begin_again(self) -> None:
        """Drop or restart the objects whose growth the newest one would have changed."""
        growing, self._growing = self._growing, deque()
        newest = self.statistics.n_objects
        for growth in growing:
            is_refused = self._is_refused(growth.seed)
            if not is_refused and not any(self.labels[place] == newest for place in growth.visited):
                self._growing.append(growth)
                continue
            self.statistics.n_discarded_fields += len(growth.visited)
            if not is_refused:
                self._growing.append(Growth(self._rule, self.labels, growth.seed))
