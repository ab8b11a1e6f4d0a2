"""Training of a network: from a configuration to weights and what is said of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from connectome.models.checkpoint import load_checkpoint, save_checkpoint
from connectome.models.flood_filling_config import FloodFillingTraining
from connectome.models.flood_filling_trainer import FloodFillingTrainer
from connectome.models.sources import Generate, Read, load_source
from connectome.models.trainer import Judge, Trainer, TrainingReport
from connectome.models.training_run import TrainingRun
from connectome.models.unet_trainer import UNetTrainer


def train(
    config: TrainingRun,
    read: Read,
    generate: Generate | None = None,
    progress: Callable[[TrainingReport], None] | None = None,
    judge: Judge | None = None,
) -> Path:
    """Train a network, or go on where an interrupted run stopped, and return the path of its description.

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
        Gives the verdict on a network by the path at which it was released for it, if `config.scoring` asks for that.
    """
    images, checked = ([load_source(each, config, read, generate) for each in part] for part in config.divided())
    trainer = trainer_of(config)(config, images, checked)
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
    return trainer.release(folder, trainer.kept(), trainer.figures())


def trainer_of(config: TrainingRun) -> type[Trainer[Any]]:
    """Return what trains the kind of network that a configuration describes."""
    return FloodFillingTrainer if isinstance(config, FloodFillingTraining) else UNetTrainer
