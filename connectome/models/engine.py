"""The part of inference that needs torch: device, precision, and one tile through the network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

from connectome.models.manifest import Network
from connectome.models.unet import UNet

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class Engine:
    """Where a network runs, and in which precision. Bytes are equal between equal engines only."""

    device: Literal["cpu", "cuda"]
    precision: Literal["bfloat16", "float32"]

    def __str__(self) -> str:
        return f"{self.precision} on {self.device}"


@lru_cache(maxsize=1)
def available_engine() -> Engine:
    """Return CUDA if it is there, and bfloat16 if the hardware multiplies it natively."""
    if torch.cuda.is_available():
        return Engine("cuda", "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32")
    features = torch.cpu.get_capabilities()
    native = features.get("avx512_bf16", False) or features.get("amx_bf16", False)
    return Engine("cpu", "bfloat16" if native else "float32")


@lru_cache(maxsize=4)
def load_module(network: Network, engine: Engine) -> UNet:
    """Load the weights once per process; they are stored in bfloat16, which float32 holds exactly."""
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    module = UNet(network.architecture, auxiliary=False)
    module.load_state_dict(load_file(network.weights_path))
    module.requires_grad_(False).eval()
    return module.to(engine.device, DTYPES[engine.precision]).in_fast_layout()


def run_tile(network: Network, engine: Engine, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Predict one tile.

    Parameters
    ----------
    image
        Image (z, y, x) of the tile grown by the network's halo, uint8.

    Returns
    -------
    Affinities (3, z, y, x), uint8: probability times 255, rounded last.
    """
    if torch.get_num_threads() != 1:
        # The scheduler owns the cores, and sums would depend on how many threads share them.
        torch.set_num_threads(1)
    normalisation = network.manifest.normalisation
    module = load_module(network, engine)
    with torch.inference_mode():
        batch = torch.from_numpy(image).to(engine.device)[None, None].float()
        batch = (batch - normalisation.mean) / normalisation.standard_deviation
        batch = batch.to(DTYPES[engine.precision], memory_format=torch.channels_last_3d)
        logits = module(batch)[0].float()
        levels = torch.sigmoid(logits).mul_(255.0).round_().to(torch.uint8)
        return levels.cpu().contiguous().numpy()
