"""Sections through the middle of a scene, as pictures: grey images, coloured labels, affinities."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import PIL.Image

from connectome.geometry import Box, Triple, as_triple
from connectome.store.layout import VoxelSize
from connectome.web.scene import AnyVolume, Kind, Layer

AXES = "zyx"
MOST_PIXELS = 1024
"""Longest side of a section; the mip level follows from it."""
DETAIL_PIXELS = 400
"""Side of the part that is shown at full resolution where the whole is not."""
SHARP_PIXELS = 600
"""Labels are enlarged to this, so that the lines between segments are thin."""
FILL, LINE = 104, 235
"""Opacity of a segment, and of its border."""
FIRST_LINE, SECOND_LINE, BOTH_LINES = (64, 224, 120), (255, 64, 200), (255, 255, 255)
"""Colours of borders where two labellings are compared: green, magenta, white."""
JPEG_QUALITY = 90

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Field:
    """What a picture shows of a volume: a plane, cut out of one level.

    Attributes
    ----------
    normal : int
        Axis that the plane is normal to.
    level : int
    box : Box
        One voxel thick, in voxels of the level, counted from the volume's first one.
    factor : (z, y, x)
        What the level pools.
    """

    normal: int
    level: int
    box: Box
    factor: Triple

    @property
    def plane(self) -> str:
        """Name of the plane: its rows, then its columns."""
        return AXES.replace(AXES[self.normal], "")

    def extent_nm(self, voxel_size_nm: VoxelSize) -> tuple[float, float]:
        """Return width and height in nanometres."""
        sizes = [n * f * nm for n, f, nm in zip(self.box.shape, self.factor, voxel_size_nm, strict=True)]
        rows, columns = (AXES.index(axis) for axis in self.plane)
        return sizes[columns], sizes[rows]


def whole_field(volume: AnyVolume, normal: int) -> Field | None:
    """Return the plane through the middle at the finest level that is small enough, if there is one."""
    for level in range(volume.n_levels):
        shape = volume.level_box(level).shape
        if max(n for axis, n in enumerate(shape) if axis != normal) <= MOST_PIXELS:
            return Field(normal, level, _slab(Box.of_shape(shape), normal), volume.level_factor(level))
    return None


def detail_field(volume: AnyVolume, normal: int) -> Field:
    """Return the middle of the plane at full resolution."""
    shape = volume.box.shape
    cut = [min(n, DETAIL_PIXELS) for n in shape]
    box = Box.of_shape(cut).shift([(n - c) // 2 for n, c in zip(shape, cut, strict=True)])
    return Field(normal, 0, _slab(box, normal), (1, 1, 1))


def _slab(box: Box, normal: int) -> Box:
    middle = (box.start[normal] + box.stop[normal]) // 2
    start, stop = list(box.start), list(box.stop)
    start[normal], stop[normal] = middle, middle + 1
    return Box(as_triple(start), as_triple(stop))


def read_field(layer: Layer, field: Field) -> npt.NDArray[np.generic]:
    """Return the voxels of a field: rows x columns, channels first where there are any."""
    volume = layer.volume
    array = volume.read(field.box.shift(volume.level_box(field.level).start), field.level)
    plane: npt.NDArray[np.generic] = array.squeeze(axis=array.ndim - 3 + field.normal)
    return plane


def draw(layer: Layer, plane: npt.NDArray[np.generic], colours: Mapping[int, int] | None = None) -> str:
    """Return a plane as a data URL: JPEG for images and channels, PNG with transparency for labels.

    `colours` names labels that take the colour of another id.
    """
    return draw_plane(layer.kind, plane, colours)


def draw_plane(kind: Kind, plane: npt.NDArray[np.generic], colours: Mapping[int, int] | None = None) -> str:
    """Return a plane (channels first, if there are any) as `draw` does, without a layer that it comes from."""
    if kind == "labels":
        return _encoded(colour_labels(plane.astype(np.uint64), colours), "PNG")
    if kind == "channels":
        channels = grey(plane)[[min(c, len(plane) - 1) for c in range(3)]]
        return _encoded(np.moveaxis(channels, 0, -1), "JPEG")
    return _encoded(grey(plane), "JPEG")


def grey(plane: npt.NDArray[np.generic]) -> Pixels:
    """Return grey values as bytes; other types are spread over the range that they use."""
    if plane.dtype == np.uint8:
        return plane.astype(np.uint8)
    values = plane.astype(np.float64)
    low, high = np.percentile(values, (0.5, 99.5))
    spread = np.nan_to_num((values - low) / max(high - low, 1e-12) * 255)
    pixels: Pixels = np.clip(spread, 0, 255).astype(np.uint8)
    return pixels


def colour_labels(labels: npt.NDArray[np.uint64], colours: Mapping[int, int] | None = None) -> Pixels:
    """Return labels as RGBA: translucent, their borders nearly opaque, 0 not at all.

    Parameters
    ----------
    labels : uint64 array, shape (rows, columns)
    colours : dict of int to int, optional
        Labels that take the colour of another id.

    Returns
    -------
    uint8 array, shape (rows * n, columns * n, 4)
    """
    repeat = max(1, SHARP_PIXELS // max(labels.shape))
    large = labels.repeat(repeat, axis=0).repeat(repeat, axis=1)
    border = _borders(large)
    ids, index = np.unique(large, return_inverse=True)
    names = np.array([(colours or {}).get(i, i) for i in ids.tolist()], np.uint64)
    picture = np.empty((*large.shape, 4), np.uint8)
    picture[..., :3] = colours_of_ids(names)[index.reshape(large.shape)]
    picture[..., 3] = np.where(large == 0, 0, np.where(border, LINE, FILL))
    return picture


def draw_borders(first: npt.NDArray[np.uint64], second: npt.NDArray[np.uint64]) -> str:
    """Return the borders of two labellings (rows, columns) as a data URL: `FIRST_LINE`, `SECOND_LINE`, `BOTH_LINES`."""
    repeat = max(1, SHARP_PIXELS // max(first.shape))
    one, two = (_borders(each.repeat(repeat, axis=0).repeat(repeat, axis=1)) for each in (first, second))
    picture = np.zeros((*one.shape, 4), np.uint8)
    for where, colour in ((one, FIRST_LINE), (two, SECOND_LINE), (one & two, BOTH_LINES)):
        picture[where] = (*colour, 255)
    return _encoded(picture, "PNG")


def _borders(labels: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    border = np.zeros(labels.shape, np.bool_)
    border[:-1] |= labels[:-1] != labels[1:]
    border[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return border


def colours_of_ids(ids: npt.NDArray[np.uint64]) -> Pixels:
    """Return a vivid colour per id, the same in every picture: uint8, shape (n, 3)."""
    # The finaliser of splitmix64: near ids get far colours.
    mixed = (ids ^ (ids >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    hue = (mixed >> np.uint64(40)).astype(np.float64) / (1 << 24)
    saturation = 0.65 + 0.35 * ((mixed >> np.uint64(20)) & np.uint64(1023)).astype(np.float64) / 1023
    value = 0.8 + 0.2 * ((mixed >> np.uint64(8)) & np.uint64(1023)).astype(np.float64) / 1023
    sector = (hue[:, np.newaxis] * 6 + np.array([5.0, 3.0, 1.0])) % 6
    ramp = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    rgb = value[:, np.newaxis] * (1 - saturation[:, np.newaxis] * ramp)
    colours: Pixels = np.round(255 * rgb).astype(np.uint8)
    return colours


def _encoded(picture: Pixels, kind: str) -> str:
    buffer = io.BytesIO()
    options = {"quality": JPEG_QUALITY, "subsampling": 0} if kind == "JPEG" else {"optimize": False}
    PIL.Image.fromarray(np.ascontiguousarray(picture)).save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
