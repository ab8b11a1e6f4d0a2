from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from connectome.errors import InputError
from connectome.models import Manifest, load_network
from connectome.models.manifest import write_manifest
from tests.models.small_networks import random_network


def test_a_released_network_loads_again(tmp_path: Path) -> None:
    network = random_network(tmp_path)
    text = (tmp_path / "small.yaml").read_text()
    assert Manifest.model_validate(yaml.safe_load(text)) == network.manifest
    assert network.manifest.stride == network.architecture.stride
    assert [channel.name for channel in network.manifest.channels] == ["affinity_z", "affinity_y", "affinity_x"]
    assert not list(tmp_path.glob("*.partial"))


def test_the_fingerprint_follows_what_affinities_depend_on(tmp_path: Path) -> None:
    network = random_network(tmp_path)
    changed = network.manifest.model_copy(update={"voxel_size_tolerance": 0.5})
    write_manifest(tmp_path / "tolerant.yaml", changed)
    assert load_network(str(tmp_path / "tolerant.yaml")).fingerprint == network.fingerprint
    write_manifest(tmp_path / "tiled.yaml", network.manifest.model_copy(update={"tile": (8, 8, 8)}))
    assert load_network(str(tmp_path / "tiled.yaml")).fingerprint != network.fingerprint


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(InputError, match=r"'unheard' is not there: .*fib25.*phantom"):
        load_network("unheard")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    random_network(tmp_path / "right")
    shutil.copytree(tmp_path / "right", tmp_path / "wrong")
    manifest, weights = tmp_path / "wrong" / "small.yaml", tmp_path / "wrong" / "small.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"is not the file that small\.yaml describes"):
        load_network(str(manifest))
    weights.unlink()
    with pytest.raises(InputError, match=r"put small\.safetensors beside"):
        load_network(str(manifest))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("stride", [4, 4, 4], "architecture gives"),
        ("halo_low", [0, 0, 0], "architecture gives"),
        ("tile", [7, 8, 8], "choose positive multiples"),
        ("colour", "red", "Extra inputs"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(tmp_path: Path, key: str, value: object, message: str) -> None:
    random_network(tmp_path)
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load((tmp_path / "small.yaml").read_text()), key: value}))
    with pytest.raises(InputError, match=message):
        load_network(str(path))


def test_an_image_of_another_voxel_size_is_refused(tmp_path: Path) -> None:
    network = random_network(tmp_path)
    network.check_voxel_size((10.0, 12.0, 8.0))
    with pytest.raises(InputError, match=r"got 40 x 4 x 4 nm, wanted 10 x 10 x 10 nm \(zyx\) within 25%; use"):
        network.check_voxel_size((40.0, 4.0, 4.0))


def test_a_plan_needs_no_torch() -> None:
    code = (
        "import sys; from connectome.geometry import Box; from connectome.models import load_network; "
        "n = load_network('fib25'); n.image_box(Box.of_shape((9, 9, 9)), Box.of_shape((3, 3, 3))); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
