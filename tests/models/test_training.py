from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.models import load_network, predict_affinities
from connectome.models.inference import predict
from connectome.models.losses import head_losses
from connectome.models.trainer import TrainingReport
from connectome.models.training import train
from tests.models.foreign_networks import foreign, module
from tests.models.small_networks import CUBIC, configuration, toy, with_classes


def read(name: str) -> np.ndarray:
    return toy()[name]


def test_training_learns_a_toy(tmp_path: Path) -> None:
    reports: list[TrainingReport] = []
    config = configuration(
        tmp_path,
        steps=60,
        batch=2,
        learning_rate=1e-2,
        average_decay=0.9,
        checkpoint_s=1e-9,
        augmentation={"symmetry": "none"},
    )
    path = train(config, read, progress=reports.append)
    assert reports[-1].share_done == 1
    assert [report.step for report in reports] == list(range(1, 61))
    losses = [report.loss for report in reports]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    assert reports[-1].validation_loss is None
    network = load_network(str(path))
    assert network.manifest.training.figures["steps"] == 60
    image = toy()["toy#image"]
    domain = Box.of_shape(image.shape)
    affinities = predict_affinities(network, image, domain, domain, domain)
    assert affinities[2][:, :, 12].mean() > affinities[2][:, :, 16].mean() + 60


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path.with_suffix(".safetensors"))


def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = train(configuration(tmp_path / "whole", steps=6, warm_up=0.5), read)

    def stop(report: TrainingReport) -> None:
        if report.step == 3:
            raise KeyboardInterrupt

    interrupted = configuration(tmp_path / "parts", steps=6, warm_up=0.5, checkpoint_s=1e-9)
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, read, progress=stop)
    assert not (tmp_path / "parts" / "small.yaml").exists()
    parts = train(interrupted, read)
    for name, value in weights_of(whole).items():
        assert torch.equal(weights_of(parts)[name], value)


def test_a_run_starts_from_another_network(tmp_path: Path) -> None:
    first = train(configuration(tmp_path / "first", steps=2), read)
    more_heads = {**CUBIC, "shape_descriptors": True}
    part = {"image": "toy#image", "labels": "toy#labels", "box": "0:16,0:24,0:24"}
    changes = {"architecture": more_heads, "start_from": str(first), "learning_rate": 1e-12, "augmentation": {}}
    second = train(configuration(tmp_path / "second", steps=1, sources=[part], **changes), read)
    for name, value in weights_of(first).items():
        assert torch.equal(weights_of(second)[name], value)
    manifests = [load_network(str(path)).manifest for path in (first, second)]
    assert manifests[1].normalisation == manifests[0].normalisation
    assert manifests[1].training.started_from == manifests[0].weights_sha256


def test_a_run_does_not_start_from_another_kind_of_network(tmp_path: Path) -> None:
    first = train(configuration(tmp_path / "first", steps=1), read)
    deeper = {"levels": [CUBIC["levels"][0], {"features": 8, "encoder": [[3, 3, 3]]}]}
    with pytest.raises(InputError, match="levels of architecture, but those of small differ"):
        train(configuration(tmp_path / "second", architecture=deeper, start_from=str(first)), read)
    foreign(tmp_path, module())
    with pytest.raises(InputError, match="is a foreign network: wanted one that connectome train wrote"):
        train(configuration(tmp_path / "third", start_from=str(tmp_path / "foreign.yaml")), read)


def test_a_finished_run_only_releases_again(tmp_path: Path) -> None:
    config = configuration(tmp_path, steps=2)
    first = train(config, read).read_bytes()
    reports: list[TrainingReport] = []
    assert train(config, read, progress=reports.append).read_bytes() == first
    assert reports == []


def test_a_changed_run_is_not_resumed(tmp_path: Path) -> None:
    train(configuration(tmp_path, steps=1), read)
    with pytest.raises(InputError, match=r"begun with other values of boundary_weight, seed: restore them"):
        train(configuration(tmp_path, steps=2, seed=5, boundary_weight=2.0), read)


def test_time_ends_training_and_validation_is_reported(tmp_path: Path) -> None:
    reports: list[TrainingReport] = []
    validation = [{"image": "toy#image", "labels": "toy#labels", "box": "0:16,0:16,0:16"}]
    path = train(
        configuration(tmp_path, steps=None, minutes=0.005, validation=validation), read, progress=reports.append
    )
    figures = load_network(str(path)).manifest.training.figures
    assert figures["minutes"] < 1
    assert reports[-1].validation_loss == pytest.approx(figures["validation_loss"], abs=1e-3)


def test_a_phantom_is_a_source(tmp_path: Path) -> None:
    asked = []

    def generate(box: Box, seed: int) -> tuple[np.ndarray, np.ndarray]:
        asked.append((box, seed))
        return toy()["toy#image"], toy()["toy#labels"]

    source = {"phantom_seed": 7, "box": "0:24,0:28,0:32"}
    train(configuration(tmp_path, sources=[source], steps=1), read, generate)
    assert asked == [(Box.of_shape((24, 28, 32)), 7)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": None}, "training never ends"),
        ({"patch": (7, 8, 8)}, "choose positive multiples"),
        ({"momentum": 1}, "Extra inputs"),
        ({"sources": [{"image": "a"}]}, "both image and labels"),
        ({"sources": [{"phantom_seed": 1}]}, "wants phantom_seed and box"),
        ({"sources": [{"image": "a", "labels": "b", "box": "0:1"}]}, "written z0:z1"),
        ({"name": "../up"}, "pattern"),
        ({"architecture": {**CUBIC, "classes": ["wall"]}}, r"no source has labels of the classes \['wall'\]"),
        ({"architecture": {**CUBIC, "classes": ["wall", "wall"]}}, "name each once"),
        ({"architecture": {"levels": CUBIC["levels"], "affinities": False}}, "predicts nothing"),
        ({"classes": {"wall": {}}}, r"\['wall'\] are no heads of the network"),
        ({"sources": [{"image": "a", "classes": {"wall": "b"}}]}, "no heads of the network"),
        ({"classes": {"wall": {"colour": 1}}}, "Extra inputs"),
        (
            {
                "architecture": {**CUBIC, "shape_descriptors": True},
                "shape_descriptors": {"sigma_nm": (40, 20, 20)},
            },
            "choose symmetry 'section'",
        ),
    ],
)
def test_bad_configurations_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        configuration(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": [{"image": "toy#image", "labels": "toy#labels", "box": "0:99,0:9,0:9"}]}, "choose one inside"),
        ({"sources": [{"image": "toy#image", "labels": "toy#labels", "box": "0:4,0:9,0:9"}]}, "smaller than the"),
        ({"sources": [{"image": "toy#labels", "labels": "toy#labels"}]}, "must be uint8"),
    ],
)
def test_bad_sources_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(configuration(tmp_path, **changes), read)


def test_every_head_learns_where_its_labels_are(tmp_path: Path) -> None:
    """No source has labels of all heads, and each head still comes to know its own."""
    image = toy()["toy#image"]
    changes = {"classes": {"spot": {"positive_weight": 10.0}}, "augmentation": {"symmetry": "none"}}
    config = with_classes(tmp_path, steps=80, batch=2, learning_rate=1e-2, average_decay=0.9, **changes)
    network = load_network(str(train(config, read)))
    assert [channel.name for channel in network.manifest.channels][3:] == ["wall", "spot"]
    domain = Box.of_shape(image.shape)
    affinities, classes = (
        predict(network, image, domain, domain, domain, head=head) for head in ("affinities", "classes")
    )
    assert affinities.shape[0] == 3
    assert affinities[2][:, :, 12].mean() > affinities[2][:, :, 16].mean() + 30
    wall = toy()["toy#wall"] == 1
    assert classes[0][wall].mean() > classes[0][~wall].mean() + 50


def test_a_head_without_labels_gives_no_loss(tmp_path: Path) -> None:
    config = with_classes(tmp_path)
    logits = torch.randn(1, 18, 4, 4, 4)
    known = torch.zeros(logits.shape, dtype=torch.bool)
    known[:, -1] = True
    losses = head_losses(config, logits, torch.ones_like(logits), known)
    assert list(losses) == ["affinities", "long_range", "shape_descriptors", "wall", "spot"]
    assert [name for name, loss in losses.items() if loss > 0] == ["spot"]
