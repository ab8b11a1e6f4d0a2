"""Training patches cut along bent axes: turned, stretched, warped elastically, and with sections out of place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from connectome.geometry import Box
from connectome.models.deformation import Deformation

AnyInteger = TypeVar("AnyInteger", bound=np.integer[Any])


def warp_image(image: Tensor, centre: Sequence[float], deformation: Deformation, box: Box) -> npt.NDArray[np.float32]:
    """Cut a warped patch about `centre`, linearly interpolated, reflected outside.

    Parameters
    ----------
    image
        The whole image (1, 1, z, y, x), float32.
    centre
        Place of the deformation's middle in the image (z, y, x), voxels.
    deformation
        How the patch lies in the image.
    box
        What to cut, in the patch's own voxels.
    """
    grid = torch.empty(1, *box.shape, 3)
    for axis, (size, place) in enumerate(zip(image.shape[2:], deformation.places(box), strict=True)):
        # grid_sample wants x first, and -1 and 1 at the first and last voxel.
        scale = 2.0 / max(1, size - 1)
        grid[0, ..., 2 - axis] = torch.from_numpy(scale * (place + centre[axis]) - 1)
    warped = functional.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
    return warped[0, 0].numpy()


def warp_labels(
    labels: npt.NDArray[AnyInteger], centre: Sequence[float], deformation: Deformation, box: Box, outside: int = 0
) -> npt.NDArray[AnyInteger]:
    """Cut a warped patch of labels (..., z, y, x) as `warp_image` does: nearest voxel, else `outside`."""
    indices = []
    known = np.ones(box.shape, np.bool_)
    for axis, (size, place) in enumerate(zip(labels.shape[-3:], deformation.places(box), strict=True)):
        index = np.rint(place + centre[axis]).astype(np.intp)
        known &= (index >= 0) & (index < size)
        indices.append(np.clip(index, 0, size - 1))
    warped = labels[..., indices[0], indices[1], indices[2]]
    warped[..., ~known] = outside
    return warped
