"""Zarr arrays (v2 and v3): their metadata, and bare ones that are no part of an OME-Zarr group.

A bare array keeps its place in the attributes that most tools of the field write: ``resolution`` (or
``voxel_size``) and ``offset``, in nanometres, in the order of the array's axes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from connectome.geometry import Triple
from connectome.store.layout import (
    Blueprint,
    Layout,
    Request,
    array_spec,
    level_starts,
    nanometres_of,
    voxel_size,
    whole_voxels,
)
from connectome.store.locations import StoreError
from connectome.store.pyramid import level_shape, shard_shape


def v3_metadata(request: Request, factor: Triple) -> dict[str, Any]:
    """Return the metadata of a sharded zarr v3 array: zstd and a checksum on every chunk."""
    channels = [] if request.n_channels is None else [request.n_channels]
    shard, chunk = shard_shape(request.box.shape, request.write_shape, factor, request.chunk)
    # Of grey levels, more than the lowest level takes three times as long and saves nothing.
    level = 1 if request.dtype.itemsize == 1 else 3
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    sharding = {
        "chunk_shape": [*channels, *chunk],
        "codecs": [
            {"name": "bytes"} if request.dtype.itemsize == 1 else little,
            {"name": "zstd", "configuration": {"level": level, "checksum": False}},
            {"name": "crc32c"},
        ],
        "index_codecs": [little, {"name": "crc32c"}],
        "index_location": "end",
    }
    return {
        "shape": [*channels, *level_shape(request.box.shape, factor)],
        "data_type": request.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [*channels, *shard]}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "dimension_names": [*("c" for _ in channels), "z", "y", "x"],
        "fill_value": _zero(request),
    }


def v2_metadata(request: Request, factor: Triple) -> dict[str, Any]:
    """Return the metadata of a zarr v2 array; it has chunks and no shards."""
    channels = [] if request.n_channels is None else [request.n_channels]
    _, chunk = shard_shape(request.box.shape, request.write_shape, factor)
    return {
        "shape": [*channels, *level_shape(request.box.shape, factor)],
        "chunks": [*channels, *chunk],
        "dtype": request.dtype.newbyteorder("<").str,
        "compressor": {"id": "zstd", "level": 3},
        "dimension_separator": "/",
        "order": "C",
        "filters": None,
        "fill_value": _zero(request),
    }


def _zero(request: Request) -> Any:
    return False if request.dtype.kind == "b" else 0


def read_bare(url: str, node: Mapping[str, Any], attributes: Mapping[str, Any], driver: str) -> Layout:
    """Understand a bare array: its metadata `node` and its attributes."""
    rank = len(node["shape"])
    names = node.get("dimension_names") or attributes.get("axis_names") or attributes.get("_ARRAY_DIMENSIONS")
    axes = "".join(str(name)[:1] for name in names or "").lower()
    if len(axes) != rank or not set("zyx") <= set(axes):
        axes = "czyx"[-rank:]
    if rank not in (3, 4) and axes == "czyx"[-rank:]:
        raise StoreError(f"{url} has {rank} dimensions; wanted are 3 (z y x) or 4 (c z y x)")
    stated = attributes.get("resolution", attributes.get("voxel_size"))
    where = _spatial_positions(axes, stated)
    units = attributes.get("units") or ["nm"] * len(axes)
    units = [units] * len(axes) if isinstance(units, str) else list(units)
    spatial_units = [nanometres_of(units[i]) for i in _spatial_positions(axes, units)]
    size = offset = None
    if stated is not None:
        size = voxel_size(stated[i] * unit for i, unit in zip(where, spatial_units, strict=True))
    if (corner := attributes.get("offset")) is not None:
        positions = _spatial_positions(axes, corner)
        offset = [float(corner[i]) * unit for i, unit in zip(positions, spatial_units, strict=True)]
    start = whole_voxels(offset or (0, 0, 0), size)
    return Layout(
        specs=[array_spec(url, "", driver)],
        axes=axes,
        factors=[(1, 1, 1)],
        starts=level_starts(start, [(1, 1, 1)]),
        voxel_size_nm=size,
        has_channels="c" in axes,
    )


def _spatial_positions(axes: str, values: Any) -> list[int]:
    """Find z, y, x in a list that has one value per axis, or per spatial axis only."""
    order = axes if values is None or len(values) == len(axes) else [a for a in axes if a in "zyx"]
    return [order.index(axis) for axis in "zyx"]


def place_attributes(request: Request) -> dict[str, Any]:
    """Return the attributes that say where a bare array lies (z, y, x, in nanometres)."""
    corner = [nm * a for nm, a in zip(request.voxel_size_nm, request.box.start, strict=True)]
    return {"resolution": list(request.voxel_size_nm), "offset": corner, "units": ["nm", "nm", "nm"]}


def create_bare_v3(url: str, request: Request) -> Blueprint:
    """Describe a bare zarr v3 array."""
    _refuse_levels(request)
    metadata = v3_metadata(request, (1, 1, 1)) | {"attributes": place_attributes(request)}
    return Blueprint([array_spec(url, "", "zarr3") | {"metadata": metadata}])


def create_bare_v2(url: str, request: Request) -> Blueprint:
    """Describe a bare zarr v2 array and its attributes."""
    _refuse_levels(request)
    array = array_spec(url, "", "zarr") | {"metadata": v2_metadata(request, (1, 1, 1))}
    return Blueprint([array], {".zattrs": json.dumps(place_attributes(request))})


def _refuse_levels(request: Request) -> None:
    if len(request.factors) > 1:
        raise StoreError(
            f"a bare zarr array has one level, got {len(request.factors)}; take ome-zarr-0.5 for a pyramid"
        )
