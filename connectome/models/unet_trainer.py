"""Training of U-Nets: one patch gives one loss, the sum of all heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from connectome.errors import InputError
from connectome.models.augmentation import Augmentation
from connectome.models.engine import autocast
from connectome.models.losses import head_losses
from connectome.models.manifest import TrainedNetwork, load_trained
from connectome.models.release import release
from connectome.models.samples import LabelledImage, Sample, draw_sample
from connectome.models.trainer import Trainer
from connectome.models.training_config import Training
from connectome.models.unet import UNet


def starting_network(config: Training) -> TrainedNetwork | None:
    """Return the network whose weights a run starts from, if it is not to start from random ones."""
    if config.start_from is None:
        return None
    network = load_trained(config.start_from)
    if network.architecture.levels != config.architecture.levels:
        raise InputError(
            f"start_from wants a network with the levels of architecture, but those of {network.name} differ: copy "
            "them from its manifest"
        )
    return network


def take_weights(module: nn.Module, network: TrainedNetwork) -> None:
    """Give a U-Net the weights of a network with the same levels. Heads that only one of them has stay as they are."""
    own, weights = module.state_dict(), load_file(network.weights_path)
    fitting = {name: value for name, value in weights.items() if name in own and value.shape == own[name].shape}
    module.load_state_dict(fitting, strict=False)


class UNetTrainer(Trainer[Sample]):
    """Trains a U-Net."""

    config: Training

    def __init__(self, config: Training, images: Sequence[LabelledImage], checked: Sequence[LabelledImage]) -> None:
        super().__init__(config, images, checked)
        known = starting_network(config)
        if known is not None:
            for module in (self.state.network, self.state.average):
                take_weights(module, known)
            # The weights were learned with it.
            self.normalisation = known.normalisation.mean, known.normalisation.standard_deviation

    def build(self) -> UNet:
        return UNet(self.config.architecture, auxiliary=True)

    def draw(
        self, images: Sequence[LabelledImage], augmentation: Augmentation | None, random: np.random.Generator
    ) -> Sample:
        return draw_sample(images, self.config, self.normalisation, augmentation, random)

    def losses(self, network: nn.Module, examples: Sequence[Sample]) -> Iterator[tuple[Tensor, float]]:
        image = torch.from_numpy(np.stack([sample.image for sample in examples])[:, None])
        target = torch.from_numpy(np.stack([sample.target for sample in examples]))
        known = torch.from_numpy(np.stack([sample.known for sample in examples]))
        with autocast():
            logits = network(image.contiguous(memory_format=torch.channels_last_3d))
        yield torch.stack(list(head_losses(self.config, logits.float(), target, known).values())).sum(), 1.0

    def release(self, folder: Path, network: nn.Module, figures: dict[str, float]) -> Path:
        return release(folder, self.config, self.normalisation, network, figures)
