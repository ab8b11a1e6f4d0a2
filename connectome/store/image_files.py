"""TIFF stacks and folders of section images, as sources of slabs."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tifffile

from connectome.geometry import as_triple
from connectome.store.layout import NANOMETRES, VoxelSize
from connectome.store.locations import StoreError
from connectome.store.slabs import Array, Slab, Source, slabs_of

TIFF = (".tif", ".tiff")
PICTURES = (".png", ".jpg", ".jpeg")
READ_ERRORS = (OSError, ValueError, SyntaxError, tifffile.TiffFileError, PIL.UnidentifiedImageError)


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort key in which ``section2`` comes before ``section10``."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def section_files(folder: Path) -> list[Path]:
    """Return the section images of a folder in natural order; all are of one kind."""
    kinds: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        suffix = path.suffix.lower()
        if path.is_file() and suffix in TIFF + PICTURES and not path.name.startswith("."):
            kinds.setdefault("tiff" if suffix in TIFF else suffix.replace("jpeg", "jpg"), []).append(path)
    if len(kinds) > 1:
        counts = ", ".join(f"{len(paths)} {kind.strip('.')}" for kind, paths in sorted(kinds.items()))
        raise StoreError(f"{folder} holds images of several kinds ({counts}); wanted is one kind of section")
    return sorted(next(iter(kinds.values()), []), key=natural_key)


def open_sections(folder: Path) -> Source:
    """Open a folder of sections; one file is one section, and all have one shape."""
    files = section_files(folder)
    if not files:
        raise StoreError(f"{folder} holds no section images; wanted are {', '.join(TIFF + PICTURES)} files")
    return _stack(str(folder), files)


def open_picture(path: Path) -> Source:
    """Open one section image."""
    return _stack(str(path), [path])


def _stack(url: str, files: Sequence[Path]) -> Source:
    first = _read_section(files[0])
    forms = {path: _section_form(path) for path in files}
    for path, form in forms.items():
        if form != forms[files[0]]:
            raise StoreError(
                f"sections differ: {files[0].name} is {_describe(forms[files[0]])}, but {path.name} is "
                f"{_describe(form)}; all sections of {url} must have one shape and type"
            )
    # Grey pictures are often stored as colour: three or four equal channels are one.
    is_grey = first.ndim == 3 and bool((first[..., :3] == first[..., :1]).all())
    n_channels = None if first.ndim == 2 or is_grey else first.shape[2]

    def read(start: int, stop: int) -> Slab:
        sections = [_read_section(path) for path in files[start:stop]]
        if is_grey:
            sections = [_grey(section, path) for section, path in zip(sections, files[start:stop], strict=True)]
        stack = np.stack(sections)
        return np.moveaxis(stack, 3, 0) if stack.ndim == 4 else stack

    shape = as_triple((len(files), *first.shape[:2]))
    return Source(url, shape, first.dtype, slabs_of(len(files), read), n_channels)


def _grey(section: Array, path: Path) -> Array:
    if not (section[..., :3] == section[..., :1]).all():
        raise StoreError(f"{path} is coloured, but the first section is grey; convert the sections to grey")
    grey: Array = section[..., 0]
    return grey


def _describe(form: tuple[Any, ...]) -> str:
    return f"{' x '.join(str(n) for n in form[:-1])} {form[-1]}"


def _section_form(path: Path) -> tuple[Any, ...]:
    """Return (height, width, ..., type) of a section without decoding it."""
    try:
        if path.suffix.lower() in TIFF:
            with tifffile.TiffFile(path) as file:
                if len(file.pages) > 1:
                    raise StoreError(f"{path} has {len(file.pages)} pages; in a folder, one file is one section")
                page = file.pages.first
                return (*page.shape, str(page.dtype))
        with PIL.Image.open(path) as picture:
            return picture.height, picture.width, picture.mode
    except READ_ERRORS as error:
        raise _unreadable(path, error) from error


def _read_section(path: Path) -> Array:
    try:
        if path.suffix.lower() in TIFF:
            return np.asarray(tifffile.imread(path, key=0))
        PIL.Image.MAX_IMAGE_PIXELS = None  # a section of a gigapixel is no decompression bomb
        with PIL.Image.open(path) as picture:
            return np.asarray(picture)
    except READ_ERRORS as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> StoreError:
    return error if isinstance(error, StoreError) else StoreError(f"cannot read {path}: {error}")


def open_tiff(path: Path) -> Source:
    """Open a TIFF file: one page, a stack of pages, or a stack with channels."""
    try:
        with tifffile.TiffFile(path) as file:
            if len(file.series) > 1:
                shapes = ", ".join(str(series.shape) for series in file.series[:3])
                raise StoreError(f"{path} holds images of several shapes ({shapes}); wanted is one stack")
            series = file.series[0]
            axes, shape, dtype = series.axes, series.shape, np.dtype(series.dtype)
            size = tiff_voxel_size(file)
    except (*READ_ERRORS, IndexError) as error:
        raise _unreadable(path, error) from error
    kept = [(axis, n) for axis, n in zip(axes, shape, strict=True) if n > 1 or axis in "YX"]
    names = "".join(axis for axis, _ in kept)
    stack_axes = [axis for axis in names if axis not in "YXSC"]
    ends_well = names.endswith(("YX", "YXS"))
    if not ends_well or "S" in names[:-1] or len(stack_axes) > 1 or {"S", "C"} <= set(names):
        raise StoreError(f"{path} has the axes {axes} {shape}; wanted is one stack, with channels or without")
    extents = dict(kept)
    depth = extents[stack_axes[0]] if stack_axes else 1
    n_channels = extents.get("S", extents.get("C"))
    # Order of the array after `squeeze`, and where its axes go in c z y x.
    order = [a for a in ("S" if "S" in names else "C", *stack_axes, "Y", "X") if a in names]
    read = _tiff_reader(path, kept, order, depth)
    extent = as_triple((depth, extents["Y"], extents["X"]))
    return Source(str(path), extent, dtype, slabs_of(depth, read), n_channels, size)


def _tiff_reader(
    path: Path, kept: Sequence[tuple[str, int]], order: Sequence[str], depth: int
) -> Callable[[int, int], Slab]:
    """Return what reads sections: by a memory map where the file allows it, else page by page."""
    names = "".join(axis for axis, _ in kept)
    try:
        mapped = tifffile.memmap(path, series=0, mode="r")
    except ValueError:
        mapped = None
    has_stack = any(axis not in "YXSC" for axis in names)

    def arranged(array: Array) -> Array:
        array = array.transpose([names.index(axis) for axis in order])
        return array if has_stack else np.expand_dims(array, -3)

    if mapped is not None:
        whole = arranged(mapped.reshape([n for _, n in kept]))
        return lambda start, stop: whole[..., start:stop, :, :]

    def read(start: int, stop: int) -> Slab:
        leading = names[: names.index("Y")]
        try:
            with tifffile.TiffFile(path) as file:
                pages = file.series[0].pages
                n_channels = len(pages) // depth
                stack_first = leading.find("C") != 0
                rows = [
                    [pages[z * n_channels + c if stack_first else c * depth + z] for z in range(start, stop)]
                    for c in range(n_channels)
                ]
                array = np.stack([np.stack([page.asarray() for page in row]) for row in rows])
        except READ_ERRORS as error:
            raise _unreadable(path, error) from error
        if "C" not in leading:
            array = array[0]
        return np.moveaxis(array, -1, 0) if names.endswith("S") else array

    return read


def tiff_voxel_size(file: tifffile.TiffFile) -> VoxelSize | None:
    """Return the voxel size that OME or ImageJ metadata state."""
    if file.is_ome and file.ome_metadata:
        return _ome_voxel_size(file.ome_metadata)
    metadata = file.imagej_metadata or {}
    unit = str(metadata.get("unit", "")).encode().decode("unicode_escape").lower()
    tags = file.pages.first.tags
    if unit not in NANOMETRES or not unit or "spacing" not in metadata or "XResolution" not in tags:
        return None
    per_unit = [tags[name].value for name in ("YResolution", "XResolution")]
    y, x = (denominator / numerator for numerator, denominator in per_unit)
    nm = NANOMETRES[unit]
    return float(metadata["spacing"]) * nm, y * nm, x * nm


def _ome_voxel_size(text: str) -> VoxelSize | None:
    pixels = next((node for node in ET.fromstring(text).iter() if node.tag.endswith("}Pixels")), None)
    if pixels is None or any(f"PhysicalSize{axis}" not in pixels.attrib for axis in "ZYX"):
        return None
    sizes = []
    for axis in "ZYX":
        unit = NANOMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "um").lower())
        if unit is None:
            return None
        sizes.append(float(pixels.attrib[f"PhysicalSize{axis}"]) * unit)
    return sizes[0], sizes[1], sizes[2]
