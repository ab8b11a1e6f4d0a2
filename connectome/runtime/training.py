"""Trains a network from a YAML file, with volumes from the store and tissue from the phantom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from connectome.models.events import EventWriter
from connectome.models.flood_filling_config import FloodFillingTraining
from connectome.models.sources import load_source
from connectome.models.trainer import TrainingReport
from connectome.models.training import train
from connectome.models.training_run import TrainingRun
from connectome.models.validation import History, Verdict
from connectome.phantom import generate
from connectome.runtime.validation import FillingJudge, SegmentationJudge, judge_of
from connectome.store.sources import open_volume
from connectome.workflow.workflow import described, load_yaml, sentence_of, set_value


@dataclass(frozen=True)
class TrainingState:
    """How far a run is, for its page: losses and verdicts, and pictures of the best validation of this process."""

    config: TrainingRun
    history: History
    pictures: dict[str, npt.NDArray[Any]]


KINDS: dict[str, type[TrainingRun]] = {"unet": Training, "flood_filling": FloodFillingTraining}
Watch = Callable[[TrainingState], object]


def load_training(path: str, settings: Sequence[str]) -> TrainingRun:
    """Return the training that a YAML file describes, with ``key.sub=value`` applied to its content."""
    content = load_yaml(path)
    for setting in settings:
        set_value(content, setting)
    kind = content.get("kind", "unet")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(
            f"{described(path, settings)}: kind is {kind!r}, wanted one of {', '.join(KINDS)}; a U-Net needs none"
        )
    try:
        return KINDS[kind].model_validate(content)
    except ValidationError as error:
        raise InputError(f"{described(path, settings)}: {sentence_of(error, KINDS[kind])}") from error


def train_network(path: str, settings: Sequence[str], console: Console, watch: Watch | None = None) -> Path:
    """Train the network that a YAML file describes; return the path of its description.

    Parameters
    ----------
    path : str
        A file of `workflows/train`.
    settings : sequence of str
        ``key.sub=value``, applied to the file's content.
    console : rich.console.Console
        Where progress is shown.
    watch : callable, optional
        Told the state at every checkpoint.
    """
    config = load_training(path, settings)
    make = _tissue(config)
    judge = _BestPictures(config, make) if config.scoring is not None else None
    bars = Progress(
        TextColumn("train {task.fields[name]}"),
        BarColumn(),
        TextColumn("{task.fields[losses]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bars, EventWriter(config) as events:
        bar = bars.add_task("train", total=1.0, name=config.network_name, losses="")

        def report(now: TrainingReport) -> None:
            losses = _sentence(now)
            bars.update(bar, completed=now.share_done, losses=losses)
            if not console.is_terminal:
                console.print(f"{now.minutes:.1f} min, {now.share_done:.0%}: {losses}", highlight=False)
            events.write(now.history)
            if watch is not None:
                watch(TrainingState(config, now.history, judge.pictures if judge else {}))

        return train(config, read_volume, make, report, judge)


class _BestPictures:
    """A judge that is made when it is first asked, and remembers the pictures of its best verdict."""

    def __init__(self, config: TrainingRun, make: Any) -> None:
        self._config, self._make = config, make
        self._judge: SegmentationJudge | FillingJudge | None = None
        self._best = np.inf
        self.pictures: dict[str, npt.NDArray[Any]] = {}

    def __call__(self, released: Path) -> Verdict:
        if self._judge is None:
            held_out = self._config.divided()[1]
            volumes = [load_source(each, self._config, read_volume, self._make) for each in held_out]
            self._judge = judge_of(self._config, volumes)
        verdict = self._judge(released)
        if verdict.objective < self._best:
            self._best, self.pictures = verdict.objective, self._judge.pictures
        return verdict


def _sentence(now: TrainingReport) -> str:
    parts = [f"step {now.step}", f"loss {now.loss:.4f}"]
    if now.validation_loss is not None:
        parts.append(f"validation {now.validation_loss:.4f}")
    best = now.history.best
    if best is not None:
        parts.append(f"best {best['objective']:.3f} at step {best['step']}")
    return ", ".join(parts)


def read_volume(url: str) -> npt.NDArray[Any]:
    """Return the array (z, y, x) of a volume, named as in a training's configuration."""
    volume = open_volume(url)
    array: npt.NDArray[Any] = volume.read(volume.box)
    return array


def _tissue(config: TrainingRun) -> Any:
    def make(box: Box, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
        return generate(box, seed=seed, voxel_size_nm=config.voxel_size_nm)

    return make
