"""The benchmark of flood filling, on a cube so small that a hand-made network fills it."""

import json
import sys

import numpy as np
import pytest

from benchmarks import flood_filling
from connectome.models.flood_filling_network import FloodFillingNetwork
from tests.models.filling_networks import hand_made, hand_made_weights
from tests.stages.test_flood_filling import SETTINGS


@pytest.fixture
def data(tmp_path):
    """Two bright rods, their truth, and a published result that merges them."""
    raw = np.full((20, 20, 20), 50, np.uint8)
    raw[3:9, 3:9], raw[11:17, 11:17] = 200, 200
    truth = np.where(raw == 200, 1 + (np.indices(raw.shape)[0] > 9), 0).astype(np.uint32)
    np.savez(tmp_path / flood_filling.CUBE, raw=raw, neurons=truth, ffn_published=(truth > 0).astype(np.uint8))
    hand_made_weights(tmp_path / flood_filling.WEIGHTS)
    return tmp_path


def test_perfect_labels_score_nothing_and_merges_cost(data):
    cube = flood_filling.centred(data / flood_filling.CUBE, 20)
    found = flood_filling.scores(cube["neurons"], cube)
    assert found["voi_to_truth"]["sum"] == 0
    assert found["published_voi_to_truth"] == {**found["published_voi_to_truth"], "split": 0, "merge": 1}
    assert (found["voi_to_published"]["split"], found["labelled_share"]) == (1, 1)


def test_cubes_are_centred(data):
    whole, part = (flood_filling.centred(data / flood_filling.CUBE, size) for size in (20, 12))
    np.testing.assert_array_equal(part["raw"], whole["raw"][4:16, 4:16, 4:16])


def test_subvolumes_report_their_seams(data):
    image = flood_filling.centred(data / flood_filling.CUBE, 20)["raw"]
    names = ("field_of_view", "deltas", "image_standard_deviation", "margin", "min_segment_size")
    settings = {name: SETTINGS[name] for name in names}
    labels, counts = flood_filling.fill_grid(data / flood_filling.WEIGHTS, image, (10, 10, 10), 1, **settings)
    assert labels.shape == image.shape
    assert counts["n_seeds"] > 0
    assert counts["seams"]["n_faces"] == 12


def test_a_cube_is_filled(data):
    image = flood_filling.centred(data / flood_filling.CUBE, 20)["raw"]
    labels, counts = flood_filling.fill(hand_made(), image, 2)
    assert labels.shape == image.shape
    assert counts["n_seeds"] > 0


def test_missing_files_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(flood_filling.machine, "take_one_core", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["flood_filling", "--data", str(tmp_path)])
    assert flood_filling.main() == 1
    assert flood_filling.CUBE in capsys.readouterr().err


def test_the_line_is_json(data, monkeypatch, capsys):
    monkeypatch.setattr(flood_filling.machine, "take_one_core", lambda: 0)
    counts = {"n_fields": 3, "n_discarded_fields": 0}
    monkeypatch.setattr(flood_filling, "fill", lambda *_: (np.ones((20, 20, 20), np.int32), counts))
    monkeypatch.setattr(sys, "argv", ["flood_filling", "--data", str(data), "--size", "20"])
    monkeypatch.setattr(FloodFillingNetwork, "reach", (2, 2, 2))
    assert flood_filling.main() == 0
    line = json.loads(capsys.readouterr().out)
    assert line["n_fields"] == 3
    assert line["voi_to_truth"]["sum"] == line["centred"]["voi_to_truth"]["sum"] == 1
    assert line["matmul_gflop_per_s"] > 0
