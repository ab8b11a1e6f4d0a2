"""Training of flood-filling networks: one subvolume gives a loss at each place to which the field of view moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from connectome.geometry import Triple
from connectome.models.augmentation import Augmentation
from connectome.models.engine import autocast
from connectome.models.flood_filling import logit
from connectome.models.flood_filling_config import FloodFillingTraining
from connectome.models.flood_filling_module import ConvolutionStack, untrained_weights
from connectome.models.losses import mean_entropy
from connectome.models.object_growth import Growth, GrowthRule
from connectome.models.object_samples import INSIDE, OUTSIDE, ObjectSample, draw_object, places_by_share
from connectome.models.release import release_filling
from connectome.models.samples import LabelledImage
from connectome.models.trainer import Trainer


class FloodFillingTrainer(Trainer[ObjectSample]):
    """Trains a flood-filling network.

    The seed is in the centre of the subvolume. The field of view moves as at inference, and each evaluation sees what
    those before made of the object map; after each the weights are changed. One step is a batch of subvolumes, walked
    side by side to their ends, so that nothing is carried over to the next one but the weights.
    """

    config: FloodFillingTraining

    def build(self) -> nn.Module:
        return ConvolutionStack(untrained_weights(self.config.depth, self.config.channels))

    def draw(
        self, images: Sequence[LabelledImage], augmentation: Augmentation | None, random: np.random.Generator
    ) -> ObjectSample:
        places = places_by_share(tuple(images), self.config.patch, self.config.seed)
        return draw_object(places, self.config.patch, self.normalisation, augmentation, random)

    def losses(self, network: nn.Module, examples: Sequence[ObjectSample]) -> Iterator[tuple[Tensor, float]]:
        walks = [(example, Growth(self._rule, self._nothing, self._centre)) for example in examples]
        while walks := [(example, growth) for example, growth in walks if growth.position is not None]:
            image, target, known = (
                np.stack([growth.field_at(getattr(example, name)) for example, growth in walks])
                for name in ("image", "target", "known")
            )
            before = np.stack([growth.known() for _, growth in walks])
            fields = torch.from_numpy(np.stack([image, before], axis=1))
            with autocast():
                update = network(fields.contiguous(memory_format=torch.channels_last_3d))[:, 0]
            logits = torch.from_numpy(before) + update.float()
            # A large object's last moves, when the others have ended, weigh no more than its first.
            yield mean_entropy(logits, torch.from_numpy(target), torch.from_numpy(known)), len(walks) / len(examples)
            for (_, growth), answer in zip(walks, logits.detach().numpy(), strict=True):
                growth.advance(answer)

    def release(self, folder: Path, network: nn.Module, figures: dict[str, float]) -> Path:
        assert isinstance(network, ConvolutionStack)
        return release_filling(folder, self.config, self.normalisation, network.weights(), figures)

    @property
    def _rule(self) -> GrowthRule:
        """How the field of view moves; voxels that were judged outside may come back, so that this is learned too."""
        config = self.config
        return GrowthRule(
            config.field_of_view,
            config.deltas,
            initial=logit(INSIDE),
            padding=logit(OUTSIDE),
            move_threshold=logit(config.move_threshold),
            freeze_share=-1,
        )

    @property
    def _centre(self) -> Triple:
        z, y, x = (n // 2 for n in self.config.patch)
        return z, y, x

    @property
    def _nothing(self) -> npt.NDArray[np.int32]:
        """The objects made before: there are none."""
        return np.zeros(self.config.patch, np.int32)
