"""What training of any kind of network does: the optimiser and its schedule, averages, validation, reports."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from connectome.models.augmentation import Augmentation
from connectome.models.checkpoint import Progress, State
from connectome.models.samples import LabelledImage
from connectome.models.training_run import TrainingRun
from connectome.models.validation import History, Verdict

Example = TypeVar("Example")
Judge = Callable[[Path], Verdict]
"""From the path of a network that was released for it."""

VALIDATION_PATCHES = 6
NOT_IDENTITY = {
    "kind",
    "folder",
    "minutes",
    "steps",
    "threads",
    "checkpoint_s",
    "validation",
    "scoring",
    "tensorboard",
    "tile",
    "training_data",
    "licence",
}
"""Keys that may change when a run is resumed: what was learned so far does not depend on them."""


@dataclass(frozen=True)
class TrainingReport:
    """What is told at every checkpoint; `loss` is the mean since the report before."""

    step: int
    minutes: float
    share_done: float
    loss: float
    learning_rate: float
    validation_loss: float | None
    history: History


class Trainer(ABC, Generic[Example]):
    """The state of one run: network, averaged weights, optimiser and how far it is.

    A subclass says what the network is, what an example of it is, and which losses an example gives.
    """

    def __init__(self, config: TrainingRun, images: Sequence[LabelledImage], checked: Sequence[LabelledImage]) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config = config
        self.images, self.checked = images, checked
        mean, deviation = np.array([image.normalisation() for image in images]).mean(axis=0)
        self.normalisation = round(float(mean), 2), round(float(deviation), 2)
        # Kernels lie as the processor's convolutions like them.
        network = self.build().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        average = self.build().requires_grad_(False)
        average.load_state_dict(network.state_dict())
        named = list(network.named_parameters())
        kernels = [value for name, value in named if name.endswith("weight")]
        biases = [value for name, value in named if not name.endswith("weight")]
        groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": biases, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99))
        self.state = State(network, average, optimizer, Progress())

    @abstractmethod
    def build(self) -> nn.Module:
        """Return an untrained network."""

    @abstractmethod
    def draw(
        self, images: Sequence[LabelledImage], augmentation: Augmentation | None, random: np.random.Generator
    ) -> Example:
        """Draw an example."""

    @abstractmethod
    def losses(self, network: nn.Module, examples: Sequence[Example]) -> Iterator[tuple[Tensor, float]]:
        """Yield a batch's losses and their weights, each asked for when the one before was learned from."""

    @abstractmethod
    def release(self, folder: Path, network: nn.Module, figures: dict[str, float]) -> Path:
        """Write a network as it is used, and return the path by which it is."""

    @property
    def identity(self) -> dict[str, object]:
        """The configuration that a resumed run must share."""
        return self.config.model_dump(mode="json", exclude=NOT_IDENTITY)

    @property
    def share_done(self) -> float:
        """Share of the run that lies behind, by steps or minutes, whichever is further."""
        shares = [0.0]
        if self.config.steps is not None:
            shares.append(self.state.progress.step / self.config.steps)
        if self.config.minutes is not None:
            shares.append(self.state.progress.seconds / 60 / self.config.minutes)
        return min(1.0, max(shares))

    @property
    def is_done(self) -> bool:
        """Whether the run is over: by steps, by minutes, or because validation sees no gain."""
        scoring = self.config.scoring
        patience = None if scoring is None else scoring.patience
        return self.share_done >= 1 or (patience is not None and self.state.history.n_without_gain >= patience)

    @property
    def is_due(self) -> bool:
        """Whether the step just taken is to be validated."""
        scoring = self.config.scoring
        return scoring is not None and (self.state.progress.step % scoring.every == 0 or self.share_done >= 1)

    @property
    def learning_rate(self) -> float:
        """One cycle: a linear rise, then half a cosine down to a hundredth."""
        share, warm_up = self.share_done, self.config.warm_up
        if share < warm_up:
            return self.config.learning_rate * (0.05 + 0.95 * share / warm_up)
        falling = (share - warm_up) / (1 - warm_up)
        return self.config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * falling)))

    def step(self) -> float:
        """Take one step, whose examples are a function of seed and step alone, and return its mean loss."""
        began = time.monotonic()
        for group in self.state.optimizer.param_groups:
            group["lr"] = self.learning_rate
        random = np.random.default_rng([self.config.seed, self.state.progress.step])
        examples = [self.draw(self.images, self.config.augmentation, random) for _ in range(self.config.batch)]
        losses = []
        for loss, weight in self.losses(self.state.network, examples):
            self._learn(loss * weight)
            losses.append((float(loss.detach()), weight))
        self.state.progress.step += 1
        self.state.progress.seconds += time.monotonic() - began
        return _weighted_mean(losses)

    def _learn(self, loss: Tensor) -> None:
        self.state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.state.network.parameters(), 1.0)
        self.state.optimizer.step()
        self._update_average()

    @torch.no_grad()
    def validate(self) -> float | None:
        """Return the averaged network's loss on fixed, unchanged patches of the validation images."""
        if not self.checked:
            return None
        random = np.random.default_rng(self.config.seed)
        examples = [self.draw(self.checked, None, random) for _ in range(VALIDATION_PATCHES)]
        walks = (self.losses(self.state.average, [example]) for example in examples)
        return float(np.mean([_weighted_mean([(float(loss), weight) for loss, weight in walk]) for walk in walks]))

    def judge(self, judge: Judge, folder: Path) -> None:
        """Have the averaged weights judged as they would be released, and keep them if they are the best."""
        began = time.monotonic()
        folder.mkdir(exist_ok=True)
        released = self.release(folder, self.state.average, {})
        if self.state.history.add(self.state.progress.step, judge(released)):
            self.state.best = {name: value.clone() for name, value in self.state.average.named_parameters()}
        # Inference takes one thread, whatever training has.
        torch.set_num_threads(self.config.threads)
        self.state.progress.seconds += time.monotonic() - began

    @property
    def _keeps_best(self) -> bool:
        return self.config.scoring is not None and self.config.scoring.keep == "best"

    def kept(self) -> nn.Module:
        """Return the averaged network, with the weights of the best validation if there was one and it is asked for."""
        kept = self.build()
        best = self.state.best if self._keeps_best else {}
        kept.load_state_dict(best or self.state.average.state_dict())
        return kept

    def figures(self) -> dict[str, float]:
        """Return what the manifest says of the run."""
        done, history = self.state.progress, self.state.history
        figures = {"steps": float(done.step), "minutes": round(done.seconds / 60, 1)}
        validation_loss = self.validate()
        if validation_loss is not None:
            figures["validation_loss"] = round(validation_loss, 4)
        verdict = history.best if self._keeps_best else history.last
        if verdict is not None:
            scores = {name: round(float(value), 4) for name, value in verdict.items() if name != "objective"}
            figures |= {"validated_step": scores.pop("step"), **scores}
        return figures

    def report(self, losses: Sequence[float]) -> TrainingReport:
        """Note and describe where the run is, given the losses since the last time."""
        done = self.state.progress
        mean, validation_loss = float(np.mean(losses)), self.validate()
        report = TrainingReport(
            done.step, done.seconds / 60, self.share_done, mean, self.learning_rate, validation_loss, self.state.history
        )
        noted = ("step", "minutes", "loss", "learning_rate", "validation_loss")
        self.state.history.losses.append({name: getattr(report, name) for name in noted})
        return report

    @torch.no_grad()
    def _update_average(self) -> None:
        # A young average would remember the random start: let it lengthen with the steps taken.
        decay = min(self.config.average_decay, (1 + self.state.progress.step) / (10 + self.state.progress.step))
        for mean, value in zip(self.state.average.parameters(), self.state.network.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)


def _weighted_mean(losses: Sequence[tuple[float, float]]) -> float:
    values, weights = zip(*losses, strict=True)
    return float(np.average(values, weights=weights))
