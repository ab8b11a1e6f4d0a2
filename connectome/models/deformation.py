"""Where in the image the voxels of a bent training patch lie: numbers only, no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box

Array = npt.NDArray[np.float64]
Places = list[npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Deformation:
    """Where in the image the voxels of a patch lie. Voxels count from the patch's first output voxel.

    Attributes
    ----------
    middle
        Point of the patch (z, y, x) that stays where it is.
    matrix
        Matrix (3, 3) from offsets in the patch to offsets in the image: turns and stretches.
    box
        Voxels for which the rest is drawn: all that image and labels of the patch hold.
    controls
        Displacements (3, z, y, x) in voxels at the control points of a cubic B-spline; none for no elastic warp.
    spacing
        Voxels (z, y, x) between control points.
    section_offsets
        Displacement (section, 2) along y and x of each section of `box`; none for sections in place.
    """

    middle: tuple[float, float, float]
    matrix: Array
    box: Box
    controls: Array | None = None
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    section_offsets: Array | None = None

    def places(self, box: Box) -> Places:
        """Return for every voxel of `box` its offset from the middle in the image: z, y and x, each (z, y, x)."""
        lines = [np.arange(a, b) - m for a, b, m in zip(box.start, box.stop, self.middle, strict=True)]
        places = []
        for axis in range(3):
            z, y, x = (self.matrix[axis, k] * line for k, line in enumerate(lines))
            places.append(z[:, None, None] + y[None, :, None] + x[None, None, :])
        if self.controls is not None:
            bent = [self._bend(controls, box) for controls in self.controls]
            places = [place + moved for place, moved in zip(places, bent, strict=True)]
        if self.section_offsets is not None:
            inside = slice(box.start[0] - self.box.start[0], box.stop[0] - self.box.start[0])
            for axis, offsets in zip((1, 2), self.section_offsets[inside].T, strict=True):
                places[axis] = places[axis] + offsets[:, None, None]
        return places

    def _bend(self, controls: Array, box: Box) -> Array:
        for axis, (start, stop) in enumerate(zip(box.start, box.stop, strict=True)):
            coordinates = (np.arange(start, stop) - self.box.start[axis]) / self.spacing[axis]
            # Each product replaces the first axis and puts the new one last: after three they are in order again.
            weights = _spline_weights(coordinates, controls.shape[0])
            controls = np.tensordot(controls, weights, axes=([0], [1]))
        return controls


def n_controls(n: int, spacing: float) -> int:
    """Return how many control points a cubic B-spline over `n` voxels has."""
    return int((n - 1) / spacing) + 4


def _spline_weights(coordinates: Array, n: int) -> Array:
    """Return the weights (point, control) of a uniform cubic B-spline; they are positive and add up to 1."""
    first = np.floor(coordinates).astype(np.intp)
    t = coordinates - first
    bases = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    weights = np.zeros((coordinates.size, n))
    for k, basis in enumerate(bases):
        weights[np.arange(coordinates.size), first + k] = basis / 6
    return weights
