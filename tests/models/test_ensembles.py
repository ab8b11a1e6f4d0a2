from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.models import load_network, predict_affinities
from connectome.models.engine import available_engine, run_tile, tile_probability
from connectome.models.ensemble import Ensemble
from connectome.models.inference import image_box
from connectome.models.network_check import check_network
from connectome.models.tiles import gather
from tests.models.small_networks import CUBIC, random_network

WIDER: dict[str, Any] = {**CUBIC, "levels": [CUBIC["levels"][0], {"features": 6, "encoder": [[3, 3, 3], [3, 3, 3]]}]}


def write(folder: Path, *members: str) -> str:
    path = folder / "both.yaml"
    path.write_text(yaml.safe_dump({"name": "both", "members": list(members)}))
    return str(path)


def pair(folder: Path, **changes: Any) -> Ensemble:
    random_network(folder / "one")
    random_network(folder / "two", architecture=WIDER, **changes)
    ensemble = load_network(write(folder, "one/small.yaml", "two/small.yaml"))
    assert isinstance(ensemble, Ensemble)
    return ensemble


def tissue(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, shape, np.uint8)


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_ensemble_is_the_mean_of_its_members(tmp_path: Path, mirrored: bool) -> None:
    ensemble = pair(tmp_path)
    assert ensemble.members[0].halo != ensemble.members[1].halo == ensemble.halo
    engine, domain = available_engine(), Box((0, 0, 0), (40, 40, 48))
    tile = Box((16, 12, 16), (24, 24, 32))
    image = tissue(domain.shape)
    parts = [
        tile_probability(member, engine, gather(image, (0, 0, 0), tile.grow(member.halo), domain), mirrored=mirrored)
        for member in ensemble.members
    ]
    mean = ((parts[0] + parts[1]) / 2).numpy()
    found = run_tile(ensemble, engine, gather(image, (0, 0, 0), tile.grow(ensemble.halo), domain), mirrored=mirrored)
    assert np.array_equal(found, np.rint(mean * 255).astype(np.uint8))
    assert not np.array_equal(found, np.rint(parts[0].numpy() * 255).astype(np.uint8))


def test_any_box_has_the_bytes_of_the_whole(tmp_path: Path) -> None:
    ensemble = pair(tmp_path)
    domain = Box((0, 0, 0), (19, 21, 30))
    image = tissue(domain.shape)
    whole = predict_affinities(ensemble, image, domain, domain, domain)
    for box in (Box((3, 5, 7), (11, 18, 29)), Box((8, 12, 16), (9, 13, 17))):
        read = image_box(ensemble, domain, box)
        part = predict_affinities(ensemble, image[read.slices], read, domain, box)
        assert np.array_equal(part, whole[(slice(None), *box.slices)])
    assert all(proof.is_met for proof in check_network(ensemble))


def test_a_member_that_is_trained_again_makes_another_ensemble(tmp_path: Path) -> None:
    ensemble = pair(tmp_path)
    assert load_network(str(tmp_path / "both.yaml")).fingerprint == ensemble.fingerprint
    random_network(tmp_path / "one", architecture=WIDER)
    assert load_network(str(tmp_path / "both.yaml")).fingerprint != ensemble.fingerprint


def test_members_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the tile of 'small' is \(8, 12, 24\), but \(8, 12, 16\) of 'small'"):
        pair(tmp_path, tile=(8, 12, 24))
    with pytest.raises(InputError, match=r"network '.*missing\.yaml' is not there"):
        load_network(write(tmp_path, "one/small.yaml", "missing.yaml"))
    with pytest.raises(InputError, match=r"its member both\.yaml is an ensemble too"):
        load_network(write(tmp_path, "one/small.yaml", "both.yaml"))
    with pytest.raises(InputError, match="members"):
        load_network(write(tmp_path, "one/small.yaml"))
