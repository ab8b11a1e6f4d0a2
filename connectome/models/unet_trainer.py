"""Training of U-Nets: one patch gives one loss, the sum of all heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from connectome.models.augmentation import Augmentation
from connectome.models.engine import autocast
from connectome.models.losses import head_losses
from connectome.models.release import release
from connectome.models.samples import LabelledImage, Sample, draw_sample
from connectome.models.trainer import Trainer
from connectome.models.training_config import Training
from connectome.models.unet import UNet


class UNetTrainer(Trainer[Sample]):
    """Trains a U-Net."""

    config: Training

    def build(self) -> nn.Module:
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
