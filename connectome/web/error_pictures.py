"""Pictures at the spot of an error: the image, truth, the segmentation, and the borders of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, as_triple
from connectome.runtime.error_spots import Spot
from connectome.runtime.evaluation import Beside
from connectome.store.layout import VoxelSize
from connectome.web.markup import Markup, element
from connectome.web.matching import match_labels
from connectome.web.pictures import figure, scale_bar
from connectome.web.scene import AnyVolume, Layer
from connectome.web.sections import AXES, draw, draw_borders

SIDE = 200
"""Voxels along the finer axis of a picture."""

Plane = npt.NDArray[np.generic]


@dataclass(frozen=True)
class _View:
    """A plane through a spot: its box, the voxel size (rows, columns), and where the spot is in nanometres."""

    box: Box
    normal: int
    size_nm: tuple[float, float]
    spot_nm: tuple[float, float]

    @property
    def plane(self) -> str:
        return AXES.replace(AXES[self.normal], "")


def error_pictures(beside: Beside, image: AnyVolume | None, spot: Spot, voxel_size_nm: VoxelSize) -> Markup:
    """Return a row of figures of the plane through `spot`; without an image the others lie on black."""
    view = _view(beside.whole, spot, voxel_size_nm)
    segments, truth = (each.squeeze(axis=view.normal) for each in beside.read_known(view.box))
    below = None if image is None else _grey(image, beside.whole, view)
    colours = match_labels([(truth, segments)])
    labels = Layer("labels", "labels", beside.truth)
    figures = [] if below is None else [_figure("image", [below], view)]
    figures += [
        _figure("truth, in the colours of its best segments", [below, draw(labels, truth, colours)], view),
        _figure("segmentation", [below, draw(labels, segments)], view),
        _figure("borders: truth green, segmentation magenta, both white", [below, draw_borders(truth, segments)], view),
    ]
    return element("div", *figures, class_=f"row of-{len(figures)}")


def _view(whole: Box, spot: Spot, voxel_size_nm: VoxelSize) -> _View:
    """Cut a square of the plane around the spot, as much of it as lies in the volume."""
    axes = [axis for axis in range(3) if axis != spot.normal]
    side_nm = SIDE * min(voxel_size_nm[axis] for axis in axes)
    start, stop = list(spot.voxel), [n + 1 for n in spot.voxel]
    for axis in axes:
        n = min(round(side_nm / voxel_size_nm[axis]), whole.shape[axis])
        start[axis] = min(max(spot.voxel[axis] - n // 2, whole.start[axis]), whole.stop[axis] - n)
        stop[axis] = start[axis] + n
    rows, columns = (voxel_size_nm[axis] for axis in axes)
    y, x = ((spot.voxel[axis] - start[axis] + 0.5) * voxel_size_nm[axis] for axis in axes)
    return _View(Box(as_triple(start), as_triple(stop)), spot.normal, (rows, columns), (y, x))


def _grey(image: AnyVolume, whole: Box, view: _View) -> str:
    plane = image.read(view.box.relative_to(whole.start).shift(image.box.start))
    return draw(Layer("image", "image", image), plane.squeeze(axis=view.normal))


def _figure(caption: str, urls: list[str | None], view: _View) -> Markup:
    rows, columns = (n for axis, n in enumerate(view.box.shape) if axis != view.normal)
    width, height = columns * view.size_nm[1], rows * view.size_nm[0]
    size = {"width": f"{width:g}", "height": f"{height:g}", "preserveAspectRatio": "none"}
    layers = [element("image", href=url, **size) for url in urls if url is not None]
    over = (_mark(view, width), scale_bar(width, height))
    return figure(f"{view.plane} plane: {caption}", caption, *layers, *over, width=width, height=height)


def _mark(view: _View, width: float) -> Markup:
    """Return a ring around the spot, which hides nothing of it."""
    y, x = view.spot_nm
    ring = {"cx": f"{x:g}", "cy": f"{y:g}", "r": f"{width / 16:g}", "stroke_width": f"{width / 160:g}"}
    return element("circle", **ring, class_="mark", fill="none", stroke="#ffd400")
