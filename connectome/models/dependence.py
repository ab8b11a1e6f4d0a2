"""Which image a foreign network's voxels depend on, by changing parts of it and looking what else changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from connectome.geometry import Triple, as_triple
from connectome.models.network import Network

Image = npt.NDArray[np.uint8]
Predict = Callable[[Image], npt.NDArray[np.float32]]
"""From an image of the network's input shape to probabilities (3, z, y, x) of the tile."""
SEEN = 1e-5
"""Change of a probability from which on a voxel counts as seen; less is the rounding of sums."""


def measure_dependence(network: Network, predict: Predict, image: Image, other: Image) -> tuple[Triple, Triple, Triple]:
    """Return halo before and after a cell of the stride, and the receptive field of its voxels (z, y, x).

    Parameters
    ----------
    network : Network
    predict : callable
        The network, on one tile.
    image, other : uint8 arrays, shape of the network's input
        Two images that differ everywhere.

    Notes
    -----
    Along each axis, all that lies before a plane is replaced by the other image, and then all that lies after one; the
    outputs that change see beyond the plane. Planes move over one stride in the middle of the tile. Twice the stride
    of all axes, and one more, tiles are predicted.

    What is measured is what a network with these weights makes of these images: a voxel's influence of less than
    `SEEN` is not noticed. A network that takes statistics over the tile is: all of its outputs change.
    """
    expected = predict(image)
    low, high, field = [], [], []
    for axis in range(3):
        stride, margin = network.stride[axis], network.halo.low[axis]
        before, after = np.zeros(stride, np.int64), np.zeros(stride, np.int64)
        for plane, is_before in _planes(network, axis):
            changed = _changed(predict, expected, image, other, axis, plane, is_before=is_before)
            # In voxels of the input: each output lies `margin` after its number.
            reach = margin + changed - (plane - 1) if is_before else plane - (margin + changed)
            np.maximum.at(before if is_before else after, changed % stride, reach)
        phase = np.arange(stride)
        low.append(max(0, int((before - phase).max())))
        high.append(max(0, int((after + phase).max()) - stride + 1))
        field.append(int((before + after).max()) + 1)
    return as_triple(low), as_triple(high), as_triple(field)


def _planes(network: Network, axis: int) -> Iterator[tuple[int, bool]]:
    """Yield planes of the input, and whether what lies before them is changed or what lies after."""
    stride, halo = network.stride[axis], network.halo
    n_cells = network.tile[axis] // stride
    first = (n_cells - 1) // 2 * stride
    last = n_cells // 2 * stride + halo.low[axis] + halo.high[axis] + stride - 1
    for step in range(stride):
        yield first + step + 1, True
        yield last - step, False


def _changed(
    predict: Predict,
    expected: npt.NDArray[np.float32],
    image: Image,
    other: Image,
    axis: int,
    plane: int,
    *,
    is_before: bool,
) -> npt.NDArray[np.int64]:
    """Return the numbers along `axis` of the planes of the output that change."""
    part = [slice(None)] * 3
    part[axis] = slice(None, plane) if is_before else slice(plane, None)
    mixed = image.copy()
    mixed[tuple(part)] = other[tuple(part)]
    differs = np.abs(predict(mixed) - expected) > SEEN
    return np.flatnonzero(differs.any(axis=tuple(each for each in range(4) if each != axis + 1)))
