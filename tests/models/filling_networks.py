"""Flood-filling networks small enough to be understood: made by hand, or of random weights."""

from __future__ import annotations

import atexit
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from connectome.models.flood_filling_network import FloodFillingNetwork

STEP, DRIFT, BARRIER = 8.0, 1.0, 1000.0
FIELD, DELTAS = (5, 5, 5), (1, 1, 1)


def save(path: Path, layers: dict[str, np.ndarray]) -> Path:
    """Write an npz file of layers without biases."""
    arrays = {}
    for name, weights in layers.items():
        arrays[f"seed_update.{name}.weights"] = weights.astype(np.float32)
        arrays[f"seed_update.{name}.biases"] = np.zeros(weights.shape[-1], np.float32)
    np.savez(path, **arrays)
    return path


def hand_made_weights(path: Path) -> Path:
    """A voxel joins if it is bright (above the mean) and a voxel within two of it is in the object; all others leave.

    The first layer splits: the object map above 0 and above 1, whose difference is at most 1, and darkness. The
    second counts the first around a voxel, less a barrier where the voxel is dark.
    """
    first, second = np.zeros((1, 1, 1, 2, 3)), np.zeros((5, 5, 5, 3, 1))
    first[0, 0, 0] = [[0, 0, -1], [1, 1, 0]]
    second[..., 0, 0], second[..., 1, 0], second[2, 2, 2, 2, 0] = 1, -1, -BARRIER
    save(path, {"conv0_a": first, "conv0_b": second, "conv_lom": np.full((1, 1, 1, 1, 1), STEP)})
    with np.load(path) as file:
        arrays = dict(file)
    arrays["seed_update.conv0_a.biases"] = np.array([0, -1, 0], np.float32)
    arrays["seed_update.conv_lom.biases"] = np.array([-DRIFT], np.float32)
    np.savez(path, **arrays)
    return path


@cache
def hand_made_file() -> str:
    """Path of hand-made weights that lie there until the process ends."""
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    return str(hand_made_weights(Path(folder.name) / "hand_made.npz"))


def hand_made(image_mean: float = 128.0) -> FloodFillingNetwork:
    """A network that fills what is brighter than `image_mean`."""
    return FloodFillingNetwork(Path(hand_made_file()), FIELD, DELTAS, image_mean, 1.0)


def random_weights(path: Path, depth: int, channels: int) -> Path:
    """Weights of a stack of `depth` modules of `channels` features, drawn at random."""
    random = np.random.default_rng(5)
    layers, size = {}, 2
    for module in range(depth):
        for half in "ab":
            layers[f"conv{module}_{half}"] = random.normal(0, 0.2, (3, 3, 3, size, channels))
            size = channels
    return save(path, {**layers, "conv_lom": random.normal(0, 0.2, (1, 1, 1, size, 1))})
