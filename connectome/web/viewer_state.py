"""What the viewer shows at first: layers, place, zoom. A value; nothing is served.

Dimensions stay z, y, x; only the display order is x, y, z, so that the xy panel is a section.
"""

from __future__ import annotations

from collections.abc import Mapping

import neuroglancer
import numpy as np

from connectome.geometry import Box
from connectome.store.layout import VoxelSize
from connectome.web.meshes import MeshSource
from connectome.web.scene import Layer, Scene

PANEL_PIXELS = 380
"""Rough width of one of four panels, for the first zoom."""
SHOWN_AT_FIRST = ("image", "segmentation")
OBLIQUE = (0.35, 0.3, 0.1, 0.88)
"""First orientation of the 3-D panel (quaternion): a corner towards the eye, so that depth shows."""
CHANNELS_SHADER = """
void main() {
  emitRGB(vec3(toNormalized(getDataValue(0)), toNormalized(getDataValue(%d)), toNormalized(getDataValue(%d))));
}
"""


def viewer_state(
    scene: Scene, sources: Mapping[str, str], meshes: Mapping[str, MeshSource]
) -> neuroglancer.ViewerState:
    """Return the first state of a viewer on `scene`.

    Parameters
    ----------
    scene : Scene
    sources : dict of str to str
        URL of the zarr group per layer.
    meshes : dict of str to MeshSource
        Meshes of the label layers that have any.
    """
    state = neuroglancer.ViewerState()
    state.title = f"{scene.url.rstrip('/').rpartition('/')[2]} - connectome"
    state.dimensions = _space(scene.voxel_size_nm)
    state.display_dimensions = ["x", "y", "z"]
    state.position = [(a + b) / 2 for a, b in zip(scene.box.start, scene.box.stop, strict=True)]
    state.cross_section_scale, state.projection_scale = _zoom(scene)
    state.projection_orientation = OBLIQUE
    state.layout = "4panel"
    state.show_slices = not meshes  # they would cut the meshes, but are better than nothing
    state.show_axis_lines = False
    state.cross_section_background_color = "#000000"
    state.projection_background_color = "#101418"
    for layer in scene.layers:
        state.layers[layer.name] = _layer(scene, layer, sources[layer.name], meshes.get(layer.name))
        state.layers[layer.name].visible = layer.name in SHOWN_AT_FIRST or len(scene.layers) == 1
    return state


def _space(size_nm: VoxelSize, n_channels: int | None = None) -> neuroglancer.CoordinateSpace:
    channels = [] if n_channels is None else [("c^", "", 1.0)]
    names, units, scales = zip(*channels, *zip("zyx", ("nm",) * 3, size_nm, strict=True), strict=True)
    return neuroglancer.CoordinateSpace(names=names, units=units, scales=scales)


def _layer(scene: Scene, layer: Layer, url: str, mesh: MeshSource | None) -> neuroglancer.Layer:
    if layer.kind == "image":
        return neuroglancer.ImageLayer(source=url, opacity=1.0, **_contrast(layer))
    if layer.kind == "channels":
        n = layer.volume.n_channels or 1
        transform = neuroglancer.CoordinateSpaceTransform(output_dimensions=_space(scene.voxel_size_nm, n))
        source = neuroglancer.LayerDataSource(url=url, transform=transform)
        return neuroglancer.ImageLayer(
            source=source, opacity=1.0, shader=CHANNELS_SHADER % (min(1, n - 1), min(2, n - 1))
        )
    sources = [url] if mesh is None else [url, _mesh_source(mesh)]
    # Selected segments get meshes; the others stay coloured in the sections, only fainter.
    return neuroglancer.SegmentationLayer(
        source=sources,
        segments=list(mesh.shown) if mesh is not None else [],
        selected_alpha=0.45,
        not_selected_alpha=0.35,
        hide_segment_zero=True,
        ignore_null_visible_set=True,
    )


def _contrast(layer: Layer) -> dict[str, object]:
    """Spread grey values other than 8-bit ones, whose range nobody knows, over what the centre holds."""
    volume = layer.volume
    if np.dtype(volume.dtype) == np.uint8:
        return {}
    level = volume.n_levels - 1
    whole = volume.level_box(level)
    middle = [(a + b) // 2 for a, b in zip(whole.start, whole.stop, strict=True)]
    around = Box((middle[0], middle[1] - 128, middle[2] - 128), (middle[0] + 1, middle[1] + 128, middle[2] + 128))
    low, high = np.percentile(volume.read(around.intersect(whole), level).astype(np.float64), (0.5, 99.5))
    return {"shader_controls": {"normalized": {"range": [float(low), float(max(high, low + 1e-6))]}}}


def _mesh_source(mesh: MeshSource) -> neuroglancer.LayerDataSource:
    matrix = np.concatenate([np.eye(3), np.array(mesh.translation)[:, np.newaxis]], axis=1)
    transform = neuroglancer.CoordinateSpaceTransform(output_dimensions=_space(mesh.size_nm), matrix=matrix)
    return neuroglancer.LayerDataSource(
        url=mesh.volume, transform=transform, enable_default_subsources=False, subsources={"meshes": True}
    )


def _zoom(scene: Scene) -> tuple[float, float]:
    """Return voxels per pixel in the sections, and the extent of the 3-D panel, in the finest voxel."""
    finest = min(scene.voxel_size_nm)
    extent = max(n * nm for n, nm in zip(scene.box.shape, scene.voxel_size_nm, strict=True)) / finest
    shown = [layer for layer in scene.layers if layer.name in SHOWN_AT_FIRST] or list(scene.layers)
    # Farther out than the coarsest level, every chunk of it would be loaded at once.
    coarsest = min((min(layer.volume.level_factor(layer.volume.n_levels - 1)) for layer in shown), default=1)
    return min(extent / PANEL_PIXELS, 4.0 * coarsest), 1.9 * extent
