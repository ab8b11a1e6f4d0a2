"""Affinities from a real dense segmentation: walls with a width, blurred, with seeded noise.

A voxel beside another object (along y or x) or in no object is wall; a pair of voxels is bright if both lie
inside one object and off its wall. That indicator is blurred by half a voxel and scaled to `inside` and
`across`. One smooth noise is shared by all channels, as a network's channels err together, and each channel
has a weak one of its own: they make basins inside objects and weaken walls, so that fragments and
agglomeration have real decisions to make. About a third of all pairs saturate, as in network output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.geometry import Triple

NEAREST: tuple[Triple, ...] = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
LONG_RANGE: tuple[Triple, ...] = (
    *((0, -3, 0), (0, 0, -3), (0, -9, 0), (0, 0, -9)),
    *((-2, 0, 0), (-3, 0, 0), (0, -9, -9), (0, -9, 9), (0, -27, 0)),
)
SLAB = 64
BLUR = (0.5, 0.7, 0.7)


@dataclass(frozen=True)
class Appearance:
    """How affinities look, as probabilities; noise sizes are the widths of two boxes in turn (z, y, x)."""

    inside: float = 0.95
    across: float = 0.05
    shared: float = 0.12
    shared_size: Triple = (7, 21, 21)
    own: float = 0.005
    own_size: Triple = (7, 21, 21)
    seed: int = 40


def derive_affinities(
    segments: npt.NDArray[Any], appearance: Appearance, offsets: Sequence[Triple] = NEAREST
) -> npt.NDArray[np.uint8]:
    """Derive affinities (offsets, z, y, x) of a segmentation, slab by slab: no float copy of the volume.

    A pair's value is stored at the voxel that the offset starts from; pairs that leave the volume are 0.
    Noise is seeded by channel and section, so that slabs do not show.
    """
    affinities = np.zeros((len(offsets), *segments.shape), np.uint8)
    inner = np.where(_walls(segments), 0, segments)
    margin = 2 * max(appearance.shared_size[0], appearance.own_size[0])
    n_sections = segments.shape[0]
    for start in range(0, n_sections, SLAB):
        stop = min(start + SLAB, n_sections)
        low, high = max(0, start - margin), min(n_sections, stop + margin)
        for channel, offset in enumerate(offsets):
            values = _probability(inner, offset, low, high, appearance, channel)
            grey = np.rint(255 * values[start - low : stop - low]).clip(0, 255).astype(np.uint8)
            affinities[channel, start:stop] = grey
    for channel, offset in enumerate(offsets):
        affinities[channel][~_has_partner(segments.shape, offset)] = 0
    return affinities


def _walls(segments: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    walls: npt.NDArray[np.bool_] = segments == 0
    differs = segments[:, 1:] != segments[:, :-1]
    walls[:, 1:] |= differs
    walls[:, :-1] |= differs
    differs = segments[:, :, 1:] != segments[:, :, :-1]
    walls[:, :, 1:] |= differs
    walls[:, :, :-1] |= differs
    return walls


def _probability(
    inner: npt.NDArray[Any], offset: Triple, low: int, high: int, appearance: Appearance, channel: int
) -> npt.NDArray[np.float32]:
    """Affinities along `offset` of the sections `low` to `high`, before they are rounded."""
    from scipy.ndimage import gaussian_filter

    here = inner[low:high]
    together = (here != 0) & (here == _shifted(inner, offset, low, high))
    values: npt.NDArray[np.float32] = gaussian_filter(together.astype(np.float32), BLUR, truncate=2)
    values *= appearance.inside - appearance.across
    values += appearance.across
    for scale, (amount, size) in enumerate(
        ((appearance.shared, appearance.shared_size), (appearance.own, appearance.own_size))
    ):
        if amount:
            values += _noise(here.shape[1:], low, high, size, amount, (appearance.seed, scale * (1 + channel)))
    return values


def _noise(
    section: Sequence[int], low: int, high: int, size: Triple, amount: float, seed: Sequence[int]
) -> npt.NDArray[np.float32]:
    """White noise through two boxes, of standard deviation `amount`."""
    from scipy.ndimage import uniform_filter

    white = np.stack([np.random.default_rng([*seed, z]).standard_normal(section, np.float32) for z in range(low, high)])
    for _ in range(2):
        white = uniform_filter(white, size, output=np.float32, mode="wrap")
    # Two boxes of n make a triangle, the squares of whose weights sum to (2 n^2 + 1) / (3 n^3).
    variance = np.prod([(2 * n**2 + 1) / (3 * n**3) for n in size])
    white *= np.float32(amount / np.sqrt(variance))
    return white


def _shifted(inner: npt.NDArray[Any], offset: Triple, low: int, high: int) -> npt.NDArray[Any]:
    """Labels of the voxels at `offset` from those of the sections `low` to `high`; 0 outside."""
    shifted = np.zeros((high - low, *inner.shape[1:]), inner.dtype)
    target, source = [], []
    for first, last, n, step in zip((low, 0, 0), (high, *inner.shape[1:]), inner.shape, offset, strict=True):
        begin, end = max(first, -step), min(last, n - step)
        if begin >= end:
            return shifted
        target.append(slice(begin - first, end - first))
        source.append(slice(begin + step, end + step))
    shifted[tuple(target)] = inner[tuple(source)]
    return shifted


def _has_partner(shape: Sequence[int], offset: Triple) -> npt.NDArray[np.bool_]:
    inside = np.zeros(shape, np.bool_)
    inside[tuple(slice(max(0, -step), n - max(0, step)) for n, step in zip(shape, offset, strict=True))] = True
    return inside
