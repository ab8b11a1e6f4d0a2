"""Which arrays a container holds: for messages that say what there is instead of what was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from connectome.store.locations import Location, is_dataset, list_keys, scheme_of

MOST_NAMES = 20
DEEPEST = 4
MARKS = ("zarr.json", ".zarray", "attributes.json", "info")


def names_in(container: str) -> list[str]:
    """Return names of arrays below `container`; none where looking would mean listing a bucket."""
    if scheme_of(container) == "memory":
        keys = (key.rpartition("/") for key in list_keys(container))
        return sorted({folder for folder, _, key in keys if key in MARKS and folder})[:MOST_NAMES]
    path = Location(container).local_path
    if path is None or not path.is_dir():
        return []
    if is_dataset(container):
        path /= "volumes"
    return sorted(name for name, _ in zip(_below(path, path, 0), range(MOST_NAMES), strict=False))


def _below(root: Path, folder: Path, depth: int) -> Iterator[str]:
    if folder != root and _is_array(folder):
        yield folder.relative_to(root).as_posix()
    elif depth < DEEPEST and folder.is_dir():
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.name.startswith("."):
                yield from _below(root, child, depth + 1)


def _is_array(folder: Path) -> bool:
    if any((folder / mark).is_file() for mark in (".zarray", "info")):
        return True
    for key in ("zarr.json", ".zattrs", "attributes.json"):
        if (folder / key).is_file():
            try:
                node = json.loads((folder / key).read_text())
            except ValueError:
                continue
            attributes = node.get("attributes", node)
            if "shape" in node or "dimensions" in node or "multiscales" in attributes.get("ome", attributes):
                return True
    return (folder / "s0" / "attributes.json").is_file()


def no_such_array(location: Location) -> str:
    """Say that there is no volume at `location`, and which ones there are."""
    names = names_in(location.container)
    found = f"; it holds {', '.join(names)}" if names else ""
    if location.name is not None:
        return f"there is no volume {location.name!r} in {location.container}{found}"
    if names:
        likely = "segmentation" if "segmentation" in names else names[0]
        return f"{location} is no volume itself{found}: choose one with {location}#{likely}"
    if location.local_path is not None and not location.local_path.exists():
        return f"there is no file and no volume at {location}: mend the path"
    return f"there is no volume at {location}; wanted is OME-Zarr, zarr, N5 or precomputed"
