"""Training of an affinity network: from a configuration to weights with a manifest."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from connectome.errors import InputError
from connectome.models.checkpoint import Progress, State, load_checkpoint, save_checkpoint
from connectome.models.engine import available_engine
from connectome.models.losses import head_losses
from connectome.models.manifest import TrainedNetwork, load_network, load_trained
from connectome.models.network import Network
from connectome.models.release import release
from connectome.models.samples import LabelledImage, Sample, draw_sample
from connectome.models.sources import Generate, Read, load_source
from connectome.models.training_config import Training
from connectome.models.unet import UNet
from connectome.models.validation import History, Verdict

Judge = Callable[[Network], Verdict]

VALIDATION_PATCHES = 6
NOT_IDENTITY = {
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


def train(
    config: Training,
    read: Read,
    generate: Generate | None = None,
    progress: Callable[[TrainingReport], None] | None = None,
    judge: Judge | None = None,
) -> Path:
    """Train a network, or go on where an interrupted run stopped, and return its manifest's path.

    Parameters
    ----------
    config
        What to train, on what, for how long.
    read
        Gives the array (z, y, x) of a volume named as in the configuration.
    generate
        Gives image and labels of a phantom's box and seed, for sources that are phantoms.
    progress
        Told at every checkpoint.
    judge
        Gives the verdict on a network that was released for it, if `config.scoring` asks for that.
    """
    images, checked = ([load_source(each, config, read, generate) for each in part] for part in config.divided())
    trainer = Trainer(config, images, checked)
    folder = Path(config.folder)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / f"{config.network_name}.checkpoint.safetensors"
    load_checkpoint(checkpoint, trainer.state, trainer.identity)
    losses: list[float] = []
    saved = time.monotonic()
    while not trainer.is_done:
        losses.append(trainer.step())
        is_judged = judge is not None and trainer.is_due
        if judge is not None and is_judged:
            trainer.judge(judge, folder / "candidates")
        if is_judged or time.monotonic() - saved >= config.checkpoint_s or trainer.is_done:
            report = trainer.report(losses)
            save_checkpoint(checkpoint, trainer.state, trainer.identity)
            if progress is not None:
                progress(report)
            losses.clear()
            saved = time.monotonic()
    return release(folder, config, trainer.normalisation, trainer.kept(), trainer.figures())


def take_weights(module: UNet, network: TrainedNetwork) -> None:
    """Give a module the weights of a network with the same levels. Heads that only one of them has stay as they are."""
    if network.architecture.levels != module.architecture.levels:
        raise InputError(
            f"start_from wants a network with the levels of architecture, but those of {network.manifest.name} differ: "
            "copy them from its manifest"
        )
    own, weights = module.state_dict(), load_file(network.weights_path)
    fitting = {name: value for name, value in weights.items() if name in own and value.shape == own[name].shape}
    module.load_state_dict(fitting, strict=False)


class Trainer:
    """The state of one run: network, averaged weights, optimiser and how far it is."""

    def __init__(self, config: Training, images: Sequence[LabelledImage], checked: Sequence[LabelledImage]) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config = config
        self.images, self.checked = images, checked
        mean, deviation = np.array([image.normalisation() for image in images]).mean(axis=0)
        self.normalisation = round(float(mean), 2), round(float(deviation), 2)
        network = UNet(config.architecture, auxiliary=True).in_fast_layout()
        if config.start_from is not None:
            known = load_trained(config.start_from)
            take_weights(network, known)
            # The weights were learned with it.
            self.normalisation = known.normalisation.mean, known.normalisation.standard_deviation
        average = UNet(config.architecture, auxiliary=True).requires_grad_(False)
        average.load_state_dict(network.state_dict())
        named = list(network.named_parameters())
        kernels = [value for name, value in named if name.endswith("weight")]
        biases = [value for name, value in named if not name.endswith("weight")]
        groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": biases, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99))
        self.state = State(network, average, optimizer, Progress())

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

    def draw(self) -> list[Sample]:
        """Draw the patches of the present step: a function of seed and step alone."""
        random = np.random.default_rng([self.config.seed, self.state.progress.step])
        arguments = (self.config.patch, self.normalisation, self.config.augmentation, random)
        return [draw_sample(self.images, *arguments) for _ in range(self.config.batch)]

    def step(self) -> float:
        """Take one step and return its loss."""
        began = time.monotonic()
        for group in self.state.optimizer.param_groups:
            group["lr"] = self.learning_rate
        loss = self.loss(self.state.network, self.draw())
        self.state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.state.network.parameters(), 1.0)
        self.state.optimizer.step()
        self._update_average()
        self.state.progress.step += 1
        self.state.progress.seconds += time.monotonic() - began
        return float(loss.detach())

    def loss(self, network: UNet, samples: Sequence[Sample]) -> Tensor:
        """Return the sum of the heads' losses."""
        image = torch.from_numpy(np.stack([sample.image for sample in samples])[:, None])
        target = torch.from_numpy(np.stack([sample.target for sample in samples]))
        known = torch.from_numpy(np.stack([sample.known for sample in samples]))
        image = image.contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast("cpu", torch.bfloat16, enabled=available_engine().precision == "bfloat16"):
            logits = network(image)
        return torch.stack(list(head_losses(self.config, logits.float(), target, known).values())).sum()

    @torch.no_grad()
    def validate(self) -> float | None:
        """Return the averaged network's loss on fixed, unchanged patches of the validation images."""
        if not self.checked:
            return None
        random = np.random.default_rng(self.config.seed)
        arguments = (self.config.patch, self.normalisation, None, random)
        samples = [draw_sample(self.checked, *arguments) for _ in range(VALIDATION_PATCHES)]
        return float(np.mean([float(self.loss(self.state.average, [sample])) for sample in samples]))

    def judge(self, judge: Judge, folder: Path) -> None:
        """Have the averaged weights judged as they would be released, and keep them if they are the best."""
        began = time.monotonic()
        folder.mkdir(exist_ok=True)
        released = release(folder, self.config, self.normalisation, self.state.average, {})
        if self.state.history.add(self.state.progress.step, judge(load_network(str(released)))):
            self.state.best = {name: value.clone() for name, value in self.state.average.named_parameters()}
        # Inference takes one thread, whatever training has.
        torch.set_num_threads(self.config.threads)
        self.state.progress.seconds += time.monotonic() - began

    @property
    def _keeps_best(self) -> bool:
        return self.config.scoring is not None and self.config.scoring.keep == "best"

    def kept(self) -> UNet:
        """Return the averaged network, with the weights of the best validation if there was one and it is asked for."""
        kept = UNet(self.config.architecture, auxiliary=True)
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
