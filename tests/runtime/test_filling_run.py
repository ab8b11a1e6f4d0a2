"""Flood filling in a run: objects stand alone, or are fragments that affinities agglomerate."""

import numpy as np

from connectome.geometry import Box
from connectome.runtime.recut import cut
from connectome.runtime.run import run
from connectome.store.dataset import Dataset
from connectome.store.volume import Volume
from connectome.workflow.workflow import Workflow
from tests.conftest import ROOT
from tests.stages.test_contract import FILLING
from tests.stages.test_flood_filling import SETTINGS
from tests.tissue import noisy_affinities

SHAPE = (24, 30, 36)
VOXEL_SIZE_NM = (10.0, 10.0, 10.0)
SUBVOLUME = (12, 15, 18)


def image():
    z, y, _ = np.indices(SHAPE)
    values = np.where((z % 8 < 5) & (y % 8 < 5), 200, 50)
    return np.clip(values + np.random.default_rng(0).normal(0, 5, SHAPE), 0, 255).astype(np.uint8)


def segment(folder, block, edges, **dataset):
    edges = {"stage": edges} if isinstance(edges, str) else edges
    stages = [
        {"stage": "flood_filling", **SETTINGS},
        {"stage": "reconciliation", "subvolume": SUBVOLUME, "depth": (4, 4, 4)},
        edges,
        {"stage": "agglomeration"},
        {"stage": "segmentation"},
    ]
    np.save(folder / "image.npy", image())
    section = {"url": str(folder / f"{edges['stage']}-{block[0]}"), "image": str(folder / "image.npy"), **dataset}
    content = {"dataset": {**section, "voxel_size_nm": VOXEL_SIZE_NM}, "grid": {"block": block}, "stages": stages}
    outcome = run(Workflow.parse(content), runner="serial")
    assert outcome.is_complete, outcome.summary()
    return Dataset.at(section["url"])


def labels(dataset):
    return Volume.open(dataset.volume_url("segmentation")).read(Box.of_shape(SHAPE))


def test_objects_stand_alone(tmp_path):
    one, many = segment(tmp_path, SHAPE, "unscored_edges"), segment(tmp_path, SUBVOLUME, "unscored_edges")
    np.testing.assert_array_equal(labels(one), labels(many))
    assert len(np.unique(labels(one))) > 3


def test_affinities_agglomerate_objects(tmp_path):
    np.save(tmp_path / "affinities.npy", noisy_affinities(SHAPE)[0])
    affinities = {"affinities": str(tmp_path / "affinities.npy")}
    merged = segment(tmp_path, SUBVOLUME, "edges", **affinities)
    alone = segment(tmp_path, SUBVOLUME, "unscored_edges")
    np.testing.assert_array_equal(labels(merged) > 0, labels(alone) > 0)
    pairs = {(int(a), int(b)) for a, b in zip(labels(alone).ravel(), labels(merged).ravel(), strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}), "agglomeration only merges"


def test_objects_that_find_each_other_are_joined(tmp_path):
    scores = {"stage": "resegmented_edges", **{name: SETTINGS[name] for name in FILLING}, "radius": (6, 6, 6)}
    one, many = (segment(tmp_path, block, scores) for block in (SHAPE, SUBVOLUME))
    np.testing.assert_array_equal(labels(one), labels(many))
    alone = segment(tmp_path, SUBVOLUME, "unscored_edges")
    np.testing.assert_array_equal(labels(alone) > 0, labels(many) > 0)
    for dataset in (many, alone):
        again = cut(dataset.url, [0.6, 0.99], write=True, runner="serial")
        np.testing.assert_array_equal(labels(again[0].dataset), labels(dataset))


def test_the_workflow_of_the_docs_is_one(tmp_path):
    workflow = Workflow.load(str(ROOT / "workflows" / "flood_filling.yaml"), ["dataset.image=none.zarr"])
    assert [stage.name for stage in workflow.stages][:3] == ["flood_filling", "reconciliation", "unscored_edges"]
