"""Where flood filling starts: the places that lie farthest from edges of the image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

THRESHOLD_WIDTH = 49.0 / 6.0
"""Standard deviation in voxels of the Gaussian that an edge is compared with."""
MIN_DISTANCE = 3
"""No two seeds are so near to each other along all axes, nor to the border."""
TIE_BREAK = 1e-4
"""Random numbers below this are added to distances, so that a plateau has one peak."""
TIE_SEED = 42


def boundary_peaks(image: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return the peaks of the distance to the nearest edge.

    Edges are where the gradient (Sobel) is above its mean around the voxel, weighted by a Gaussian.

    Parameters
    ----------
    image : float32 array, shape (z, y, x)
        Grey values, in any units: scale and offset do not matter.

    Returns
    -------
    int64 array, shape (n, 3)
        Seeds (z, y, x) in C order; none where there are no edges at all.

    Notes
    -----
    O(voxels), some 20 bytes per voxel. The seed policy of the published inference (``PolicyPeaks`` in
    github.com/google/ffn), random numbers included: they depend on the shape of the image alone.
    """
    from scipy import ndimage  # half a second, which workers that fill nothing need not wait for

    edges = ndimage.generic_gradient_magnitude(image.astype(np.float32), ndimage.sobel)
    is_edge = edges > ndimage.gaussian_filter(edges, THRESHOLD_WIDTH, mode="reflect")
    del edges
    if not is_edge.any():
        return np.zeros((0, 3), np.int64)
    distance = ndimage.distance_transform_edt(~is_edge).astype(np.float32)
    height = distance + np.random.RandomState(TIE_SEED).random_sample(image.shape) * TIE_BREAK
    return _peaks(height)


def _peaks(height: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Positive local maxima of a cube of 2 `MIN_DISTANCE` + 1 voxels, away from the border, in C order."""
    from scipy import ndimage

    highest = ndimage.maximum_filter(height, size=2 * MIN_DISTANCE + 1, mode="nearest")
    is_peak = (height == highest) & (height > 0)
    inside = np.zeros_like(is_peak)
    inside[(slice(MIN_DISTANCE, -MIN_DISTANCE),) * 3] = True
    return np.argwhere(is_peak & inside).astype(np.int64)
