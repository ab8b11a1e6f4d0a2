"""The networks that are shipped."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from safetensors import safe_open

from connectome.models import Training, load_network
from connectome.models.engine import Engine, load_module
from connectome.models.manifest import SHIPPED

ROOT = Path(__file__).parents[2]
NAMES = ["fib25", "phantom"]


@pytest.mark.parametrize("name", NAMES)
def test_weights_fit_the_manifest(name: str) -> None:
    network = load_network(name)
    assert network.weights_path.stat().st_size < 3_000_000
    module = load_module(network, Engine("cpu", "float32"))
    with safe_open(network.weights_path, "pt") as file:
        assert set(file.keys()) == set(module.state_dict())
    assert network.manifest.training.licence
    assert 70e3 < network.architecture.flops_per_voxel(network.manifest.tile) < 160e3


@pytest.mark.parametrize("name", NAMES)
def test_the_training_workflow_describes_the_network(name: str) -> None:
    config = Training.model_validate(yaml.safe_load((ROOT / f"workflows/train/{name}.yaml").read_text()))
    manifest = load_network(name).manifest
    assert config.architecture == manifest.architecture
    assert config.voxel_size_nm == manifest.voxel_size_nm
    assert config.tile == manifest.tile
    assert config.training_data == manifest.training.data
    assert config.licence == manifest.training.licence
    assert config.seed != 0 or name != "phantom"


def test_only_pairs_of_files_are_shipped() -> None:
    files = {path.name for path in SHIPPED.iterdir()}
    assert files == {f"{name}.{suffix}" for name in NAMES for suffix in ("yaml", "safetensors")}


def test_a_network_without_further_heads_is_described_as_before() -> None:
    """Its fingerprint, by which datasets know it, is that of levels and long ranges alone."""
    assert set(load_network("phantom").architecture.model_dump(mode="json")) == {"levels", "long_range"}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_auxiliary_is_not_predicted(name: str) -> None:
    assert list(load_network(name).heads) == ["affinities"]
