"""The report's figures: one row per plane, what each volume shows there side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from connectome.errors import InputError
from connectome.store.layout import VoxelSize
from connectome.web.markup import Markup, element, join
from connectome.web.matching import match_labels
from connectome.web.quantities import length
from connectome.web.scene import AnyVolume, Layer, Scene
from connectome.web.sections import AXES, Field, detail_field, draw, read_field, whole_field

SHOWN = ("image", "segmentation", "truth", "affinities")
CAPTIONS = {
    "image": "image",
    "segmentation": "segmentation",
    "truth": "truth, in the colours of its best segments",
    "affinities": "affinities along z (red), y (green), x (blue)",
}
STYLES = {"labels": "overlay"}
"""CSS classes of images by the layer's kind; overlays can be hidden."""
NORMALS = (0, 1, 2)
THINNEST = 12
"""A picture this many times wider than high has no room for a scale bar."""

Choose = Callable[[AnyVolume, int], Field | None]


class Pictures:
    """Draws the figures of a scene. Planes that lie below overlays are embedded once.

    Attributes
    ----------
    notes : list of str
        What could not be drawn, and why.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene, self.notes = scene, list(scene.notes)
        self._layers = [layer for name in SHOWN if (layer := scene.layer(name)) is not None]
        self._embedded: set[str] = set()
        self._truth_colours = self._match()

    def rows(self) -> Markup:
        """Return all figures: the whole volume, and its centre where the whole needs a coarser level."""
        whole = [self._row(normal, whole_field) for normal in NORMALS]
        chosen = [whole_field(layer.volume, normal) for layer in self._layers for normal in NORMALS]
        if all(each is not None and each.level == 0 for each in chosen):
            return join(*whole)
        return join(
            element("p", "The whole volume, from coarser mip levels:", class_="note") if any(whole) else None,
            *whole,
            element("p", "Its centre, at full resolution:", class_="note"),
            *(self._row(normal, detail_field) for normal in NORMALS),
        )

    def _match(self) -> dict[int, int]:
        """Match true cells with segments on the planes that are drawn, if both are there at one level."""
        layers = [self._scene.layer(name) for name in ("truth", "segmentation")]
        planes = []
        for normal in NORMALS:
            drawn = []
            for layer in layers:
                if layer is None or layer.kind != "labels":
                    return {}
                field = whole_field(layer.volume, normal) or detail_field(layer.volume, normal)
                try:
                    drawn.append(read_field(layer, field).astype(np.uint64))
                except (InputError, OSError):
                    return {}  # the figure says why
            if drawn[0].shape == drawn[1].shape:
                planes.append((drawn[0], drawn[1]))
        return match_labels(planes)

    def _row(self, normal: int, choose: Choose) -> Markup | None:
        figures = [drawn for layer in self._layers if (drawn := self._figure(layer, normal, choose)) is not None]
        if not figures:
            return None
        middle = self._scene.box.start[normal] + self._scene.box.shape[normal] // 2
        place = length(middle * self._scene.voxel_size_nm[normal])
        heading = f"{AXES.replace(AXES[normal], '')} plane at {AXES[normal]} = {middle:,} ({place})"
        return join(element("h3", heading), element("div", *figures, class_=f"row of-{len(figures)}"))

    def _figure(self, layer: Layer, normal: int, choose: Choose) -> Markup | None:
        field = choose(layer.volume, normal)
        if field is None:
            return None
        try:
            plane = read_field(layer, field)
            below = self._below(normal, choose) if layer.kind == "labels" else None
        except (InputError, OSError) as error:
            self.notes.append(f"{layer.name} cannot be drawn: {error}")
            return None
        width, height = self._visible_nm(field)
        colours = self._truth_colours if layer.name == "truth" else None
        caption = CAPTIONS[layer.name]
        if layer.kind == "labels" and not plane.any():
            caption += "; nothing is labelled here"
        drawn = _image(
            draw(layer, plane, colours),
            field,
            self._scene.voxel_size_nm,
            class_="overlay" if layer.kind == "labels" else None,
        )
        title = f"{field.plane} plane: {caption}"
        return figure(title, caption, below, drawn, scale_bar(width, height), width=width, height=height)

    def _visible_nm(self, field: Field) -> tuple[float, float]:
        """Return width and height of a field without what a level's last voxels pool beyond the volume."""
        sizes = [n * nm for n, nm in zip(self._scene.box.shape, self._scene.voxel_size_nm, strict=True)]
        rows, columns = (AXES.index(axis) for axis in field.plane)
        width, height = field.extent_nm(self._scene.voxel_size_nm)
        return min(width, sizes[columns]), min(height, sizes[rows])

    def _below(self, normal: int, choose: Choose) -> Markup | None:
        """Return the grey plane for an overlay: the image, or else what the affinities make of it."""
        layer = self._scene.layer("image") or self._scene.layer("affinities")
        field = None if layer is None else choose(layer.volume, normal)
        if layer is None or field is None:
            return None
        name = f"below-{field.plane}-{choose.__name__}"
        if name in self._embedded:
            return element("use", href=f"#{name}")
        self._embedded.add(name)
        plane = read_field(layer, field)
        if layer.kind == "channels":
            layer, plane = Layer(layer.name, "image", layer.volume), plane.mean(axis=0).astype(np.float32)
        return _image(draw(layer, plane), field, self._scene.voxel_size_nm, id=name)


def _image(url: str, field: Field, size_nm: VoxelSize, **attributes: str | None) -> Markup:
    width, height = field.extent_nm(size_nm)
    return element(
        "image", href=url, width=f"{width:g}", height=f"{height:g}", preserveAspectRatio="none", **attributes
    )


def figure(title: str, caption: str, *layers: Markup | None, width: float, height: float) -> Markup:
    """Return what is drawn, the lowest layer first, as a figure; its extent in nanometres."""
    picture = element(
        "svg",
        element("title", title),
        *layers,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        class_="picture",
        style=f"aspect-ratio:{width:g}/{height:g}",
    )
    return element("figure", picture, element("figcaption", caption))


def scale_bar(width: float, height: float) -> Markup | None:
    """Return a bar of a round length, about a quarter of the width."""
    if width > THINNEST * height:
        return None
    power = 10 ** np.floor(np.log10(width / 4))
    long = power * max(step for step in (1, 2, 5) if step * power <= width / 4)
    unit = width / 100
    x, y = width - long - 3 * unit, height - 4 * unit
    bar = {"x": x, "y": y, "width": long, "height": unit, "stroke_width": unit / 4}
    text = {"x": x + long / 2, "y": y - 1.4 * unit, "font_size": 4.4 * unit, "stroke_width": 0.8 * unit}
    return join(
        element("rect", class_="scale-bar", **{key: f"{value:g}" for key, value in bar.items()}),
        element(
            "text",
            length(float(long)),
            class_="scale-text",
            text_anchor="middle",
            **{key: f"{value:g}" for key, value in text.items()},
        ),
    )
