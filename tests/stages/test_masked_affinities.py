"""Affinities inside a mask: those of the whole where both voxels lie inside, 0 elsewhere, and no needless tile."""

import numpy as np
import pytest

from connectome.geometry import Block, Box, Grid
from connectome.models import engine
from connectome.models.inference import forget_tiles
from connectome.stages.affinities import Affinities
from connectome.stages.masked_affinities import MaskedAffinities
from tests.models.small_networks import random_network

DOMAIN = Box((2, -3, 4), (26, 21, 52))
SIZE = (10.0, 10.0, 10.0)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    network = random_network(tmp_path_factory.mktemp("masked"))
    random = np.random.default_rng(0)
    mask = (random.random(DOMAIN.shape) < 0.7).astype(np.uint8)
    mask[:, :, 24:] = 0
    path = str(network.weights_path.with_suffix(".yaml"))
    return path, random.integers(0, 256, DOMAIN.shape, np.uint8), mask


def predicted(stage, box, **volumes):
    block = Block(box, DOMAIN, SIZE)
    inputs = {
        name: np.ascontiguousarray(array[stage.read_box(name, block).relative_to(DOMAIN.start).slices])
        for name, array in volumes.items()
    }
    return stage.process(block, **inputs)["affinities"]


def naive(affinities, mask):
    """Voxel by voxel: a pair counts if both of its voxels lie inside; the first voxels have no pair but themselves."""
    masked = affinities.copy()
    for axis, *voxel in np.ndindex(*affinities.shape):
        below = [n - (k == axis) for k, n in enumerate(voxel)]
        if not mask[tuple(voxel)] or (below[axis] >= 0 and not mask[tuple(below)]):
            masked[(axis, *voxel)] = 0
    return masked


@pytest.mark.parametrize("block", [(24, 24, 48), (10, 24, 17)])
def test_only_pairs_inside_are_kept(setting, block):
    path, image, mask = setting
    whole = predicted(Affinities(network=path), DOMAIN, image=image)
    wanted = naive(whole, mask)
    grid = Grid(DOMAIN, block)
    for index in grid.indices():
        forget_tiles()
        box = grid.box_at(index)
        found = predicted(MaskedAffinities(network=path), box, image=image, mask=mask)
        np.testing.assert_array_equal(found, wanted[(slice(None), *box.relative_to(DOMAIN.start).slices)])


def test_tiles_outside_run_no_network(setting, monkeypatch):
    path, image, mask = setting
    calls, run_tile = [], engine.run_tile
    monkeypatch.setattr(engine, "run_tile", lambda *a, **k: calls.append(a) or run_tile(*a, **k))
    forget_tiles()
    predicted(MaskedAffinities(network=path), DOMAIN, image=image, mask=mask)
    n_some = len(calls)
    calls.clear()
    forget_tiles()
    predicted(MaskedAffinities(network=path), DOMAIN, image=image, mask=np.ones_like(mask))
    assert 0 < n_some < len(calls)
    calls.clear()
    assert not predicted(MaskedAffinities(network=path), DOMAIN, image=image, mask=0 * mask).any()
    assert calls == []
