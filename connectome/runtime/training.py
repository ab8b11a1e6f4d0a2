"""Trains a network from a YAML file, with volumes from the store and tissue from the phantom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.models import Training
from connectome.models.training import TrainingReport, train
from connectome.phantom import generate
from connectome.store.sources import open_volume
from connectome.workflow.workflow import load_yaml, set_value


def train_network(path: str, settings: Sequence[str], console: Console) -> Path:
    """Train the network that a YAML file describes; return its manifest's path.

    Parameters
    ----------
    path : str
        A file of `workflows/train`.
    settings : sequence of str
        ``key.sub=value``, applied to the file's content.
    console : rich.console.Console
        Where progress is shown.
    """
    content = load_yaml(path)
    for setting in settings:
        set_value(content, setting)
    try:
        config = Training.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {where}: {first['msg']}, got {first.get('input')!r}") from error
    bars = Progress(
        TextColumn("train {task.fields[name]}"),
        BarColumn(),
        TextColumn("{task.fields[losses]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bars:
        bar = bars.add_task("train", total=1.0, name=config.network_name, losses="")

        def report(now: TrainingReport) -> None:
            checked = "" if now.validation_loss is None else f", validation {now.validation_loss:.4f}"
            losses = f"step {now.step}, loss {now.loss:.4f}{checked}"
            bars.update(bar, completed=now.share_done, losses=losses)
            if not console.is_terminal:
                console.print(f"{now.minutes:.1f} min, {now.share_done:.0%}: {losses}", highlight=False)

        return train(config, _read, _tissue(config), report)


def _read(url: str) -> npt.NDArray[Any]:
    volume = open_volume(url)
    array: npt.NDArray[Any] = volume.read(volume.box)
    return array


def _tissue(config: Training) -> Any:
    def make(box: Box, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
        return generate(box, seed=seed, voxel_size_nm=config.voxel_size_nm)

    return make
