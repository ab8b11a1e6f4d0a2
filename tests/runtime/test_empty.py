"""Blocks where nothing is: no network runs, and the ledger says which they are."""

import json

import numpy as np
import pytest

from connectome.runtime.run import run
from connectome.store.checksum import checksum
from connectome.store.ledger import Receipt, joined, receipt_of, receipt_record
from connectome.workflow.workflow import Workflow
from tests.models.small_networks import random_network
from tests.tissue import write_volume

SHAPE = (16, 24, 96)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """(URL of an image whose upper two thirds along x hold one grey value, path of a network's manifest)."""
    folder = tmp_path_factory.mktemp("empty")
    image = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    image[:, :, 32:] = 90
    network = random_network(folder / "network")
    return write_volume(folder / "image", image, voxel_size_nm=(10.0, 10.0, 10.0)), network


def outcome_of(folder, image, block):
    url, network = image
    content = {
        "dataset": {"url": str(folder), "image": url},
        "grid": {"block": list(block)},
        "stages": [{"stage": "affinities", "network": str(network.weights_path.with_suffix(".yaml"))}],
    }
    return run(Workflow.parse(content), runner="serial")


def test_blank_blocks_are_recorded_as_empty(image, tmp_path, monkeypatch):
    from connectome.models import engine

    seen, run_tile = [], engine.run_tile
    monkeypatch.setattr(engine, "run_tile", lambda *a, **k: seen.append(a[2]) or run_tile(*a, **k))
    outcome = outcome_of(tmp_path, image, (16, 24, 32))
    receipts = [receipt_of(each) for each in outcome.dataset.ledger.records() if each["kind"] == "receipt"]
    empty = sorted(number for each in receipts for start, stop in each.empty for number in range(start, stop))
    assert empty == [2]
    assert all(tile.min() < tile.max() for tile in seen)
    stage = outcome.summary()["stages"]["affinities"]
    assert (stage["tasks"], stage["empty"]) == (3, 1)
    affinities = outcome.dataset.volume("affinities").read(outcome.plan.domain, must_exist=True)
    assert affinities[..., :32].any()
    assert not affinities[..., 64:].any()
    other = outcome_of(tmp_path / "other", image, (16, 24, 96))
    assert other.summary()["stages"]["affinities"]["empty"] == 0
    assert checksum(other.dataset.volume("affinities")) == checksum(outcome.dataset.volume("affinities"))


def test_blocks_outside_a_mask_are_empty(image, tmp_path):
    _, network = image
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, :, 40:50] = 1
    random = np.random.default_rng(1).integers(0, 256, SHAPE, np.uint8)
    urls = {
        name: write_volume(tmp_path / name, a, voxel_size_nm=(10.0,) * 3) for name, a in (("i", random), ("m", mask))
    }
    content = {
        "dataset": {"url": str(tmp_path / "run"), "image": urls["i"], "mask": urls["m"]},
        "grid": {"block": [16, 24, 32]},
        "stages": [{"stage": "masked_affinities", "network": str(network.weights_path.with_suffix(".yaml"))}],
    }
    outcome = run(Workflow.parse(content), runner="serial")
    assert outcome.summary()["stages"]["masked_affinities"]["empty"] == 2
    inside = outcome.dataset.volume("affinities").read(outcome.plan.domain)
    assert inside[..., 40:50].any()
    assert not inside[..., 50:].any()


def test_receipts_of_older_ledgers_name_no_empty_tasks():
    receipts = [
        Receipt("affinities", ((n, n + 1),), 1, 1, 0.0, 1.0, 1.0, 0, 0, 0, "host", empty=((n, n + 1),) if n < 3 else ())
        for n in (3, 1, 2)
    ]
    joint = joined(receipts)
    assert (joint.runs, joint.empty, joint.n_empty) == (((1, 4),), ((1, 3),), 2)
    record = json.loads(json.dumps(receipt_record(joint)))
    assert receipt_of(record) == joint
    del record["empty"]
    assert receipt_of(record).empty == ()
