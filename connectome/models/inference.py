"""Affinities and classes of any box of a volume, the same bytes whatever the box (exact-segmentation.md, section 8)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from threading import Lock

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.geometry import Box, as_triple
from connectome.models.architecture import HeadName
from connectome.models.network import Network
from connectome.models.tiles import gather, tiles_of

Image = npt.NDArray[np.uint8]
Predicted = npt.NDArray[np.uint8]

RECENT_BYTES = 64_000_000
"""Memory for recent tiles: blocks smaller than a tile ask for the same one several times in a row."""


def image_box(network: Network, domain: Box, box: Box) -> Box:
    """Return the part of the image that must be read to predict `box` of the volume `domain`."""
    return network.image_box(domain, box)


def predict(
    network: Network,
    image: Image,
    read_box: Box,
    domain: Box,
    box: Box,
    *,
    head: HeadName = "affinities",
    mirrored: bool = False,
    wanted: npt.NDArray[np.bool_] | None = None,
) -> Predicted:
    """Predict one head of a network in a box.

    Parameters
    ----------
    network
        From `load_network`.
    image
        Image (z, y, x) of `read_box`, uint8.
    read_box
        What `image` holds: at least `image_box(network, domain, box)`.
    domain
        The whole volume: it anchors the tiles and is where reflection begins.
    box
        What to predict, inside the domain.
    head
        ``affinities`` or ``classes``. Both cost what one costs: tiles are remembered with all their channels.
    mirrored
        Average the predictions of the eight mirrored tiles: better, for eight times the work.
    wanted
        Voxels of the box whose values are wanted (z, y, x), bool: others may be 0, which spares tiles.

    Returns
    -------
    uint8 array (c, z, y, x). Affinities along z, y, x: 255 = same cell, stored at the higher-index voxel. Classes in
    the order of the architecture: probability times 255.

    Raises
    ------
    InputError
        If the network has no such head, or the image is not uint8.

    Notes
    -----
    A tile whose image, halo included, has one grey value is blank: its values are 0 and no network runs. That
    follows from the tile's place, so bytes do not depend on the box here either.
    """
    _check_boxes(network, image, read_box, domain, box)
    channels = network.channels(head)
    values = np.empty((channels.stop - channels.start, *box.shape), np.uint8)
    for tile in tiles_of(box, domain, network.tile, network.tile_step):
        part = tile.intersect(box)
        inside = part.relative_to(box.start).slices
        seen = gather(image, read_box.start, tile.grow(network.halo), domain)
        if seen.min() == seen.max() or (wanted is not None and not wanted[inside].any()):
            values[(slice(None), *inside)] = 0
            continue
        predicted = _predict_tile(network, seen, mirrored)
        values[(slice(None), *inside)] = predicted[(channels, *part.relative_to(tile.start).slices)]
    return values


def predict_affinities(
    network: Network,
    image: Image,
    read_box: Box,
    domain: Box,
    box: Box,
    *,
    mirrored: bool = False,
    wanted: npt.NDArray[np.bool_] | None = None,
) -> Predicted:
    """Predict the affinities of a box; parameters as of `predict`."""
    return predict(network, image, read_box, domain, box, head="affinities", mirrored=mirrored, wanted=wanted)


def engine_name() -> str:
    """Tell device and precision of this process, e.g. `bfloat16 on cpu`: bytes are equal between equal ones."""
    from connectome.models.engine import available_engine

    return str(available_engine())


def working_bytes(network: Network) -> int:
    """Bound the memory that one tile and the recent ones take beside image and result."""
    return network.tile_bytes + RECENT_BYTES


class _RecentTiles:
    """The last few tiles, found by the content of their image: a saving that cannot change a result."""

    def __init__(self) -> None:
        self._tiles: OrderedDict[bytes, Predicted] = OrderedDict()
        self._lock = Lock()

    def get(self, key: bytes) -> Predicted | None:
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
            return self._tiles.get(key)

    def put(self, key: bytes, tile: Predicted) -> None:
        with self._lock:
            self._tiles[key] = tile
            while sum(kept.nbytes for kept in self._tiles.values()) > RECENT_BYTES:
                self._tiles.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._tiles.clear()


_recent = _RecentTiles()


def forget_tiles() -> None:
    """Drop the recent tiles: who compares predictions wants them computed."""
    _recent.clear()


def _predict_tile(network: Network, image: Image, mirrored: bool) -> Predicted:
    from connectome.models.engine import available_engine, run_tile

    engine = available_engine()
    digest = hashlib.blake2b(f"{network.fingerprint} {engine} {image.shape} {mirrored}".encode(), digest_size=16)
    digest.update(image.data)
    key = digest.digest()
    tile = _recent.get(key)
    if tile is None:
        tile = run_tile(network, engine, image, mirrored=mirrored)
        _recent.put(key, tile)
    return tile


def _check_boxes(network: Network, image: Image, read_box: Box, domain: Box, box: Box) -> None:
    if image.dtype != np.uint8:
        raise InputError(f"the image must be uint8, got {image.dtype}: convert it with connectome ingest")
    if as_triple(image.shape) != read_box.shape:
        raise ValueError(f"the image has shape {image.shape}, but {read_box} wants {read_box.shape}: read that box")
    if not domain.contains(box):
        raise ValueError(f"box {box} leaves the volume {domain}: ask for a box inside")
    wanted = network.image_box(domain, box)
    if not read_box.contains(wanted):
        raise ValueError(f"box {box} is predicted from the image of {wanted}, got {read_box}: read image_box()")
