"""Networks small enough to train and to run in a test."""

from __future__ import annotations

import atexit
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from connectome.models.architecture import Architecture
from connectome.models.manifest import Network, load_network
from connectome.models.release import release
from connectome.models.training_config import Training
from connectome.models.unet import UNet

CUBIC: dict[str, Any] = {
    "long_range": [3],
    "levels": [
        {"features": 4, "encoder": [[3, 3, 3]], "decoder": [[3, 3, 3]], "pool": [2, 2, 2]},
        {"features": 6, "encoder": [[3, 3, 3]]},
    ],
}
FLAT: dict[str, Any] = {
    "levels": [
        {"features": 3, "encoder": [[1, 3, 3]], "decoder": [[1, 3, 3]], "pool": [1, 2, 2]},
        {"features": 4, "encoder": [[3, 3, 3]], "decoder": [[1, 3, 5]], "pool": [1, 3, 2]},
        {"features": 5, "encoder": [[3, 1, 3], [1, 3, 3]]},
    ],
}


def configuration(folder: Path, **changes: Any) -> Training:
    """Return the configuration of a training run that ends after seconds."""
    values: dict[str, Any] = {
        "name": "small",
        "folder": str(folder),
        "voxel_size_nm": (10, 10, 10),
        "training_data": "toy",
        "licence": "Apache-2.0",
        "architecture": CUBIC,
        "sources": [{"image": "toy#image", "labels": "toy#labels"}],
        "steps": 4,
        "patch": (8, 8, 8),
        "tile": (8, 12, 16),
        "warm_up": 0.0,
    }
    return Training.model_validate({**values, **changes})


def with_classes(folder: Path, **changes: Any) -> Training:
    """Return a configuration with every kind of head; no source has labels of all of them."""
    architecture = {**CUBIC, "shape_descriptors": True, "classes": ["wall", "spot"]}
    sources = [
        {"image": "toy#image", "labels": "toy#labels", "classes": {"wall": "toy#wall"}},
        {"image": "toy#image", "classes": {"spot": "toy#spot"}},
    ]
    descriptors = {"sigma_nm": (20, 20, 20), "step": (1, 1, 1)}
    changed = {"architecture": architecture, "sources": sources, "shape_descriptors": descriptors, **changes}
    return configuration(folder, **changed)


@cache
def class_network_file() -> str:
    """Path of the manifest of an untrained network of affinities and classes; it lies there until the process ends."""
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    torch.manual_seed(3)
    config = with_classes(Path(folder.name), tile=(8, 8, 8))
    return str(release(Path(folder.name), config, (128.0, 40.0), UNet(config.architecture, auxiliary=True), {}))


def random_network(folder: Path, **changes: Any) -> Network:
    """Release an untrained network with strong contrasts in its output, and load it."""
    config = configuration(folder, **changes)
    folder.mkdir(exist_ok=True)
    torch.manual_seed(3)
    return load_network(str(release(folder, config, (128.0, 40.0), UNet(config.architecture, auxiliary=True), {})))


def geometry_network(architecture: Architecture) -> UNet:
    """Return a network in double precision in which no path from input to output is ever silent.

    All weights positive and a positive image: every unit is active, so a changed voxel changes all
    outputs that can see it (pooling aside, for which the change must be upwards and large).
    """
    network = UNet(architecture, auxiliary=False).double()
    for parameter in network.parameters():
        torch.nn.init.uniform_(parameter, 0.01, 0.02)
    return network


def toy(shape: tuple[int, int, int] = (24, 28, 32)) -> dict[str, np.ndarray]:
    """Return bright cells of 8 voxels in a grid, with dark walls at their lower faces, and a spot in every cell."""
    z, y, x = np.indices(shape)
    labels = 1 + (z // 8) * 64 + (y // 8) * 8 + x // 8
    wall = (z % 8 == 0) | (y % 8 == 0) | (x % 8 == 0)
    noise = np.random.default_rng(0).normal(0, 8, shape)
    image = np.clip(np.where(wall, 60, 180) + noise, 0, 255).astype(np.uint8)
    spot = (z % 8 == 4) & (y % 8 == 4) & (x % 8 == 4)
    masks = {"toy#wall": wall.astype(np.uint8), "toy#spot": spot.astype(np.uint8)}
    return {"toy#image": image, "toy#labels": labels.astype(np.uint64), **masks}
