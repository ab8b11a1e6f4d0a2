"""Proof, on the spot, that a network is what its manifest says: receptive field, stride, independence of tiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from connectome.geometry import Box, Triple, as_triple
from connectome.models.architecture import Architecture, Level
from connectome.models.dependence import measure_dependence
from connectome.models.engine import available_engine, run_tile, tile_probability
from connectome.models.inference import forget_tiles, predict
from connectome.models.manifest import TrainedNetwork
from connectome.models.network import Network
from connectome.models.unet import UNet

ROUNDING = 1
"""Grey levels by which predictions of shifted tiles may differ: sums of another order, rounded."""
CAUSES = (
    "statistics over the tile (instance, group or layer normalisation, or batch normalisation that was exported for "
    "training) and padding at the tile's border do that; export it with constants in their place, and crop what "
    "padding reaches"
)
"""Why a network is refused."""


@dataclass(frozen=True)
class Proof:
    """One property of a network.

    Attributes
    ----------
    name : str
    claimed, measured : str
        What the manifest says, and what was seen.
    is_met : bool
    remedy : str
        What to do where it is not met.
    """

    name: str
    claimed: str
    measured: str
    is_met: bool
    remedy: str = ""


def check_network(network: Network, seed: int = 0) -> list[Proof]:
    """Measure what a manifest claims.

    Parameters
    ----------
    network : Network
        From `load_network`, which has compared the weights with their hash.
    seed : int
        Of the random images.

    Notes
    -----
    The geometry of our architecture is measured with weights that silence no path and one channel per level, since it
    depends on neither; that of a foreign network as it is (`measure_dependence`), and a claim of more than that is no
    error. Shifts and boxes are predicted with the weights themselves, in the precision of this machine.
    """
    random = np.random.default_rng(seed)
    geometry = _geometry(network) if isinstance(network, TrainedNetwork) else _dependence(network, random)
    differing, largest = _shifted(network, random)
    n_boxes, n_other = _boxed(network, random)
    return [
        *geometry,
        Proof(
            "stride",
            f"shifts by {_sizes(network.stride)} commute",
            f"{differing:.2%} of values differ, by {largest} of 255 at most",
            largest <= ROUNDING,
            f"the value of a voxel changes with the place of its tile: {CAUSES}",
        ),
        Proof(
            "independence of tiles",
            "the same bytes from every box",
            f"{n_other:,} bytes differ over {n_boxes} boxes",
            n_other == 0,
            "the network gives other values for the same image: export it for inference, without dropout",
        ),
    ]


def _geometry(network: TrainedNetwork) -> list[Proof]:
    manifest = network.manifest
    low, high, field = measure_geometry(network.architecture)
    return [
        Proof("receptive field", _sizes(manifest.receptive_field), _sizes(field), field == manifest.receptive_field),
        Proof(
            "halo",
            _before_and_after(manifest.halo_low, manifest.halo_high),
            _before_and_after(low, high),
            (low, high) == (manifest.halo_low, manifest.halo_high),
        ),
    ]


def _dependence(network: Network, random: np.random.Generator) -> list[Proof]:
    """Measure a network whose architecture is not known; it must see no more than it claims."""

    def predict(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        probability: npt.NDArray[np.float32] = tile_probability(network, available_engine(), image).cpu().numpy()
        return probability

    image = _tissue(network.input_shape, random)
    low, high, field = measure_dependence(network, predict, image, 255 - image)
    halo = network.halo
    most = as_triple([a + n + b for a, n, b in zip(halo.low, network.stride, halo.high, strict=True)])
    sees_more = any(a > b for a, b in zip((*low, *high), (*halo.low, *halo.high), strict=True))
    remedy = (
        f"network {network.name!r} depends on image beyond the halo that it claims: {CAUSES}; or claim a larger halo"
    )
    is_small = all(a <= b for a, b in zip(field, most, strict=True))
    return [
        Proof("receptive field", f"at most {_sizes(most)}", _sizes(field), is_small, remedy),
        Proof(
            "halo",
            f"at most {_before_and_after(halo.low, halo.high)}",
            _before_and_after(low, high),
            not sees_more,
            remedy,
        ),
    ]


@torch.no_grad()
def measure_geometry(architecture: Architecture) -> tuple[Triple, Triple, Triple]:
    """Return halo before and after a cell of the stride, and the receptive field of its voxels (z, y, x).

    Axes are measured one by one, in the same network cut down to one: each voxel of an image is brightened in
    turn, and the outputs that change see it.
    """
    low, high, field = [], [], []
    for axis in range(3):
        line = _along(architecture, axis)
        network = UNet(line, auxiliary=False).double()
        for parameter in network.parameters():
            torch.nn.init.constant_(parameter, 0.5)
        stride, margin = line.stride[axis], line.halo.low[axis]
        shape = line.input_shape(line.stride)
        n = shape[axis]
        images = torch.ones(n + 1, n, dtype=torch.float64)
        images[1:].fill_diagonal_(1e6)
        seen = network(images.reshape(n + 1, 1, *shape))[:, 0].reshape(n + 1, stride)
        sees = (seen[1:] != seen[0]).numpy()
        first, last = sees.argmax(axis=0), n - 1 - sees[::-1].argmax(axis=0)
        low.append(margin - int(first.min()))
        high.append(int(last.max()) - margin - stride + 1)
        field.append(int((last - first + 1).max()))
    return as_triple(low), as_triple(high), as_triple(field)


def _along(architecture: Architecture, axis: int) -> Architecture:
    """Return the architecture with one channel per level, and without extent along the other axes."""

    def only(triple: Triple) -> Triple:
        return as_triple([n if place == axis else 1 for place, n in enumerate(triple)])

    levels = [
        Level(
            features=1,
            encoder=tuple(map(only, level.encoder)),
            decoder=tuple(map(only, level.decoder)),
            pool=None if level.pool is None else only(level.pool),
        )
        for level in architecture.levels
    ]
    return Architecture(levels=tuple(levels))


def _shifted(network: Network, random: np.random.Generator) -> tuple[float, int]:
    """Predict a tile, and the one that lies a stride farther, from one image; compare where they overlap."""
    tile, stride = network.tile, network.stride
    shape = network.input_shape
    image = _tissue(as_triple([n + s for n, s in zip(shape, stride, strict=True)]), random)
    near = run_tile(network, available_engine(), np.ascontiguousarray(image[tuple(map(slice, shape))]))
    far = run_tile(network, available_engine(), np.ascontiguousarray(image[tuple(slice(s, None) for s in stride)]))
    inside = tuple(slice(s, None) for s in stride)
    outside = tuple(slice(None, n - s) for n, s in zip(tile, stride, strict=True))
    difference = np.abs(near[(slice(None), *inside)].astype(np.int16) - far[(slice(None), *outside)])
    if difference.size == 0:
        return 0.0, 0
    return float((difference > 0).mean()), int(difference.max())


def _boxed(network: Network, random: np.random.Generator) -> tuple[int, int]:
    """Predict a volume a stride larger than a tile, whole and in boxes that cut the tiles; compare the bytes."""
    domain = Box.of_shape(as_triple([n + s for n, s in zip(network.tile, network.stride, strict=True)]))
    image = _tissue(domain.shape, random)
    whole = _predict(network, image, domain, domain)
    cuts = [n // 3 for n in domain.shape]
    boxes = []
    for axis in range(3):
        middle = [*domain.start[:axis], cuts[axis], *domain.start[axis + 1 :]]
        boxes.append(Box(as_triple(middle), domain.stop))
    n_other = 0
    for box in boxes:
        forget_tiles()
        predicted = _predict(network, image, domain, box)
        n_other += int(np.count_nonzero(predicted != whole[(slice(None), *box.slices)]))
    return len(boxes), n_other


def _predict(network: Network, image: npt.NDArray[np.uint8], domain: Box, box: Box) -> npt.NDArray[np.uint8]:
    """Return all that a network predicts in a box."""
    return np.concatenate([predict(network, image, domain, domain, box, head=head) for head in network.heads])


def _tissue(shape: Triple, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return an image with structures of a few voxels, which affinities are sensitive to."""
    coarse = random.integers(0, 256, [-(-n // 6) for n in shape])
    fine = coarse.repeat(6, 0).repeat(6, 1).repeat(6, 2)[tuple(map(slice, shape))]
    return np.clip(fine + random.normal(0, 15, shape), 0, 255).astype(np.uint8)


def _sizes(triple: Triple) -> str:
    return " x ".join(map(str, triple))


def _before_and_after(low: Triple, high: Triple) -> str:
    return f"{_sizes(low)} before, {_sizes(high)} after"
