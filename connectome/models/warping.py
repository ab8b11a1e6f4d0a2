"""Training patches cut along turned and stretched axes: more views of the same tissue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from connectome.geometry import Triple

Matrix = npt.NDArray[np.float64]
AnyInteger = TypeVar("AnyInteger", bound=np.integer[Any])


def warp_image(image: Tensor, centre: Sequence[float], matrix: Matrix, shape: Triple) -> npt.NDArray[np.float32]:
    """Cut a warped patch of `shape` about `centre`, linearly interpolated, reflected outside.

    Parameters
    ----------
    image
        The whole image (1, 1, z, y, x), float32.
    centre
        Place of the patch's middle in the image (z, y, x), voxels.
    matrix
        From offsets in the patch to offsets in the image.
    shape
        Of the patch (z, y, x).
    """
    sizes = image.shape[2:]
    grid = torch.empty(1, *shape, 3)
    for axis, size in enumerate(sizes):
        # grid_sample wants x first, and -1 and 1 at the first and last voxel.
        scale = 2.0 / max(1, size - 1)
        terms = [torch.from_numpy((scale * matrix[axis, k]) * _offsets(n)).float() for k, n in enumerate(shape)]
        plane = terms[0][:, None, None] + terms[1][None, :, None] + (scale * centre[axis] - 1)
        torch.add(plane, terms[2][None, None, :], out=grid[0, ..., 2 - axis])
    warped = functional.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
    return warped[0, 0].numpy()


def warp_labels(
    labels: npt.NDArray[AnyInteger], centre: Sequence[float], matrix: Matrix, shape: Triple, outside: int = 0
) -> npt.NDArray[AnyInteger]:
    """Cut a warped patch of labels (..., z, y, x) about `centre`: nearest voxel, `outside` where there is none."""
    places = []
    known = np.ones(shape, np.bool_)
    for axis, size in enumerate(labels.shape[-3:]):
        z, y, x = (matrix[axis, k] * _offsets(n) for k, n in enumerate(shape))
        place = np.rint(z[:, None, None] + y[None, :, None] + x[None, None, :] + centre[axis]).astype(np.intp)
        known &= (place >= 0) & (place < size)
        places.append(np.clip(place, 0, size - 1))
    warped = labels[..., places[0], places[1], places[2]]
    warped[..., ~known] = outside
    return warped


def _offsets(n: int) -> npt.NDArray[np.float64]:
    return np.arange(n, dtype=np.float64) - (n - 1) / 2
