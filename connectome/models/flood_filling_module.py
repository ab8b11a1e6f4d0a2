"""The part of flood filling that needs torch: a stack of residual modules over one field of view."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from connectome.models.engine import DTYPES, Engine, available_engine, timed
from connectome.models.flood_filling_network import FloodFillingNetwork, Weights, depth_of

Array = npt.NDArray[np.float32]


class ConvolutionStack(nn.Module):
    """Image and object map (batch, 2, z, y, x) to the map's update (batch, 1, z, y, x), in logit space.

    Two convolutions make the first module. Each further one adds two convolutions of the rectified features to the
    features. Convolutions are padded with zeros, so the field of view keeps its shape.
    """

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        modules = range(depth_of(weights))
        self.first = nn.ModuleList(_convolution(weights, f"conv{module}_a") for module in modules)
        self.second = nn.ModuleList(_convolution(weights, f"conv{module}_b") for module in modules)
        self.last = _convolution(weights, "conv_lom")

    def forward(self, fields: Tensor) -> Tensor:
        features = fields
        for module, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            rectified = functional.relu(features) if module else features
            change = second(functional.relu(first(rectified), inplace=True))
            features = features + change if module else change
        return self.last(functional.relu(features))  # type: ignore[no-any-return]

    def weights(self) -> dict[str, Array]:
        """Return the weights as files hold them."""
        modules: dict[str, nn.Module] = {"conv_lom": self.last}
        for module, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            modules |= {f"conv{module}_a": first, f"conv{module}_b": second}
        arrays = {}
        for name, layer in modules.items():
            state = layer.state_dict()
            arrays[f"seed_update.{name}.weights"] = state["weight"].permute(2, 3, 4, 1, 0).contiguous().numpy()
            arrays[f"seed_update.{name}.biases"] = state["bias"].numpy()
        return arrays


def untrained_weights(depth: int, n_channels: int) -> dict[str, Array]:
    """Draw the weights of a network of `depth` modules from torch's generator, as of Glorot and Bengio (2010)."""
    layers = {f"conv{module}_{half}": (3, n_channels) for module in range(depth) for half in "ab"} | {
        "conv_lom": (1, 1)
    }
    arrays, channels_in = {}, 2
    for name, (size, channels_out) in layers.items():
        weights = torch.empty(channels_out, channels_in, size, size, size)
        nn.init.xavier_uniform_(weights)
        arrays[f"seed_update.{name}.weights"] = weights.permute(2, 3, 4, 1, 0).contiguous().numpy()
        arrays[f"seed_update.{name}.biases"] = np.zeros(channels_out, np.float32)
        channels_in = channels_out
    return arrays


def _convolution(arrays: Weights, layer: str) -> nn.Conv3d:
    weights = torch.from_numpy(arrays[f"seed_update.{layer}.weights"])
    *kernel, channels_in, channels_out = weights.shape
    convolution = nn.Conv3d(channels_in, channels_out, kernel, padding=[size // 2 for size in kernel])  # type: ignore[arg-type]
    with torch.no_grad():
        convolution.weight.copy_(weights.permute(4, 3, 0, 1, 2))
        assert convolution.bias is not None
        convolution.bias.copy_(torch.from_numpy(arrays[f"seed_update.{layer}.biases"]))
    return convolution


@lru_cache(maxsize=4)
def load_stack(network: FloodFillingNetwork, engine: Engine) -> ConvolutionStack:
    """Load the weights once per process, channels last."""
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    stack = ConvolutionStack(network.weights).requires_grad_(False).eval().to(engine.device, DTYPES[engine.precision])
    return stack.to(memory_format=torch.channels_last_3d)  # type: ignore[no-any-return, call-overload]


def predict(network: FloodFillingNetwork, images: Array, logits: Array, engine: Engine | None = None) -> Array:
    """Evaluate fields of view as `FloodFillingNetwork.predict` says.

    Parameters
    ----------
    engine : Engine, optional
        Device and precision; the best that there is if not given.

    Notes
    -----
    The network computes in the engine's precision; its update is added to the map in float32.
    """
    if torch.get_num_threads() != 1:
        # The scheduler owns the cores, and sums would depend on how many threads share them.
        torch.set_num_threads(1)
    engine = engine or available_engine()
    stack = load_stack(network, engine)
    with torch.inference_mode(), timed(engine):
        fields = torch.from_numpy(np.stack([images, logits], axis=1)).to(engine.device, DTYPES[engine.precision])
        update = stack(fields.contiguous(memory_format=torch.channels_last_3d))[:, 0]
        return np.asarray(update.float().cpu().numpy() + logits, np.float32)
