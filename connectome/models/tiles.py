"""Where the tiles of a network lie, and what image they read: integers only, no torch.

Tiles lie on one grid anchored at the start of the *domain* (the whole volume), and a tile's shape
follows from its place alone, so a voxel is computed in the same tile, from the same image, whatever box
asks for it. Beyond the domain the image is reflected, a pure function of the coordinate.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Grid, Halo, Triple, as_triple

Image = npt.NDArray[np.uint8]


def reflect(start: int, stop: int, low: int, high: int) -> npt.NDArray[np.intp]:
    """Return for each coordinate in [start, stop) the one in [low, high) that it mirrors.

    The first and last voxel are not doubled (2 1 0 1 2), and the pattern goes on for ever, so a halo
    may be larger than the volume.
    """
    last = high - low - 1
    if last == 0:
        return np.full(stop - start, low, np.intp)
    folded = np.arange(start - low, stop - low, dtype=np.intp) % (2 * last)
    return low + np.minimum(folded, 2 * last - folded)


def tiles_of(box: Box, domain: Box, tile_shape: Triple, tile_step: Triple) -> Iterator[Box]:
    """Yield the output boxes of all tiles that meet `box`, in C order.

    A tile at the domain's far faces ends at the first multiple of `tile_step` that covers the domain.
    """
    positions = Grid(domain, tile_shape).covering(box)
    for index in np.ndindex(*positions.shape):
        place = [a + i for a, i in zip(positions.start, index, strict=True)]
        spans = [_tile_span(p, n, s, e) for p, n, s, e in zip(place, tile_shape, tile_step, domain.shape, strict=True)]
        start, stop = zip(*spans, strict=True)
        yield Box(as_triple(start), as_triple(stop)).shift(domain.start)


def image_box(halo: Halo, tile_step: Triple, tile_shape: Triple, domain: Box, box: Box) -> Box:
    """Return the part of the domain whose image is read by the tiles that meet `box`."""
    tiles = list(tiles_of(box, domain, tile_shape, tile_step))
    if not tiles:
        return Box(domain.start, domain.start)
    read = Box(tiles[0].start, tiles[-1].stop).grow(halo)
    spans = [reflect(*span) for span in zip(read.start, read.stop, domain.start, domain.stop, strict=True)]
    return Box(as_triple([int(span.min()) for span in spans]), as_triple([int(span.max()) + 1 for span in spans]))


def gather(image: Image, image_start: Triple, box: Box, domain: Box) -> Image:
    """Return the image of `box`, reflected where it leaves the domain.

    Parameters
    ----------
    image
        Image (z, y, x), uint8, that holds every voxel that `box` shows or mirrors.
    image_start
        Voxel of the volume that is the image's first.
    box, domain
        What is wanted, and the volume.
    """
    spans = zip(box.start, box.stop, domain.start, domain.stop, strict=True)
    indices = [reflect(*span) - first for span, first in zip(spans, image_start, strict=True)]
    return np.ascontiguousarray(image[np.ix_(*indices)])


def _tile_span(place: int, size: int, step: int, extent: int) -> tuple[int, int]:
    start = place * size
    covering = -(-(extent - start) // step) * step
    return start, start + min(size, covering)
