"""Neuroglancer precomputed volumes. The format's metadata are xyz; nothing of it leaves this module."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from connectome.geometry import Triple, as_triple
from connectome.store.layout import Blueprint, Layout, Request, voxel_size
from connectome.store.locations import Spec, StoreError, kvstore_spec
from connectome.store.pyramid import level_box, shard_shape

CHUNK = (64, 64, 64)
SHARD_BYTES = 1 << 27
"""A shard is written whole from memory: this is the most that it may hold before compression."""
ENCODINGS = {"image": ("raw", "jpeg"), "segmentation": ("compressed_segmentation", "raw")}
TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32")


def read(url: str, info: Mapping[str, Any]) -> Layout:
    """Understand the ``info`` of a precomputed volume."""
    try:
        scales = info["scales"]
        sizes = [voxel_size(scale["resolution"][::-1]) for scale in scales]
        starts = [as_triple(scale.get("voxel_offset", (0, 0, 0))[::-1]) for scale in scales]
        n_channels = int(info["num_channels"])
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{url}/info cannot be understood: {error!r}") from error
    return Layout(
        specs=[_spec(url) | {"scale_index": level} for level in range(len(scales))],
        axes="xyzc",
        factors=[as_triple([round(a / b) for a, b in zip(s, sizes[0], strict=True)]) for s in sizes],
        starts=starts,
        voxel_size_nm=sizes[0],
        has_channels=n_channels > 1,
    )


def _spec(url: str) -> Spec:
    return {"driver": "neuroglancer_precomputed", "kvstore": kvstore_spec(url)}


def create(url: str, request: Request) -> Blueprint:
    """Describe a volume without shards: each chunk is one object."""
    levels = [
        _level(url, request, factor, shard_shape(request.box.shape, request.write_shape, factor)[1])
        for factor in request.factors
    ]
    return Blueprint(levels)


def create_sharded(url: str, request: Request) -> Blueprint:
    """Describe a sharded volume; the request's block has no say in its shards."""
    return Blueprint([_level(url, request, factor, CHUNK, is_sharded=True) for factor in request.factors])


def _level(url: str, request: Request, factor: Triple, chunk: Triple, *, is_sharded: bool = False) -> Spec:
    encoding = _encoding(request)
    box = level_box(request.box, factor)
    scale: dict[str, Any] = {
        "key": "_".join(f"{nm:g}" for nm in request.level_size_nm(factor)[::-1]),
        "size": box.shape[::-1],
        "voxel_offset": box.start[::-1],
        "resolution": request.level_size_nm(factor)[::-1],
        "chunk_size": chunk[::-1],
        "encoding": encoding,
    }
    if encoding == "compressed_segmentation":
        scale["compressed_segmentation_block_size"] = [8, 8, 8]
    if encoding == "jpeg":
        scale["jpeg_quality"] = 90
    if is_sharded:
        scale["sharding"] = sharding(box.shape, chunk, request, encoding)
    multiscale = {
        "type": request.kind,
        "data_type": request.dtype.name,
        "num_channels": request.n_channels or 1,
    }
    return _spec(url) | {"multiscale_metadata": multiscale, "scale_metadata": scale}


def _encoding(request: Request) -> str:
    if request.dtype.name not in TYPES:
        raise StoreError(f"precomputed holds {', '.join(TYPES)}, got {request.dtype}; convert it first")
    encoding = request.encoding or ENCODINGS[request.kind][0]
    if encoding not in ENCODINGS[request.kind]:
        wanted = " or ".join(ENCODINGS[request.kind])
        raise StoreError(f"precomputed keeps a {request.kind} as {wanted}, got {encoding!r}")
    if encoding == "jpeg" and (request.dtype != "uint8" or request.n_channels not in (None, 1, 3)):
        raise StoreError(
            f"jpeg takes uint8 with 1 or 3 channels, got {request.dtype} with {request.n_channels}; take raw"
        )
    return encoding if request.dtype.name in ("uint32", "uint64") or encoding == "jpeg" else "raw"


def sharding(shape: Triple, chunk: Triple, request: Request, encoding: str) -> dict[str, Any]:
    """Choose the shards of a level: as many chunks as fit in `SHARD_BYTES`, along the Morton curve."""
    grid = [max(1, -(-n // c)) for n, c in zip(shape, chunk, strict=True)]
    total_bits = sum((n - 1).bit_length() for n in grid)
    chunk_bytes = math.prod(chunk) * request.dtype.itemsize * (request.n_channels or 1)
    inside = min(total_bits, max(0, int(math.log2(max(1, SHARD_BYTES // chunk_bytes)))))
    minishard_bits = min(3, inside)
    return {
        "@type": "neuroglancer_uint64_sharded_v1",
        "hash": "identity",
        "preshift_bits": inside - minishard_bits,
        "minishard_bits": minishard_bits,
        "shard_bits": total_bits - inside,
        "minishard_index_encoding": "gzip",
        "data_encoding": "raw" if encoding == "jpeg" else "gzip",
    }
