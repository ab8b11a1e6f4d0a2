"""N5: one array, or a multi-scale group ``s0``, ``s1``, ...

N5 lists dimensions in the order x, y, z (c), so everything here is turned round. ``resolution`` and
``offset`` are in nanometres; ``transform`` (COSEM) and ``pixelResolution`` (n5-viewer) are read too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from connectome.geometry import Triple, as_triple
from connectome.store.layout import (
    Blueprint,
    Layout,
    Request,
    VoxelSize,
    array_spec,
    level_starts,
    nanometres_of,
    voxel_size,
    whole_voxels,
)
from connectome.store.locations import StoreError
from connectome.store.pyramid import level_shape, shard_shape

ReadJson = Callable[[str, str], dict[str, Any] | None]
N5_TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64")


def read(url: str, read_json: ReadJson) -> Layout | None:
    """Return the layout of the N5 array or multi-scale group at `url`, or None."""
    group = read_json(url, "attributes.json") or {}
    if "dimensions" in group:
        return _layout(url, [""], [group], {})
    levels: list[dict[str, Any]] = []
    while (node := read_json(url, f"s{len(levels)}/attributes.json")) and "dimensions" in node:
        levels.append(node)
    return _layout(url, [f"s{k}" for k in range(len(levels))], levels, group) if levels else None


def _layout(url: str, paths: list[str], levels: list[dict[str, Any]], group: Mapping[str, Any]) -> Layout:
    rank = len(levels[0]["dimensions"])
    named = "".join(str(name)[:1] for name in levels[0].get("axes", "")).lower()
    axes = named if len(named) == rank and set("zyx") <= set(named) else "xyzc"[:rank]
    if not set("xyz") <= set(axes):
        raise StoreError(f"{url} has {rank} dimensions; wanted are 3 (x y z) or 4 (x y z c)")
    size, corner = _place(levels[0], axes)
    if size is None:
        size, corner = _place(group, axes)
    factors = [_factor(node, group, k, size, axes) for k, node in enumerate(levels)]
    return Layout(
        specs=[array_spec(url, path, "n5") for path in paths],
        axes=axes,
        factors=factors,
        starts=level_starts(whole_voxels(corner, size), factors),
        voxel_size_nm=size,
        has_channels="c" in axes,
    )


def _place(node: Mapping[str, Any], axes: str) -> tuple[VoxelSize | None, list[float]]:
    """Return the voxel size and the corner (z, y, x, in nanometres) that the attributes state."""
    zero = [0.0, 0.0, 0.0]
    if transform := node.get("transform"):
        order = [str(axis) for axis in transform["axes"]]
        where = [order.index(axis) for axis in "zyx"]
        units = [nanometres_of(transform.get("units", ["nm"] * len(order))[i]) for i in where]
        size = voxel_size(transform["scale"][i] * unit for i, unit in zip(where, units, strict=True))
        moved = transform.get("translate", [0.0] * len(order))
        return size, [float(moved[i]) * unit for i, unit in zip(where, units, strict=True)]
    stated, units = node.get("resolution"), node.get("units", ["nm"] * len(axes))
    if isinstance(pixel := node.get("pixelResolution", stated), Mapping):
        stated, units = pixel["dimensions"], [pixel.get("unit", "nm")] * len(axes)
    else:
        stated = pixel
    if stated is None:
        return None, zero
    where = [axes.index(axis) for axis in "zyx"]
    factors = [nanometres_of(units[i]) for i in where]
    corner = node.get("offset", [*zero, 0.0])
    return (
        voxel_size(stated[i] * unit for i, unit in zip(where, factors, strict=True)),
        [float(corner[i]) * unit for i, unit in zip(where, factors, strict=True)],
    )


def _factor(node: Mapping[str, Any], group: Mapping[str, Any], level: int, size: VoxelSize | None, axes: str) -> Triple:
    if level == 0:
        return 1, 1, 1
    scales = group.get("scales", group.get("downsamplingFactors"))
    stated = node.get("downsamplingFactors", scales[level] if scales and level < len(scales) else None)
    if stated is not None:
        return as_triple([round(stated[axes.index(axis)]) for axis in "zyx"])
    own, _ = _place(node, axes)
    if own is None or size is None:
        return 2**level, 2**level, 2**level  # the n5-viewer convention where nothing is stated
    return as_triple([round(a / b) for a, b in zip(own, size, strict=True)])


def create(url: str, request: Request) -> Blueprint:
    """Describe an array, or the group of a pyramid."""
    if request.dtype.name not in N5_TYPES:
        raise StoreError(f"N5 holds {', '.join(N5_TYPES)}, got {request.dtype}; convert it first")
    if len(request.factors) == 1:
        metadata = _metadata(request, (1, 1, 1)) | {"n5": "2.0.0"}
        return Blueprint([array_spec(url, "", "n5") | {"metadata": metadata}])
    scales = [factor[::-1] for factor in request.factors]
    group = {"n5": "2.0.0", "multiScale": True, "scales": scales, **_place_attributes(request, (1, 1, 1))}
    arrays = [
        array_spec(url, f"s{level}", "n5") | {"metadata": _metadata(request, factor)}
        for level, factor in enumerate(request.factors)
    ]
    return Blueprint(arrays, {"attributes.json": json.dumps(group)})


def _metadata(request: Request, factor: Triple) -> dict[str, Any]:
    channels = [] if request.n_channels is None else [request.n_channels]
    _, chunk = shard_shape(request.box.shape, request.write_shape, factor)
    return {
        "dimensions": [*level_shape(request.box.shape, factor)[::-1], *channels],
        "blockSize": [*chunk[::-1], *channels],
        "dataType": request.dtype.name,
        "compression": {"type": "gzip", "level": 5},
        "downsamplingFactors": [*factor[::-1], *([1] for _ in channels)],
        **_place_attributes(request, factor),
    }


def _place_attributes(request: Request, factor: Triple) -> dict[str, Any]:
    n = 0 if request.n_channels is None else 1
    size = request.level_size_nm(factor)
    corner = [nm * a for nm, a in zip(request.voxel_size_nm, request.box.start, strict=True)]
    return {
        "axes": ["x", "y", "z", "c"][: 3 + n],
        "units": ["nm", "nm", "nm", ""][: 3 + n],
        "resolution": [*size[::-1], 1.0][: 3 + n],
        "offset": [*corner[::-1], 0.0][: 3 + n],
    }
