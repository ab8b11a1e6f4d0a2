"""OME-Zarr groups: 0.5 (zarr v3, sharded; the project's own format) and 0.4 (zarr v2).

The metadata place voxel centres, so a level pooled by f starts at ``(offset + (f - 1) / 2) * size``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from connectome.geometry import as_triple
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
from connectome.store.zarr_array import v2_metadata, v3_metadata

Placement = tuple[list[float], list[float]]


def read_group(url: str, attributes: dict[str, Any], driver: str) -> Layout:
    """Understand the group's `attributes` (those with ``multiscales``)."""
    try:
        multiscale = attributes["multiscales"][0]
        axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in multiscale.get("axes", "tczyx")]
        names = "".join(str(axis["name"])[0] for axis in axes).lower()
        datasets = multiscale["datasets"]
        common = multiscale.get("coordinateTransformations", [])
        is_placed = bool(common or datasets[0].get("coordinateTransformations"))
        placed = [_place(dataset, common, len(names)) for dataset in datasets]
        where = [names.index(axis) for axis in "zyx"]
        units = [nanometres_of(axes[position].get("unit")) for position in where]
        scales = [[scale[i] * unit for i, unit in zip(where, units, strict=True)] for scale, _ in placed]
        size = voxel_size(scales[0])
        corner = [placed[0][1][i] * unit for i, unit in zip(where, units, strict=True)]
        paths = [str(dataset["path"]) for dataset in datasets]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise StoreError(f"{url} has multiscales metadata that cannot be understood: {error!r}") from error
    factors = [as_triple([round(a / b) for a, b in zip(scale, size, strict=True)]) for scale in scales]
    return Layout(
        specs=[array_spec(url, path, driver) for path in paths],
        axes=names,
        factors=factors,
        starts=level_starts(whole_voxels(corner, size), factors),
        voxel_size_nm=size if is_placed else None,
        has_channels="c" in names,
    )


def _place(dataset: dict[str, Any], common: Sequence[dict[str, Any]], n: int) -> Placement:
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
    n = 0 if request.n_channels is None else 1
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}][:n]
    axes += [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    datasets = []
    for level, factor in enumerate(request.factors):
        translation = [
            nm * (start + (f - 1) / 2)
            for nm, start, f in zip(request.voxel_size_nm, request.box.start, factor, strict=True)
        ]
        steps = [
            {"type": "scale", "scale": [1.0] * n + list(request.level_size_nm(factor))},
            {"type": "translation", "translation": [0.0] * n + translation},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    return {"name": name, "axes": axes, "datasets": datasets}


def create_v05(url: str, request: Request) -> Blueprint:
    """Describe a 0.5 group."""
    ome = {"version": "0.5", "multiscales": [multiscales(request, url.rpartition("/")[2])]}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
    arrays = [
        array_spec(url, str(level), "zarr3") | {"metadata": v3_metadata(request, factor)}
        for level, factor in enumerate(request.factors)
    ]
    return Blueprint(arrays, {"zarr.json": json.dumps(group, indent=1)})


def create_v04(url: str, request: Request) -> Blueprint:
    """Describe a 0.4 group."""
    entry = multiscales(request, url.rpartition("/")[2]) | {"version": "0.4"}
    arrays = [
        array_spec(url, str(level), "zarr") | {"metadata": v2_metadata(request, factor)}
        for level, factor in enumerate(request.factors)
    ]
    attributes = json.dumps({"multiscales": [entry]}, indent=1)
    return Blueprint(arrays, {".zgroup": '{"zarr_format": 2}', ".zattrs": attributes})
