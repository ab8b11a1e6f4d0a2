"""Whether two objects are one, by filling both anew where they touch.

Source: Januszewski et al. 2018, Nature Methods 15:605 ("FFN resegmentation"); what is measured is as in
github.com/google/ffn (resegmentation, resegmentation_analysis).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectome.geometry import Triple, as_triple
from connectome.models.flood_filling import FillOptions, advance, logit
from connectome.models.flood_filling_network import FloodFillingNetwork
from connectome.models.object_growth import Growth, fits

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PairScores:
    """What two fills, one from a seed in each of two objects, say of them.

    Attributes
    ----------
    a_from_a, b_from_a, a_from_b, b_from_b : float
        Recovered shares: of the object's voxels, how many the fill from the seed in a (in b) holds.
    overlap : float
        Intersection over union of both fills.
    deleted : float
        Voxels that a fill took back (at least 0.8, then below 1/2), as a share of its voxels; the larger of both.
    """

    a_from_a: float = 0.0
    b_from_a: float = 0.0
    a_from_b: float = 0.0
    b_from_b: float = 0.0
    overlap: float = 0.0
    deleted: float = 0.0

    @property
    def recovered(self) -> float:
        """The least of the recovered shares."""
        return min(self.a_from_a, self.b_from_a, self.a_from_b, self.b_from_b)


def resegment_pair(
    network: FloodFillingNetwork,
    image: npt.NDArray[np.uint8],
    objects: tuple[Mask, Mask],
    obstacles: Mask,
    options: FillOptions,
    voxel_size_nm: Sequence[float],
) -> PairScores:
    """Fill a subvolume from a seed in each of two objects, each with the way through the other one free.

    Parameters
    ----------
    network : FloodFillingNetwork
    image : uint8 array, shape (z, y, x)
        The subvolume, with the contact in its middle.
    objects : pair of bool arrays of the same shape
        The objects a and b.
    obstacles : bool array of the same shape
        Voxels of other objects: no field of view is centred there, and no fill holds them.
    options : FillOptions
    voxel_size_nm : sequence of float
        Voxel size (z, y, x), for the seeds: the places of an object that lie deepest in it.

    Returns
    -------
    PairScores
        All 0 where an object has no place for a seed, with a whole field of view around it.

    Notes
    -----
    Two fills, compared where a field of view can be centred: nearer to the border of the subvolume they end for want of
    image, and the published analysis has a radius of its own that leaves this out. 4 bytes per voxel for obstacles, 8
    for distances and 4 for each fill.
    """
    labels = obstacles.astype(np.int32)
    seeds = [deepest_place(each, network.field_of_view, voxel_size_nm) for each in objects]
    if None in seeds:
        return PairScores()
    growths = [Growth(options.rule(network), labels, seed) for seed in seeds if seed is not None]
    normalised = network.normalised(image)
    while any(growth.position is not None for growth in growths):
        advance(network, normalised, growths)
    fills = []
    for growth in growths:
        fill = np.zeros(image.shape, np.bool_)
        if not growth.is_weak:
            box, mask = growth.mask(logit(options.segment_threshold))
            fill[box] = mask & ~obstacles[box]
        fills.append(fill)
    deleted = max(
        growth.n_deleted / max(1, int(np.count_nonzero(fill))) for growth, fill in zip(growths, fills, strict=True)
    )
    inside = _where_fields_fit(image.shape, network.field_of_view)
    a, b, from_a, from_b = (mask[inside] for mask in (*objects, *fills))
    return pair_scores((a, b), (from_a, from_b), deleted)


def pair_scores(objects: tuple[Mask, Mask], fills: tuple[Mask, Mask], deleted: float) -> PairScores:
    """Return what the fills from a and from b say of objects that are not empty."""
    a_from_a, b_from_a, a_from_b, b_from_b = (
        float(np.count_nonzero(each & fill) / np.count_nonzero(each)) for fill in fills for each in objects
    )
    common = int(np.count_nonzero(fills[0] & fills[1]))
    union = max(1, int(np.count_nonzero(fills[0] | fills[1])))
    return PairScores(a_from_a, b_from_a, a_from_b, b_from_b, common / union, deleted)


def deepest_place(mask: Mask, field_of_view: Triple, voxel_size_nm: Sequence[float]) -> Triple | None:
    """Return the voxel (z, y, x) of an object farthest from what is outside of it, where a field of view fits.

    The first in C order of several; None where no voxel of the object has a whole field of view around it.
    """
    from scipy import ndimage  # half a second, which workers that fill nothing need not wait for

    inside = np.zeros(mask.shape, np.bool_)
    inside[_where_fields_fit(mask.shape, field_of_view)] = True
    distance = np.where(inside, ndimage.distance_transform_edt(mask, sampling=voxel_size_nm), 0)
    place = as_triple([int(each) for each in np.unravel_index(int(distance.argmax()), mask.shape)])
    return place if mask[place] and fits(place, field_of_view, mask.shape) else None


def _where_fields_fit(shape: tuple[int, ...], field_of_view: Triple) -> tuple[slice, ...]:
    return tuple(slice(n // 2, size - n // 2) for n, size in zip(field_of_view, shape, strict=True))
