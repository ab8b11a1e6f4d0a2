"""Any volume as an OME-Zarr 0.5 that exists only while it is asked for, key by key.

Neuroglancer reads chunks over HTTP. Serving them through `Volume` and not as files makes one way for
every format and store: shards, N5, precomputed, npz, ``gs://`` with the user's credentials. Nothing is
copied; a chunk is read when the browser asks for it, from the mip level that the zoom needs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from connectome.geometry import Box, Triple, as_triple
from connectome.store.layout import VoxelSize
from connectome.store.pyramid import CHUNK, chunk_extent
from connectome.store.volume import Volume
from connectome.web.scene import AnyVolume, Layer

ARRAY = "application/octet-stream"
JSON = "application/json"

MOST_VOXELS, FEWEST_VOXELS = 1 << 19, 1 << 15
"""Voxels of a served chunk: a few MB at most, and not so few that requests cost more than voxels."""


class VirtualZarr:
    """The keys of one layer.

    Parameters
    ----------
    layer : Layer
    voxel_size_nm : (z, y, x)
    start : (z, y, x)
        Voxel at which the layer begins, whatever its volume says.
    """

    def __init__(self, layer: Layer, voxel_size_nm: VoxelSize, start: Triple) -> None:
        self._volume, self._size, self._start = layer.volume, voxel_size_nm, start
        self._dtype, self.is_labels = served_dtype(layer), layer.kind == "labels"

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Return content and media type of ``zarr.json``, ``2/zarr.json`` or ``2/c/0/1/5``, or None."""
        if key == "zarr.json":
            return json.dumps(self.group).encode(), JSON
        level, _, rest = key.partition("/")
        if not level.isdecimal() or int(level) >= self._volume.n_levels:
            return None
        if rest == "zarr.json":
            return json.dumps(self.array(int(level))).encode(), JSON
        mark, *index = rest.split("/")
        if mark != "c" or not all(part.isdecimal() for part in index):
            return None
        chunk = self._chunk(int(level), tuple(int(part) for part in index))
        return None if chunk is None else (chunk, ARRAY)

    @cached_property
    def group(self) -> Mapping[str, Any]:
        """Metadata of the group. Voxels begin at corners for Neuroglancer, and at centres for OME."""
        volume = self._volume
        n = 0 if volume.n_channels is None else 1
        axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}][:n]
        axes += [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
        datasets = []
        for level in range(volume.n_levels):
            scale = [nm * f for nm, f in zip(self._size, volume.level_factor(level), strict=True)]
            centre = [nm * first + extent / 2 for nm, first, extent in zip(self._size, self._start, scale, strict=True)]
            steps = [
                {"type": "scale", "scale": [1.0] * n + scale},
                {"type": "translation", "translation": [0.5] * n + centre},
            ]
            datasets.append({"path": str(level), "coordinateTransformations": steps})
        ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
        return {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}

    def array(self, level: int) -> Mapping[str, Any]:
        """Return the metadata of a level's array."""
        n_channels, shape = self._volume.n_channels, self._volume.level_box(level).shape
        channels = () if n_channels is None else (n_channels,)
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [*channels, *shape],
            "data_type": self._dtype.name,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [*channels, *chunk_shape(self._volume, level)]},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "fill_value": 0,
            "dimension_names": ["c", "z", "y", "x"][-3 - len(channels) :],
            "attributes": {},
        }

    def _chunk(self, level: int, index: tuple[int, ...]) -> bytes | None:
        """Return the bytes of a chunk, zeros where it reaches beyond the volume."""
        volume = self._volume
        n = 0 if volume.n_channels is None else 1
        if len(index) != n + 3 or any(index[:n]):
            return None
        whole, shape = volume.level_box(level), chunk_shape(volume, level)
        start = as_triple([a + i * c for a, i, c in zip(whole.start, index[n:], shape, strict=True)])
        box = Box.of_shape(shape).shift(start).intersect(whole)
        if box.is_empty:
            return None
        voxels = volume.read(box, level).astype(self._dtype, copy=False)
        missing = [c - m for c, m in zip(shape, box.shape, strict=True)]
        if any(missing):
            voxels = np.pad(voxels, [(0, 0)] * n + [(0, m) for m in missing])
        return voxels.tobytes()


def chunk_shape(volume: AnyVolume, level: int) -> Triple:
    """Return a chunk that costs few reads: what is stored, cut or joined to a useful size."""
    shape = volume.level_box(level).shape
    written = volume.level_write_shape(level) if isinstance(volume, Volume) else shape
    chunk = [min(n, w) for n, w in zip(shape, written, strict=True)]
    if math.prod(chunk) > MOST_VOXELS:
        chunk = [min(CHUNK, n) if w >= n else chunk_extent(w) for n, w in zip(shape, written, strict=True)]
    while math.prod(chunk) > MOST_VOXELS:
        longest = chunk.index(max(chunk))
        chunk[longest] = -(-chunk[longest] // 2)
    while math.prod(chunk) < FEWEST_VOXELS and chunk != list(shape):
        axis = min((c, a) for a, (c, n) in enumerate(zip(chunk, shape, strict=True)) if c < n)[1]
        chunk[axis] = min(2 * chunk[axis], shape[axis])
    return as_triple(chunk)


def served_dtype(layer: Layer) -> np.dtype[Any]:
    """Return the little-endian type that Neuroglancer knows: labels are unsigned, floats float32."""
    dtype = np.dtype(layer.volume.dtype)
    if dtype.kind == "f":
        return np.dtype("<f4")
    kind = "i" if dtype.kind == "i" and layer.kind != "labels" else "u"
    return np.dtype(f"<{kind}{dtype.itemsize}")
