"""The formats of volumes: which one lies at a URL, and how each is created."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from connectome.store import ome_zarr
from connectome.store.layout import Layout, Request
from connectome.store.locations import Spec, StoreError, read_key

Create = Callable[[str, Request], list[Spec]]

CREATE: dict[str, Create] = {"ome-zarr-0.5": ome_zarr.create_v05}


def find_layout(url: str) -> Layout | None:
    """Return the layout of the volume at `url`, or None where there is none."""
    if (node := _read_json(url, "zarr.json")) is not None:
        attributes = node.get("attributes", {})
        if "ome" in attributes:
            return ome_zarr.read_group(url, attributes["ome"], "zarr3")
    return None


def _read_json(url: str, key: str) -> dict[str, Any] | None:
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
