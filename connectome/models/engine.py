"""The part of inference that needs torch: device, precision, and one tile through the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor

from connectome.models.ensemble import Ensemble
from connectome.models.foreign_engine import foreign_probability
from connectome.models.foreign_manifest import ForeignNetwork
from connectome.models.gpu_time import add_gpu_seconds
from connectome.models.manifest import TrainedNetwork
from connectome.models.network import Network, SingleNetwork
from connectome.models.unet import UNet

Predict = Callable[[Tensor], Tensor]
"""From a normalised image (z, y, x) to probabilities (c, z, y, x), both float32."""
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


def autocast() -> torch.autocast:
    """Return the context in which training computes: in bfloat16 where the processor multiplies it natively."""
    return torch.autocast("cpu", torch.bfloat16, enabled=available_engine().precision == "bfloat16")


@lru_cache(maxsize=4)
def load_module(network: TrainedNetwork, engine: Engine) -> UNet:
    """Load the weights once per process; they are stored in bfloat16, which float32 holds exactly."""
    module = UNet(network.architecture, auxiliary=False)
    module.load_state_dict(load_file(network.weights_path))
    module.requires_grad_(False).eval()
    return module.to(engine.device, DTYPES[engine.precision]).in_fast_layout()


def run_tile(
    network: Network, engine: Engine, image: npt.NDArray[np.uint8], *, mirrored: bool = False
) -> npt.NDArray[np.uint8]:
    """Predict one tile.

    Parameters
    ----------
    image
        Image (z, y, x) of the tile grown by the network's halo, uint8.
    mirrored
        Average over the eight mirrored images, for eight times the work.

    Returns
    -------
    What the network predicts (c, z, y, x), uint8: probability times 255, rounded last.
    """
    with torch.inference_mode(), timed(engine):
        probability = tile_probability(network, engine, image, mirrored=mirrored)
        return probability.mul_(255.0).round_().to(torch.uint8).cpu().contiguous().numpy()


@torch.inference_mode()
def tile_probability(
    network: Network, engine: Engine, image: npt.NDArray[np.uint8], *, mirrored: bool = False
) -> Tensor:
    """Return what `run_tile` rounds: probabilities (c, z, y, x), float32, on the engine's device."""
    if torch.get_num_threads() != 1:
        # The scheduler owns the cores, and sums would depend on how many threads share them.
        torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    if isinstance(network, Ensemble):
        parts = [
            tile_probability(member, engine, image[network.seen_by(member)], mirrored=mirrored)
            for member in network.members
        ]
        return torch.stack(parts).mean(0)
    assert isinstance(network, SingleNetwork)
    normalisation, predict = network.normalisation, _predictor(network, engine)
    normalised = torch.from_numpy(np.ascontiguousarray(image)).to(engine.device).float()
    normalised = (normalised - normalisation.mean) / normalisation.standard_deviation
    return _mean_over_mirrors(predict, normalised, "affinities" in network.heads) if mirrored else predict(normalised)


def _predictor(network: SingleNetwork, engine: Engine) -> Predict:
    """Return what maps a normalised image to probabilities."""
    if isinstance(network, TrainedNetwork):
        return partial(_probability, load_module(network, engine), DTYPES[engine.precision])
    assert isinstance(network, ForeignNetwork)
    return partial(foreign_probability, network, engine.device)


@contextmanager
def timed(engine: Engine) -> Iterator[None]:
    """Count the time that the accelerator takes for what is inside."""
    if engine.device != "cuda":
        yield
        return
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    yield
    end.record()
    end.synchronize()
    add_gpu_seconds(start.elapsed_time(end) / 1000)


def _probability(module: UNet, dtype: torch.dtype, image: Tensor) -> Tensor:
    batch = image[None, None].to(dtype).contiguous(memory_format=torch.channels_last_3d)
    return torch.sigmoid(module(batch)[0].float())


def _mean_over_mirrors(predict: Predict, image: Tensor, has_affinities: bool) -> Tensor:
    """Average the probabilities of the mirrored images (z, y, x), each mirrored back.

    In a mirrored image the lower voxel of a pair is the higher one, so along a mirrored axis its
    affinity lands one voxel too low and is moved up. The tile's first plane then has no such value:
    there the mean is over the mirrors that leave that axis alone. Classes stay where they are.
    """
    total, count = None, None
    for flips in product((False, True), repeat=3):
        axes = [axis for axis, flipped in enumerate(flips) if flipped]
        probability = predict(image.flip(axes)).flip([1 + axis for axis in axes])
        weight = torch.ones_like(probability)
        for axis in axes if has_affinities else ():
            probability[axis] = probability[axis].roll(1, axis)
            probability[axis].select(axis, 0).zero_()
            weight[axis].select(axis, 0).zero_()
        total = probability if total is None else total.add_(probability)
        count = weight if count is None else count.add_(weight)
    assert total is not None
    assert count is not None
    return total.div_(count)
