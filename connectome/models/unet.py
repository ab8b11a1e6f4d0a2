"""A small 3-D U-Net for affinities, with valid convolutions and no statistics over the tile.

Valid convolutions and the absence of normalisation layers make a voxel's value a function of its
receptive field alone. Kernels start as in He et al. (2015, arXiv 1502.01852), which is all that so
shallow a network needs to train without normalisation.
"""

from __future__ import annotations

from itertools import pairwise, zip_longest

import torch
from torch import Tensor, nn
from torch.nn import functional

from connectome.geometry import Triple, as_triple
from connectome.models.architecture import Architecture

MODULES = {"affinities": "nearest"}
"""What heads are called in files of weights, where it is not their name."""


class UNet(nn.Module):
    """The network of an `Architecture`: image (batch, 1, z, y, x) to logits (batch, c, z, y, x).

    Channels are those of `Architecture.heads`: nearest-neighbour affinities along z, y, x; if `auxiliary` (while
    training) the long-range ones, distance by distance, and the shape descriptors; then the classes.
    """

    def __init__(self, architecture: Architecture, *, auxiliary: bool) -> None:
        super().__init__()
        self.architecture = architecture
        levels = architecture.levels
        self.encoders = nn.ModuleList()
        self.laterals = nn.ModuleList()
        self.decoders = nn.ModuleList()
        channels = 1
        for level in levels:
            self.encoders.append(_chain(channels, level.features, level.encoder))
            channels = level.features
        for level, deeper in pairwise(levels):
            self.laterals.append(_convolution(deeper.features, level.features, (1, 1, 1)))
            self.decoders.append(_chain(2 * level.features, level.features, level.decoder))
        self.head_names = []
        for head in architecture.heads(auxiliary=auxiliary):
            self.head_names.append(MODULES.get(head.name, head.name))
            self.add_module(self.head_names[-1], nn.Conv3d(levels[0].features, head.n_channels, 1))

    def in_fast_layout(self) -> UNet:
        """Keep the kernels as the processor's convolutions like them, channels last."""
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        return self

    def forward(self, image: Tensor) -> Tensor:
        features = self.features(image)
        logits: list[Tensor] = [self.get_submodule(name)(features) for name in self.head_names]
        return logits[0] if len(logits) == 1 else torch.cat(logits, dim=1)

    def features(self, image: Tensor) -> Tensor:
        """Return the last feature map of the finest level."""
        architecture = self.architecture
        halo = architecture.halo
        margin = [low + high for low, high in zip(halo.low, halo.high, strict=True)]
        output_shape = as_triple([n - m for n, m in zip(image.shape[2:], margin, strict=True)])
        crops = architecture.crops(output_shape)
        skips = []
        for level, encoder, crop in zip_longest(architecture.levels, self.encoders, crops):
            image = encoder(image)
            if level.pool is not None:
                pooled = functional.max_pool3d(image, level.pool)
                # Cut at once, so that what is not needed is freed before the coarser levels begin.
                skips.append(_cut(image, crop.skip))
                image = pooled
        for depth in reversed(range(len(skips))):
            pool = architecture.levels[depth].pool
            assert pool is not None
            up = _enlarge(self.laterals[depth](image), pool)
            crop = crops[depth]
            image = torch.cat([skips.pop(), _cut(up, crop.up)], dim=1)
            image = self.decoders[depth](image)
        return image


def _convolution(channels_in: int, channels_out: int, kernel: Triple) -> nn.Conv3d:
    convolution = nn.Conv3d(channels_in, channels_out, kernel)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution


def _chain(channels: int, features: int, kernels: tuple[Triple, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for kernel in kernels:
        layers += [_convolution(channels, features, kernel), nn.ReLU(inplace=True)]
        channels = features
    return nn.Sequential(*layers)


def _cut(image: Tensor, crop: tuple[slice, slice, slice]) -> Tensor:
    """Crop the spatial axes in one operation, whose gradient is one padding and not three."""
    padding: list[int] = []
    for cut, size in zip(reversed(crop), reversed(image.shape[2:]), strict=True):
        padding += [-cut.start, cut.stop - size]
    return functional.pad(image, padding)


def _enlarge(image: Tensor, factor: Triple) -> Tensor:
    """Repeat every voxel `factor` times (nearest-neighbour upsampling, exact in any precision)."""
    scale = [float(f) for f in factor]
    return functional.interpolate(image, scale_factor=scale, mode="nearest")
