"""Training of flood-filling networks: examples, the walk of the field of view, and runs that are interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.models import engine
from connectome.models.augmentation import Augmentation
from connectome.models.flood_filling import logit
from connectome.models.flood_filling_config import FloodFillingTraining
from connectome.models.flood_filling_module import ConvolutionStack, untrained_weights
from connectome.models.flood_filling_network import FloodFillingNetwork
from connectome.models.flood_filling_trainer import FloodFillingTrainer
from connectome.models.object_samples import INSIDE, OUTSIDE, SHARES, draw_object, places_by_share
from connectome.models.samples import LabelledImage
from connectome.models.trainer import TrainingReport
from connectome.models.training import train
from connectome.phantom import generate
from connectome.stages.flood_filling import FloodFilling
from tests.naive import flood_filling as naive

PATCH = (17, 17, 17)
PHANTOM = {"phantom_seed": 101, "box": "0:40,0:40,0:40"}


def configuration(folder: Path, **changes: Any) -> FloodFillingTraining:
    values: dict[str, Any] = {
        "kind": "flood_filling",
        "name": "small",
        "folder": str(folder),
        "voxel_size_nm": (20, 20, 20),
        "training_data": "phantom",
        "licence": "Apache-2.0",
        "depth": 2,
        "channels": 8,
        "field_of_view": (9, 9, 9),
        "deltas": (4, 4, 4),
        "patch": PATCH,
        "sources": [PHANTOM],
        "absorb_below": 0,
        "steps": 4,
        "warm_up": 0.0,
    }
    return FloodFillingTraining.model_validate({**values, **changes})


def tissue(box: Box, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return generate(box, seed=seed, voxel_size_nm=(20, 20, 20))


def read(name: str) -> np.ndarray:
    raise AssertionError(name)


def test_training_learns_phantom_tissue(tmp_path: Path) -> None:
    reports: list[TrainingReport] = []
    changes = {"steps": 60, "batch": 2, "learning_rate": 1e-2, "average_decay": 0.9}
    config = configuration(tmp_path, checkpoint_s=1e-9, augmentation={"symmetry": "none"}, **changes)
    path = train(config, read, tissue, progress=reports.append)
    losses = [each.loss for each in reports]
    assert np.mean(losses[-20:]) < 0.8 * np.mean(losses[:5])
    described = yaml.safe_load(path.read_text())
    assert described["training"]["figures"]["steps"] == 60
    stage = FloodFilling(**described["flood_filling"], margin=(8, 8, 8))
    assert stage.network.depth == 2
    assert stage.field_of_view == (9, 9, 9)
    stage.check(Box.of_shape((40, 40, 40)), (20.0, 20.0, 20.0))


def test_validation_lowers_no_weight_and_repeats(tmp_path: Path) -> None:
    held_out = [{"phantom_seed": 102, "box": "0:24,0:24,0:24"}]
    config = configuration(tmp_path, validation=held_out)
    images = [LabelledImage(*tissue(Box.of_shape((24, 24, 24)), seed), config) for seed in (101, 102)]
    trainer = FloodFillingTrainer(config, images[:1], images[1:])
    before = trainer.validate()
    assert before == trainer.validate()
    trainer.step()
    assert before != trainer.validate()


def weights_of(path: Path) -> dict[str, np.ndarray]:
    return dict(FloodFillingNetwork(path.with_suffix(".npz"), (9, 9, 9), (4, 4, 4)).weights)


def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = train(configuration(tmp_path / "whole", steps=6, warm_up=0.5), read, tissue)

    def stop(report: TrainingReport) -> None:
        if report.step == 3:
            raise KeyboardInterrupt

    interrupted = configuration(tmp_path / "parts", steps=6, warm_up=0.5, checkpoint_s=1e-9)
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, read, tissue, progress=stop)
    assert not (tmp_path / "parts" / "small.npz").exists()
    parts = train(interrupted, read, tissue)
    assert weights_of(whole).keys() == weights_of(parts).keys()
    for name, value in weights_of(whole).items():
        np.testing.assert_array_equal(weights_of(parts)[name], value)


@pytest.fixture(scope="module")
def labelled() -> LabelledImage:
    """One large object, and thin rods in what is unlabelled."""
    labels = np.zeros((30, 34, 38), np.int64)
    labels[:, :18] = 1
    labels[:, 22::4, ::4] = np.arange(10) + 2
    image = np.where(labels > 0, 180, 60).astype(np.uint8)
    return LabelledImage(image, labels, configuration(Path("unused")))


def test_places_are_classified_by_what_their_object_fills(labelled: LabelledImage) -> None:
    classes = places_by_share((labelled,), PATCH, 0)
    assert len(classes) > 3
    edges = [0.0, *SHARES, 1.0]
    found = []
    for places in classes:
        shares = []
        for place in places[:20]:
            labels = labelled.labels[Box.of_shape(PATCH).shift(place.start).slices]
            assert labels[8, 8, 8] > 0
            shares.append((labels == labels[8, 8, 8]).mean())
        number = int(np.searchsorted(SHARES, shares[0]))
        assert all(edges[number] < share <= edges[number + 1] for share in shares)
        found.append(number)
    assert found == sorted(set(found))


def test_thin_objects_are_drawn_as_often_as_large_ones(labelled: LabelledImage) -> None:
    classes = places_by_share((labelled,), PATCH, 0)
    random = np.random.default_rng(0)
    samples = [draw_object(classes, PATCH, (120.0, 60.0), Augmentation(), random) for _ in range(60)]
    shares = [(sample.target > 0.5).mean() for sample in samples]
    thin = np.mean([share < SHARES[0] for share in shares])
    assert abs(thin - 1 / len(classes)) < 0.15
    for sample in samples:
        assert set(np.unique(sample.target)) <= {np.float32(INSIDE), np.float32(OUTSIDE)}
        assert sample.target[8, 8, 8] == np.float32(INSIDE)
        assert sample.known[sample.target > 0.5].all()


def test_what_nobody_labelled_is_no_place(labelled: LabelledImage) -> None:
    empty = LabelledImage(labelled.own_image, None, configuration(Path("unused")))
    with pytest.raises(InputError, match="no labels are where"):
        places_by_share((empty,), PATCH, 0)


def test_losses_are_those_of_a_plain_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Place by place, with the object map carried on; nothing is learned on the way."""
    monkeypatch.setattr(engine, "available_engine", lambda: engine.Engine("cpu", "float32"))
    images = [LabelledImage(*tissue(Box.of_shape((40, 40, 40)), 101), configuration(tmp_path))]
    trainer = FloodFillingTrainer(configuration(tmp_path, depth=1), images, [])
    network = trainer.build().requires_grad_(False)
    network.last.weight.mul_(0.5)
    network.last.bias.fill_(8.0)  # so that the field of view moves
    sample = trainer.draw(images, None, np.random.default_rng(0))
    losses = [float(loss) for loss, _ in trainer.losses(network, [sample])]
    arrays = (sample.image, sample.target, sample.known)
    wanted = naive.walk_losses(network.weights(), *arrays, (9, 9, 9), (4, 4, 4), logit(0.9))
    assert len(losses) > 10
    np.testing.assert_allclose(losses, wanted, rtol=1e-4)


def test_weights_survive_the_way_to_files_and_back() -> None:
    torch.manual_seed(0)
    weights = untrained_weights(3, 5)
    again = ConvolutionStack(weights).weights()
    assert again.keys() == weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(again[name], value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"field_of_view": (8, 9, 9)}, "three odd numbers"),
        ({"deltas": (5, 4, 4)}, "steps of at most that"),
        ({"patch": (16, 17, 17)}, "wanted odd sizes"),
        ({"patch": (7, 17, 17)}, "hold the field of view"),
        ({"patch": (19, 17, 17)}, "symmetry 'cube' permutes"),
        ({"patch": (17, 17, 19), "augmentation": {"symmetry": "section"}}, "symmetry 'section' permutes"),
        ({"sources": [{"image": "a", "classes": {"wall": "b"}}]}, "give every source labels"),
        ({"steps": None}, "never ends"),
        ({"architecture": {}}, "Extra inputs"),
    ],
)
def test_bad_configurations_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        configuration(tmp_path, **changes)
