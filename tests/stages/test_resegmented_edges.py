"""Pairs of pieces are scored alike from all blocks, and agglomeration joins those that find each other."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from connectome.stages import reconciliation, resegmented_edges
from connectome.stages.agglomeration import Agglomeration
from connectome.stages.flood_filling import FloodFilling
from connectome.stages.resegmented_edges import RESEGMENTATIONS, ResegmentedEdges
from tests.stages import test_contract as contract
from tests.stages.test_flood_filling import SETTINGS
from tests.stages.test_reconciliation import put_rods

ROUTE = contract.SCORED_ROUTE
SCORED = {name: SETTINGS[name] for name in contract.FILLING} | {"radius": (6, 6, 6), "max_deleted": 1.0}


@pytest.fixture
def rods(monkeypatch):
    """Bright rods along x that cross subvolumes, whose pieces reconciliation leaves apart."""
    image = put_rods(monkeypatch)
    monkeypatch.setattr(reconciliation, "overlap_ratios", lambda _, counts: np.zeros(counts.size))
    monkeypatch.setitem(contract.EXAMPLES, "resegmented_edges", SCORED)
    monkeypatch.setitem(contract.EXAMPLES, "agglomeration", {})
    return image


def rows_of(tables):
    """Rows of all blocks by pair."""
    parts = tables["resegmentations"].values()
    columns = [np.concatenate([part[name] for part in parts]).tolist() for name in RESEGMENTATIONS]
    rows = {row[:2]: row[2:] for row in zip(*columns, strict=True)}
    assert len(rows) == len(columns[0]), "a pair has one row"
    return rows


def test_pieces_of_a_rod_are_joined_and_rods_are_not(rods):
    volumes, tables = contract.chain(contract.SHAPE, "segmentation", stages=ROUTE)
    apart = contract.chain(contract.SHAPE, "segmentation", stages=contract.FILLING_ROUTE)[0]["segmentation"]
    segmentation, rows = volumes["segmentation"], rows_of(tables)
    assert max(row[-1] for row in rows.values()) > 200
    assert len(np.unique(segmentation)) < len(np.unique(apart))
    z, y, _ = np.indices(contract.SHAPE)
    rod = (z // 8 * 8 + y // 8)[segmentation > 0]
    assert len(set(zip(rod.tolist(), segmentation[segmentation > 0].tolist(), strict=True))) == len(
        np.unique(segmentation[segmentation > 0])
    ), "no segment is in two rods"
    for block_shape in ((12, 15, 18), (24, 30, 20)):
        again, parts = contract.chain(block_shape, "segmentation", stages=ROUTE)
        np.testing.assert_array_equal(again["segmentation"], segmentation)
        for pair, row in rows_of(parts).items():
            assert rows.get(pair, row) == row


def test_small_contacts_score_nothing(rods, monkeypatch):
    monkeypatch.setitem(contract.EXAMPLES, "resegmented_edges", SCORED | {"min_contact": 10_000})
    assert not rows_of(contract.chain((12, 15, 18), "resegmented_edges", stages=ROUTE[:3])[1])


@pytest.mark.parametrize("poor", [{"overlap": 0.5}, {"deleted": 0.5}])
def test_poor_fills_score_nothing(poor, rods, monkeypatch):
    fill = resegmented_edges.resegment_pair
    monkeypatch.setattr(resegmented_edges, "resegment_pair", lambda *given: replace(fill(*given), **poor))
    monkeypatch.setitem(contract.EXAMPLES, "resegmented_edges", SCORED | {"max_deleted": 0.02})
    rows = rows_of(contract.chain((12, 15, 18), "resegmented_edges", stages=ROUTE[:3])[1])
    assert rows
    assert all(row[-1] == 0 for row in rows.values())


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValidationError, match="could not move"):
        ResegmentedEdges(**SCORED | {"radius": (2, 6, 6)})
    stage = ResegmentedEdges(**SCORED)
    stage.check_beside([FloodFilling(**SETTINGS), Agglomeration()])
    with pytest.raises(ValueError, match="one grid"):
        stage.check_beside([FloodFilling(**SETTINGS | {"subvolume": (12, 15, 19)})])
    with pytest.raises(ValueError, match="gives means"):
        stage.check_beside([Agglomeration(linkage="maximum")])
