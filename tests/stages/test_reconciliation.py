"""Objects of subvolumes become one over faces, whatever the blocks, and disagreement is measured."""

import numpy as np
import pytest

from connectome.geometry import Box
from connectome.kernels.contingency import contingency
from connectome.metrics.seams import overlap_ratios, seam_errors
from connectome.stages.flood_filling import FloodFilling
from connectome.stages.reconciliation import Reconciliation
from tests.stages import test_contract as contract
from tests.stages.test_flood_filling import SETTINGS

ROUTE = contract.FILLING_ROUTE


def put_rods(monkeypatch):
    """Have the contract's chain of stages fill bright rods along x, which cross subvolumes; return the image."""
    z, y, _ = np.indices(contract.SHAPE)
    image = np.where((z % 8 < 5) & (y % 8 < 5), 200, 50)
    image = np.clip(image + np.random.default_rng(0).normal(0, 5, image.shape), 0, 255).astype(np.uint8)
    monkeypatch.setattr(contract, "outside", lambda name, empty: image)
    monkeypatch.setitem(contract.EXAMPLES, "flood_filling", SETTINGS)
    monkeypatch.setitem(contract.EXAMPLES, "reconciliation", {"subvolume": (12, 15, 18), "depth": (4, 4, 4)})
    return image


@pytest.fixture
def rods(monkeypatch):
    """Bright rods along x, which cross subvolumes, in the contract's chain of stages."""
    image = put_rods(monkeypatch)
    monkeypatch.setitem(contract.EXAMPLES, "agglomeration", {})
    return image


def test_rods_are_whole_and_the_same_from_all_blocks(rods):
    """Also where blocks hold several subvolumes, or cut them."""
    whole, tables = contract.chain(contract.SHAPE, "segmentation", stages=ROUTE)
    segmentation = whole["segmentation"]
    ends = segmentation[:, :, 4], segmentation[:, :, -5]
    held = (ends[0] > 0) & (ends[1] > 0)
    assert held.sum() > 100
    assert (ends[0] == ends[1])[held].mean() > 0.9
    for block_shape in ((12, 15, 18), (24, 30, 20)):
        again, parts = contract.chain(block_shape, "segmentation", stages=ROUTE)
        np.testing.assert_array_equal(again["segmentation"], segmentation)
        joint = {n: np.concatenate([p[n] for p in parts["seams"].values()]) for n in parts["seams"][0, 0, 0]}
        errors, wanted = seam_errors(joint), seam_errors(tables["seams"][0, 0, 0])
        assert (errors.n_faces, errors.n_voxels, errors.n_joined) == (
            wanted.n_faces,
            wanted.n_voxels,
            wanted.n_joined,
        )
        assert errors.disagreement == wanted.disagreement < 0.5
        assert errors.overlap_ratio == pytest.approx(wanted.overlap_ratio)


def test_without_agreement_nothing_is_joined(rods, monkeypatch):
    settings = {"subvolume": (12, 15, 18), "depth": (4, 4, 4), "min_agreement": 1.0}
    monkeypatch.setitem(contract.EXAMPLES, "reconciliation", settings)
    strict, tables = contract.chain((12, 15, 18), "segmentation", stages=ROUTE)
    objects, segments = (np.unique(strict[name]) for name in ("objects", "segmentation"))
    joined = sum(part["joined"].sum() for part in tables["seams"].values())
    assert len(segments) >= len(objects) - joined


def test_overlap_ratio_is_intersection_over_union():
    random = np.random.default_rng(1)
    a, b = random.integers(0, 4, (2, 6, 7, 8)).astype(np.uint64)
    pairs, counts = contingency(a, b)
    for (x, y), ratio in zip(pairs, overlap_ratios(pairs, counts), strict=True):
        wanted = ((a == x) & (b == y)).sum() / ((a == x) | (b == y)).sum() if x and y else 0
        assert ratio == pytest.approx(wanted)


def test_no_seams_no_errors():
    empty = {"subvolume": np.zeros(0, np.int64), "axis": np.zeros(0, np.uint8), "count": np.zeros(0, np.int64)}
    ends = {"a": np.zeros(0, np.uint64), "b": np.zeros(0, np.uint64), "joined": np.zeros(0, np.bool_)}
    errors = seam_errors({**empty, **ends})
    assert (errors.n_faces, errors.n_voxels, errors.disagreement, errors.n_joined) == (0, 0, 0.0, 0)


def test_both_stages_must_speak_of_one_grid():
    filling = FloodFilling(**SETTINGS)
    Reconciliation(subvolume=(12, 15, 18), depth=(4, 4, 4)).check_beside([filling])
    with pytest.raises(ValueError, match="one grid"):
        Reconciliation(subvolume=(12, 15, 18), depth=(3, 4, 4)).check_beside([filling])
    assert filling.subvolumes.slab(Box((12, 0, 0), (24, 15, 18)), 0, contract.DOMAIN).shape == (4, 15, 18)
