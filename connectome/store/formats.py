"""The formats of volumes: which one lies at a URL, and how each is created."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from connectome.store import n5, ome_zarr, precomputed, zarr_array
from connectome.store.layout import Blueprint, Layout, Request
from connectome.store.locations import StoreError, read_key

Create = Callable[[str, Request], Blueprint]

CREATE: dict[str, Create] = {
    "ome-zarr-0.5": ome_zarr.create_v05,
    "ome-zarr-0.4": ome_zarr.create_v04,
    "zarr-v3": zarr_array.create_bare_v3,
    "zarr-v2": zarr_array.create_bare_v2,
    "n5": n5.create,
    "precomputed": precomputed.create,
    "precomputed-sharded": precomputed.create_sharded,
}
"""Name of a format -> what writes its group's metadata and describes its arrays."""


def find_layout(url: str) -> Layout | None:
    """Return the layout of the volume at `url`, or None where there is none."""
    if (node := read_json(url, "zarr.json")) is not None:
        attributes = node.get("attributes", {})
        ome = attributes.get("ome", attributes)
        if "multiscales" in ome:
            return ome_zarr.read_group(url, ome, "zarr3")
        return zarr_array.read_bare(url, node, attributes, "zarr3") if "shape" in node else None
    if (node := read_json(url, ".zarray")) is not None:
        return zarr_array.read_bare(url, node, read_json(url, ".zattrs") or {}, "zarr")
    if (attributes := read_json(url, ".zattrs")) is not None and "multiscales" in attributes:
        return ome_zarr.read_group(url, attributes, "zarr")
    if (info := read_json(url, "info")) is not None and "scales" in info:
        return precomputed.read(url, info)
    return n5.read(url, read_json)


def read_json(url: str, key: str) -> dict[str, Any] | None:
    """Return the JSON object at ``url/key``, or None where there is no such key."""
    text = read_key(url, key)
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise StoreError(f"{url}/{key} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise StoreError(f"{url}/{key} is not a JSON object")
    return value
