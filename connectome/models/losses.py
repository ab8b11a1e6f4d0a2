"""What training makes small: one term for each head, each over the voxels where its labels are known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from connectome.models.training_config import Training


def head_losses(config: Training, logits: Tensor, target: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Return the weighted loss of each head, by its name; of each class by the class.

    Parameters
    ----------
    config
        Heads and weights.
    logits, target, known
        Arrays (batch, channel, z, y, x) in the order of `Architecture.heads`: float32, float32, bool. A head whose
        labels are known nowhere gives 0 and learns nothing.
    """
    losses: dict[str, Tensor] = {}
    mask = known.float()
    for name, channels in config.architecture.channels(auxiliary=True).items():
        part = logits[:, channels], target[:, channels], mask[:, channels]
        if name == "affinities":
            weight = torch.where(part[1] > 0, 1.0, config.boundary_weight) * part[2]
            losses[name] = mean_entropy(part[0], part[1], weight)
        elif name == "long_range":
            losses[name] = config.long_range_weight * mean_entropy(*part)
        elif name == "shape_descriptors":
            error = functional.mse_loss(torch.sigmoid(part[0]), part[1], reduction="none") * part[2]
            losses[name] = config.shape_descriptors.weight * error.sum() / part[2].sum().clamp(min=1.0)
        else:
            losses |= _class_losses(config, config.architecture.classes, *part)
    return losses


def _class_losses(
    config: Training, names: Sequence[str], logits: Tensor, target: Tensor, mask: Tensor
) -> dict[str, Tensor]:
    losses = {}
    for number, name in enumerate(names):
        head, one = config.class_head(name), slice(number, number + 1)
        weight = torch.where(target[:, one] > 0, head.positive_weight, 1.0) * mask[:, one]
        losses[name] = head.weight * mean_entropy(logits[:, one], target[:, one], weight)
    return losses


def mean_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the mean cross entropy of probabilities in logit space, by weight; 0 where nothing has weight."""
    entropy = functional.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="sum")
    return entropy / weight.sum().clamp(min=1.0)
