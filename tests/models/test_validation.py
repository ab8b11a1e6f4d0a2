from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from connectome.errors import InputError
from connectome.models import Network, load_network
from connectome.models import events as events_module
from connectome.models.events import EventWriter
from connectome.models.trainer import TrainingReport
from connectome.models.training import train
from connectome.models.validation import History, Verdict
from tests.models.small_networks import configuration, toy

VALIDATION = [{"image": "toy#image", "labels": "toy#labels", "box": "0:16,0:16,0:16"}]


def read(name: str) -> np.ndarray:
    return toy()[name]


class Scripted:
    """A judge that gives the objectives that it is told to, and remembers what it saw."""

    def __init__(self, *objectives: float) -> None:
        self.objectives = list(objectives)
        self.seen: list[dict[str, torch.Tensor]] = []

    def __call__(self, released: Path) -> Verdict:
        self.seen.append(load_file(released.with_suffix(".safetensors")))
        objective = self.objectives[len(self.seen) - 1]
        return Verdict(objective, {"voi": objective})


def judged(folder: Path, judge: Scripted, scoring: dict[str, Any] | None = None, **changes: Any) -> Network:
    scoring = scoring or {"every": 1}
    config = configuration(folder, validation=VALIDATION, scoring=scoring, **{"steps": 4, "warm_up": 0.5, **changes})
    return load_network(str(train(config, read, judge=judge)))


def test_the_weights_that_validation_likes_best_are_kept(tmp_path: Path) -> None:
    judge = Scripted(3.0, 1.0, 2.0, 1.0)
    network = judged(tmp_path, judge)
    for name, value in load_file(network.weights_path).items():
        assert torch.equal(value, judge.seen[1][name])
    figures = network.manifest.training.figures
    assert (figures["steps"], figures["validated_step"], figures["voi"]) == (4, 2, 1)


def test_the_last_weights_are_kept_where_asked_for(tmp_path: Path) -> None:
    judge = Scripted(3.0, 1.0, 2.0)
    network = judged(tmp_path, judge, {"every": 1, "keep": "last"}, steps=3)
    for name, value in load_file(network.weights_path).items():
        assert torch.equal(value, judge.seen[2][name])
    assert network.manifest.training.figures["voi"] == 2


def test_training_ends_when_there_is_no_gain(tmp_path: Path) -> None:
    judge = Scripted(1.0, 2.0, 2.0)
    network = judged(tmp_path, judge, {"every": 2, "patience": 2}, steps=100)
    assert network.manifest.training.figures["steps"] == 6
    again = Scripted()
    assert judged(tmp_path, again, {"every": 2, "patience": 2}, steps=100).fingerprint == network.fingerprint
    assert not again.seen


def test_the_last_step_is_judged(tmp_path: Path) -> None:
    judge = Scripted(2.0, 1.0)
    assert judged(tmp_path, judge, {"every": 3}, steps=4).manifest.training.figures["validated_step"] == 4


def test_an_interrupted_run_keeps_its_history_and_its_best(tmp_path: Path) -> None:
    def stop(report: TrainingReport) -> None:
        if report.step == 2:
            raise KeyboardInterrupt

    config = configuration(tmp_path, validation=VALIDATION, scoring={"every": 1}, steps=4, warm_up=0.5)
    first, second = Scripted(1.0, 2.0), Scripted(3.0, 4.0)
    with pytest.raises(KeyboardInterrupt):
        train(config, read, progress=stop, judge=first)
    reports: list[TrainingReport] = []
    network = load_network(str(train(config, read, progress=reports.append, judge=second)))
    assert [verdict["objective"] for verdict in reports[-1].history.verdicts] == [1, 2, 3, 4]
    assert [row["step"] for row in reports[-1].history.losses] == [1, 2, 3, 4]
    for name, value in load_file(network.weights_path).items():
        assert torch.equal(value, first.seen[0][name])


def test_validation_changes_nothing_that_is_learned(tmp_path: Path) -> None:
    judge = Scripted(4.0, 3.0, 2.0, 1.0)
    plain = load_network(str(train(configuration(tmp_path / "plain", steps=4, warm_up=0.5), read)))
    assert judged(tmp_path / "judged", judge).fingerprint == plain.fingerprint


def test_the_first_of_equal_verdicts_is_the_best() -> None:
    history = History()
    assert history.best is None
    assert [history.add(step, Verdict(value, {})) for step, value in enumerate([2.0, 1.0, 1.0])] == [True, True, False]
    assert history.best == {"step": 1, "objective": 1.0}
    assert history.n_without_gain == 1


def test_event_files_want_their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'connectome\[tensorboard\]'"):
        EventWriter(configuration(tmp_path, tensorboard=True))
    with EventWriter(configuration(tmp_path)) as events:
        events.write(History())
    assert not list(tmp_path.iterdir())


def test_event_files_hold_the_history(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = History()
    with EventWriter(configuration(tmp_path, tensorboard=True)) as events:
        for step in (10, 20):
            history.losses.append({"step": step, "loss": step / 100, "validation_loss": None})
            if step == 20:
                history.add(step, Verdict(1.5, {"voi_split": 0.5}))
            events.write(history)
    read_back = EventAccumulator(str(tmp_path / "events" / "small"))
    read_back.Reload()
    assert [(each.step, round(each.value, 2)) for each in read_back.Scalars("training/loss")] == [(10, 0.1), (20, 0.2)]
    assert [each.step for each in read_back.Scalars("validation/voi_split")] == [20]
