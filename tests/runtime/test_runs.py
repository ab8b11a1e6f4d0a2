"""The promise: the segmentation depends on the affinities and the parameters alone."""

import json

import numpy as np
import pytest
from distributed import LocalCluster

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.runtime.run import replay, run
from connectome.store.checksum import checksum
from connectome.store.dataset import Dataset
from connectome.store.volume import Volume
from connectome.workflow.plan import Task
from connectome.workflow.workflow import Workflow
from tests.tissue import workflow_content


@pytest.fixture(scope="module")
def reference(stored_affinities, tmp_path_factory):
    """(outcome, checksum) of the run in one block."""
    affinities, truth = stored_affinities
    content = workflow_content(tmp_path_factory.mktemp("reference"), affinities, (60, 70, 90), truth=truth)
    outcome = run(Workflow.parse(content), runner="serial")
    assert outcome.is_complete
    return outcome, checksum(outcome.dataset.volume("segmentation"))


def test_the_segmentation_is_one(reference):
    outcome, _ = reference
    labels = outcome.dataset.volume("segmentation").read(Box.of_shape((60, 70, 90)))
    ids, first = np.unique(labels, return_index=True)
    assert len(ids) > 20
    # an id is one more than the index of the segment's first voxel
    assert all(i == f + 1 for i, f in zip(ids.tolist(), first.tolist(), strict=True) if i)
    assert outcome.agreement["voi_split"] + outcome.agreement["voi_merge"] < 3


@pytest.mark.parametrize("block", [(20, 20, 20), (25, 70, 33), (64, 64, 64), (13, 35, 90)])
def test_any_block_shape_gives_the_same_checksum(block, reference, stored_affinities, tmp_path):
    outcome = run(Workflow.parse(workflow_content(tmp_path, stored_affinities[0], block)), runner="serial")
    assert outcome.is_complete
    assert checksum(outcome.dataset.volume("segmentation")) == reference[1]


@pytest.mark.parametrize("n_workers", [1, 2])
def test_dask_gives_the_same_checksum(n_workers, reference, stored_affinities, tmp_path):
    workflow = Workflow.parse(workflow_content(tmp_path, stored_affinities[0], (32, 32, 32)))
    outcome = run(workflow, runner="dask", n_workers=n_workers)
    assert outcome.is_complete
    assert checksum(outcome.dataset.volume("segmentation")) == reference[1]


def test_any_scheduler_gives_the_same_checksum(reference, stored_affinities, tmp_path):
    with LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
        local_directory=str(tmp_path / "scratch"),
    ) as cluster:
        workflow = Workflow.parse(workflow_content(tmp_path / "run", stored_affinities[0], (32, 32, 32)))
        outcome = run(workflow, runner=cluster.scheduler_address)
    assert outcome.is_complete
    assert checksum(outcome.dataset.volume("segmentation")) == reference[1]


def test_affinity_flavour_is_independent_of_blocks(stored_affinities, tmp_path):
    sums = set()
    for n, block in enumerate([(60, 70, 90), (22, 31, 45)]):
        content = workflow_content(tmp_path / str(n), stored_affinities[0], block)
        content["stages"][0] = {"stage": "fragments", "flavour": "affinity", "low": 20, "high": 250}
        sums.add(checksum(run(Workflow.parse(content), runner="serial").dataset.volume("segmentation")))
    assert len(sums) == 1


def test_pyramids_are_the_same_for_all_blocks_that_allow_them(stored_affinities, tmp_path):
    levels = []
    for n, block in enumerate([(60, 70, 90), (32, 32, 32)]):
        content = workflow_content(tmp_path / str(n), stored_affinities[0], block)
        volume = run(Workflow.parse(content), runner="serial").dataset.volume("segmentation")
        assert volume.n_levels > 1
        levels.append(volume.read(volume.level_box(1), level=1))
    np.testing.assert_array_equal(*levels)


def test_a_second_run_does_nothing(stored_affinities, tmp_path):
    workflow = Workflow.parse(workflow_content(tmp_path, stored_affinities[0]))
    run(workflow, runner="serial")
    events = []
    before = Dataset(str(tmp_path)).volume("segmentation").url
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("volumes/**/c/**/*") if path.is_file()}
    again = run(workflow, runner="serial")
    assert again.is_complete
    assert not events
    assert times == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("volumes/**/c/**/*") if p.is_file()}
    assert before == again.dataset.volume("segmentation").url
    assert again.summary()["stages"]["fragments"]["tasks"] == 3 * 3 * 2


def test_changed_parameters_are_named_refused_and_redone(stored_affinities, tmp_path, reference):
    content = workflow_content(tmp_path, stored_affinities[0])
    first = checksum(run(Workflow.parse(content), runner="serial").dataset.volume("segmentation"))
    content["stages"][2]["threshold"] = 0.9
    with pytest.raises(InputError, match=r"agglomeration\.threshold was 0\.6, is 0\.9.*--redo"):
        run(Workflow.parse(content), runner="serial")
    assert checksum(Volume.open(f"{tmp_path}#segmentation")) == first
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "volumes" / "fragments").rglob("*") if p.is_file()}
    redone = run(Workflow.parse(content), runner="serial", redo=True)
    assert checksum(redone.dataset.volume("segmentation")) != first
    assert kept == {p: p.stat().st_mtime_ns for p in (tmp_path / "volumes" / "fragments").rglob("*") if p.is_file()}
    content["stages"][2]["threshold"] = 0.6
    content["grid"]["block"] = [20, 40, 60]
    with pytest.raises(InputError, match=r"grid\.block was \[32, 32, 32\], is \[20, 40, 60\]"):
        run(Workflow.parse(content), runner="serial")
    back = run(Workflow.parse(content), runner="serial", redo=True)
    assert checksum(back.dataset.volume("segmentation")) == first == reference[1]


def test_a_failing_block_is_quarantined_named_and_replayed(tmp_path):
    """A shard of the affinities is damaged: its block fails, the rest goes on; mended, the run goes on."""
    from tests.tissue import noisy_affinities, write_volume

    affinities, _ = noisy_affinities((40, 40, 80))
    url = write_volume(tmp_path / "affinities.zarr", affinities, block=(40, 40, 40))
    shard = next(path for path in (tmp_path / "affinities.zarr" / "0" / "c").rglob("1") if path.is_file())
    good = shard.read_bytes()
    shard.write_bytes(b"damaged" * 10)
    workflow = Workflow.parse(workflow_content(tmp_path / "run", url, (40, 40, 40)))
    outcome = run(workflow, runner="serial")
    assert not outcome.is_complete
    # both blocks read into the damaged shard: one owns it, the other has it in its halo
    assert {str(task) for task in outcome.ended.quarantined} == {"fragments:0,0,0", "fragments:0,0,1"}
    assert outcome.ended.n_blocked > 0
    records = list(outcome.dataset.ledger.records())
    assert sum(r["kind"] == "failure" and r["task"] == "fragments:0,0,1" for r in records) == 3
    with pytest.raises(ValueError, match="affinities"):
        replay(outcome.dataset.url, Task.parse("fragments:0,0,1"))
    shard.write_bytes(good)
    assert "done" in replay(outcome.dataset.url, Task.parse("fragments:0,0,1"))
    again = run(workflow, runner="serial")
    assert again.is_complete
    whole = run(Workflow.parse(workflow_content(tmp_path / "whole", url, (40, 40, 80))), runner="serial")
    assert checksum(again.dataset.volume("segmentation")) == checksum(whole.dataset.volume("segmentation"))


def test_the_summary_is_plain_and_complete(reference):
    summary = json.loads(json.dumps(reference[0].summary()))
    wanted = {"dataset", "voxels", "seconds", "core_hours", "voxels_per_core_hour", "usd_per_teravoxel", "stages"}
    assert wanted | {"quarantined"} <= set(summary)
    assert set(summary["stages"]) == {"fragments", "edges", "agglomeration", "segmentation"}
    assert summary["voxels"] == 60 * 70 * 90
    assert summary["quarantined"] == []


def test_receipts_are_small(reference):
    lines = [json.dumps(record) for record in reference[0].dataset.ledger.records()]
    assert max(map(len, lines)) < 1000
