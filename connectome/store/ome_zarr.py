"""OME-Zarr groups: 0.5 (zarr v3, sharded; the project's own format) and 0.4 (zarr v2).

The metadata place voxel centres, so a level pooled by f starts at ``(offset + (f - 1) / 2) * size``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from connectome.geometry import Triple, as_triple
from connectome.store.layout import Layout, Request
from connectome.store.locations import Spec, StoreError, kvstore_spec, write_key
from connectome.store.pyramid import level_shape, shard_shape

NANOMETRES = {
    "angstrom": 0.1,
    "nanometer": 1.0,
    "micrometer": 1e3,
    "millimeter": 1e6,
    "centimeter": 1e7,
    "meter": 1e9,
}


def array_spec(url: str, path: str, driver: str) -> Spec:
    """Return the TensorStore spec of the array at ``url/path``."""
    return {"driver": driver, "kvstore": kvstore_spec(url, path)}


def read_group(url: str, attributes: dict[str, Any], driver: str) -> Layout:
    """Understand the group's `attributes` (those with ``multiscales``)."""
    try:
        multiscale = attributes["multiscales"][0]
        axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in multiscale.get("axes", [])]
        axes = axes or [{"name": name} for name in "tczyx"]
        names = "".join(str(axis["name"]) for axis in axes)
        datasets = multiscale["datasets"]
        paths = [str(dataset["path"]) for dataset in datasets]
        common = multiscale.get("coordinateTransformations", [])
        placed = [_place(dataset, common, len(names)) for dataset in datasets]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise StoreError(f"{url} has multiscales metadata that cannot be understood: {error!r}") from error
    units = [NANOMETRES.get(str(axes[names.index(axis)].get("unit", "nanometer")), 1.0) for axis in "zyx"]
    scales = [[scale[names.index(axis)] for axis in "zyx"] for scale, _ in placed]
    translation = [placed[0][1][names.index(axis)] for axis in "zyx"]
    factors = [as_triple([round(a / b) for a, b in zip(scale, scales[0], strict=True)]) for scale in scales]
    is_placed = bool(datasets[0].get("coordinateTransformations") or common)
    size = [s * unit for s, unit in zip(scales[0], units, strict=True)]
    return Layout(
        specs=[array_spec(url, path, driver) for path in paths],
        axes=names,
        factors=factors,
        voxel_size_nm=(size[0], size[1], size[2]) if is_placed else None,
        offset=as_triple([round(t / s) for t, s in zip(translation, scales[0], strict=True)]),
        has_channels="c" in names,
    )


def _place(
    dataset: dict[str, Any], common: Sequence[dict[str, Any]], n: int
) -> tuple[list[float], list[float]]:
    scale, translation = [1.0] * n, [0.0] * n
    for step in [*dataset.get("coordinateTransformations", []), *common]:
        if step["type"] == "scale":
            factors = [float(value) for value in step["scale"]]
            scale = [a * b for a, b in zip(scale, factors, strict=True)]
            translation = [a * b for a, b in zip(translation, factors, strict=True)]
        elif step["type"] == "translation":
            translation = [a + float(b) for a, b in zip(translation, step["translation"], strict=True)]
    return scale, translation


def multiscales(request: Request, name: str) -> dict[str, Any]:
    """Return the multiscales entry: axes, and scale and translation of each level in nanometres."""
    channels = [] if request.n_channels is None else [1.0]
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}] if channels else []
    axes += [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    datasets = []
    for level, factor in enumerate(request.factors):
        scale = [nm * f for nm, f in zip(request.voxel_size_nm, factor, strict=True)]
        translation = [
            nm * (start + (f - 1) / 2)
            for nm, start, f in zip(request.voxel_size_nm, request.box.start, factor, strict=True)
        ]
        steps = [
            {"type": "scale", "scale": channels + scale},
            {"type": "translation", "translation": [0.0] * len(channels) + translation},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    return {"name": name, "axes": axes, "datasets": datasets}


def create_v05(url: str, request: Request) -> list[Spec]:
    """Write the 0.5 group and return the specs of its arrays, to be created."""
    ome = {"version": "0.5", "multiscales": [multiscales(request, url.rpartition("/")[2])]}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
    write_key(url, "zarr.json", json.dumps(group, indent=1).encode())
    return [
        array_spec(url, str(level), "zarr3") | {"metadata": zarr3_metadata(request, factor)}
        for level, factor in enumerate(request.factors)
    ]


def zarr3_metadata(request: Request, factor: Triple) -> dict[str, Any]:
    """Return the metadata of a sharded zarr v3 array: zstd and a checksum on every chunk."""
    channels = [] if request.n_channels is None else [request.n_channels]
    shard, chunk = shard_shape(request.box.shape, request.write_shape, factor)
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    if request.dtype.itemsize == 1:
        little = {"name": "bytes"}
    crc = {"name": "crc32c"}
    zstd = {"name": "zstd", "configuration": {"level": 3, "checksum": False}}
    sharding = {
        "chunk_shape": [*channels, *chunk],
        "codecs": [little, zstd, crc],
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, crc],
        "index_location": "end",
    }
    return {
        "shape": [*channels, *level_shape(request.box.shape, factor)],
        "data_type": request.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [*channels, *shard]}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "dimension_names": [*("c" for _ in channels), "z", "y", "x"],
        "fill_value": False if request.dtype.kind == "b" else 0,
    }
