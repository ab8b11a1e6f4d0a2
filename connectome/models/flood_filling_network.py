"""A flood-filling network as files: weights, field of view and how its image is normalised.

Nothing here needs torch: a plan asks for field of view and fingerprint without loading it.

Source: Januszewski et al. 2018, Nature Methods 15:605 ("High-precision automated reconstruction of neurons with
flood-filling networks"); its published weights and options are those of github.com/google/ffn.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.geometry import Triple

Weights = Mapping[str, npt.NDArray[np.float32]]
_LAYER = re.compile(r"seed_update\.conv(\d+)_a\.weights")


@dataclass(frozen=True, eq=False)
class FloodFillingNetwork:
    """Weights on disk, and what is said of them beside the file.

    Attributes
    ----------
    weights_path : Path
        An npz file with ``seed_update.conv{i}_{a,b}.{weights,biases}`` for module i and ``seed_update.conv_lom.*`` for
        the last layer; weights have axes z, y, x, in, out. The first layer sees image and object map, in this order.
    field_of_view : Triple
        Voxels (z, y, x) that one evaluation sees and writes; odd.
    deltas : Triple
        Voxels (z, y, x) by which the field of view moves.
    image_mean, image_standard_deviation : float
        Grey levels become (value - mean) / standard deviation.
    """

    weights_path: Path
    field_of_view: Triple = (33, 33, 33)
    deltas: Triple = (8, 8, 8)
    image_mean: float = 128.0
    image_standard_deviation: float = 33.0

    def __post_init__(self) -> None:
        if fault := fault_of_field(self.field_of_view, self.deltas):
            raise InputError(fault)

    @property
    def reach(self) -> Triple:
        """Voxels (z, y, x) from the centre of the field of view to its border."""
        z, y, x = (size // 2 for size in self.field_of_view)
        return z, y, x

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that an object depends on beside image and options."""
        described = repr((self.field_of_view, self.deltas, self.image_mean, self.image_standard_deviation))
        return hashlib.sha256(described.encode() + self._content()).hexdigest()

    @cached_property
    def weights(self) -> Weights:
        """Arrays by name.

        Raises
        ------
        InputError
            If the file is not there, or is no flood-filling network.
        """
        if not self.weights_path.is_file():
            raise InputError(
                f"weights of the flood-filling network are not at {self.weights_path}: give the path of an npz file"
            )
        try:
            with self.weights_path.open("rb") as content, np.load(content, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files if name.startswith("seed_update.")}
        except (OSError, EOFError, ValueError, TypeError, BadZipFile) as error:
            raise InputError(
                f"{self.weights_path} cannot be read as weights of a flood-filling network: wanted an npz file of "
                "arrays, see docs/networks.md"
            ) from error
        _check_layers(found, self.weights_path)
        return found

    @property
    def depth(self) -> int:
        """Residual modules, the first of which has no shortcut."""
        return depth_of(self.weights)

    @property
    def flop(self) -> int:
        """Floating-point operations of one field of view, two for each product."""
        products = sum(array.size for name, array in self.weights.items() if name.endswith("weights"))
        return 2 * products * math.prod(self.field_of_view)

    @property
    def field_bytes(self) -> int:
        """Memory of one evaluation in float32: two layers of features, the sum of them and a copy."""
        widest = max(array.shape[4] for name, array in self.weights.items() if name.endswith("weights"))
        return 4 * 4 * int(widest) * math.prod(self.field_of_view)

    def normalised(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return an image as the network sees it: float32 of the same shape."""
        centred = image.astype(np.float32) - np.float32(self.image_mean)
        return np.asarray(centred / np.float32(self.image_standard_deviation), np.float32)

    def predict(self, images: npt.NDArray[np.float32], logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Evaluate fields of view.

        Parameters
        ----------
        images, logits : float32 arrays, shape (n, z, y, x)
            Normalised image, and object map in logit space, of `field_of_view`.

        Returns
        -------
        float32 array of the same shape
            The object maps with the network's update added.
        """
        from connectome.models.flood_filling_module import predict

        return predict(self, images, logits)

    def _content(self) -> bytes:
        return b"".join(
            name.encode() + repr(array.shape).encode() + np.ascontiguousarray(array, np.float32).tobytes()
            for name, array in sorted(self.weights.items())
        )


def fault_of_field(field_of_view: Triple, deltas: Triple) -> str | None:
    """Return what is wrong with a field of view and its steps, if anything is."""
    if any(size % 2 == 0 or size < 1 for size in field_of_view):
        return f"the field of view is {field_of_view}, wanted three odd numbers (z, y, x)"
    if any(not 0 <= step <= size // 2 for step, size in zip(deltas, field_of_view, strict=True)):
        return (
            f"deltas are {deltas}, but the field of view {field_of_view} reaches half its size from its centre: wanted "
            "steps of at most that"
        )
    return None


def depth_of(names: Mapping[str, Any]) -> int:
    """Return how many modules there are, by the names of weights."""
    return len([name for name in names if _LAYER.fullmatch(name)])


def _check_layers(found: Weights, path: Path) -> None:
    layers = [f"conv{module}_{half}" for module in range(depth_of(found)) for half in "ab"] + ["conv_lom"]
    channels = 2
    for layer in layers:
        weights, biases = (found.get(f"seed_update.{layer}.{part}") for part in ("weights", "biases"))
        if weights is None or biases is None or len(layers) < 3:
            raise InputError(
                f"{path} has no layer {layer} of a flood-filling network: wanted arrays seed_update.conv0_a.weights "
                "and so on, see docs/networks.md"
            )
        is_kernel = weights.ndim == 5 and all(size % 2 for size in weights.shape[:3])
        if not is_kernel or weights.shape[3] != channels or biases.shape != weights.shape[4:]:
            raise InputError(
                f"layer {layer} of {path} has weights {weights.shape} and biases {biases.shape}, wanted odd kernels "
                f"(z, y, x, {channels}, out) and (out,): correct the file"
            )
        channels = weights.shape[4]
    if channels != 1:
        raise InputError(f"the last layer of {path} has {channels} outputs, wanted 1: the update of the object map")
