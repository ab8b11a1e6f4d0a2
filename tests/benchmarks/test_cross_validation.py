"""The benchmark of cross-validation, on networks so small that they take no time."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

from benchmarks import cross_validation
from connectome.errors import InputError
from connectome.runtime.training import train_network
from tests.conftest import ROOT
from tests.models.small_networks import configuration, toy


@pytest.fixture
def config(tmp_path: Path) -> str:
    arrays = {name.removeprefix("toy#"): array for name, array in toy().items()}
    np.savez(tmp_path / "toy.npz", **arrays)
    described = configuration(
        tmp_path,
        sources=[{"image": "toy#image", "classes": {"wall": "toy#wall"}, "box": "0:24,0:28,0:32"}],
        architecture={
            "affinities": False,
            "classes": ["wall"],
            "levels": configuration(tmp_path).model_dump(mode="json")["architecture"]["levels"],
        },
        classes={"wall": {"score": "boundary"}},
        cross_validation={"parts": [1, 1, 2]},
        steps=2,
    ).model_dump(mode="json")
    source = described["sources"][0]
    source |= {"image": f"{tmp_path}/toy.npz#image", "classes": {"wall": f"{tmp_path}/toy.npz#wall"}}
    path = tmp_path / "wall.yaml"
    path.write_text(yaml.safe_dump(described))
    for fold in range(2):
        train_network(str(path), [f"cross_validation.held_out={fold}"], Console(quiet=True))
    return str(path)


def test_every_part_is_scored_by_the_network_that_did_not_see_it(config: str) -> None:
    found = json.loads(json.dumps(cross_validation.measure(config, None, mirrored=False)))
    assert found["classes"]["wall"].keys() == {"overlap", "boundary"}
    for score in found["classes"]["wall"].values():
        assert len(score["folds"]) == len(score["thresholds"]) == 2
        assert score["mean"] == pytest.approx(np.mean(score["folds"]), abs=1e-4)


def test_a_fold_takes_the_threshold_of_the_others() -> None:
    best = [0.2, 0.4, 0.9]
    tables = [{each: {"overlap": 1 - abs(each - b)} for each in cross_validation.THRESHOLDS} for b in best]
    found = cross_validation.over_folds(tables)["overlap"]
    assert found["thresholds"] == [0.4, 0.2, 0.2]
    assert found["folds"] == [0.8, 0.8, 0.3]
    assert found["folds_at_half"] == [0.7, 0.9, 0.6]


@pytest.mark.parametrize("name", ["phantom", "flood_filling_phantom"])
def test_a_training_without_folds_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="has no cross_validation or no classes"):
        cross_validation.measure(str(ROOT / "workflows" / "train" / f"{name}.yaml"), None, mirrored=False)
