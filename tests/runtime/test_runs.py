"""The promise: the segmentation depends on the affinities and the parameters alone."""

import json
import shutil

import numpy as np
import pytest
from distributed import LocalCluster

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.runtime.audit import audit
from connectome.runtime.prepare import prepare
from connectome.runtime.prices import Prices
from connectome.runtime.recut import cut
from connectome.runtime.run import replay, run
from connectome.runtime.status import status_of
from connectome.store.checksum import checksum
from connectome.store.dataset import Dataset
from connectome.store.ledger import receipt_of
from connectome.store.volume import Volume
from connectome.workflow.plan import Task
from connectome.workflow.workflow import Workflow
from tests.tissue import noisy_affinities, workflow_content, write_volume


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
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("volumes/**/c/**/*") if path.is_file()}
    again = run(workflow, runner="serial")
    assert again.is_complete
    assert times == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("volumes/**/c/**/*") if p.is_file()}
    receipts = [receipt_of(each) for each in Dataset(str(tmp_path)).ledger.records() if each["kind"] == "receipt"]
    assert sum(receipt.n_tasks for receipt in receipts) == sum(
        stage["tasks"] for stage in again.summary()["stages"].values()
    )


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


def test_receipts_do_not_outlive_their_reset(stored_affinities, tmp_path):
    """The part that took them back is lost: refused, until everything is computed again."""
    content = workflow_content(tmp_path / "run", stored_affinities[0])
    run(Workflow.parse(content), runner="serial")
    content["stages"][2]["threshold"] = 0.9
    _, dataset = prepare(Workflow.parse(content), redo=True)
    reset = max((tmp_path / "run" / "ledger").glob("*.jsonl"))
    assert "reset" in reset.read_text()
    reset.write_bytes(b"")
    with pytest.raises(InputError, match="is damaged: restore it, or delete the folder"):
        run(Workflow.parse(content), runner="serial")
    reset.unlink()
    with pytest.raises(InputError, match="is missing: restore it, or delete the folder"):
        run(Workflow.parse(content), runner="serial")
    shutil.rmtree(tmp_path / "run" / "ledger")
    again = run(Workflow.parse(content), runner="serial")
    fresh = run(
        Workflow.parse(content | {"dataset": content["dataset"] | {"url": str(tmp_path / "fresh")}}), runner="serial"
    )
    assert checksum(again.dataset.volume("segmentation")) == checksum(fresh.dataset.volume("segmentation"))
    assert audit(dataset.url).sentences == []


def test_results_without_a_record_are_refused(stored_affinities, tmp_path):
    """Nothing says that they were made with another threshold."""
    content = workflow_content(tmp_path / "run", stored_affinities[0])
    run(Workflow.parse(content), runner="serial")
    record = tmp_path / "run" / "dataset.json"
    content["stages"][2]["threshold"] = 0.9
    record.write_text("null")
    for look in (
        lambda: run(Workflow.parse(content), runner="serial"),
        lambda: replay(str(tmp_path / "run"), Task("edges", 0, (0, 0, 0))),
        lambda: audit(str(tmp_path / "run")),
        lambda: cut(str(tmp_path / "run"), [0.7]),
        lambda: status_of(str(tmp_path / "run"), Prices.load()),
    ):
        with pytest.raises(InputError, match=r"dataset\.json is not the record of a dataset: restore it"):
            look()
    record.unlink()
    with pytest.raises(InputError, match=r"holds results but no dataset\.json.*restore it, or choose another"):
        run(Workflow.parse(content), runner="serial", redo=True)


def test_a_failing_block_is_quarantined_named_and_replayed(tmp_path):
    """A shard of the affinities is damaged: its block fails, the rest goes on; mended, the run goes on."""
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


def test_what_is_unfinished_is_no_volume(tmp_path):
    affinities, _ = noisy_affinities((40, 40, 80))
    url = write_volume(tmp_path / "affinities.zarr", affinities, block=(40, 40, 40))
    shard = next(path for path in (tmp_path / "affinities.zarr" / "0" / "c").rglob("1") if path.is_file())
    shard.write_bytes(b"damaged" * 10)
    outcome = run(Workflow.parse(workflow_content(tmp_path / "run", url, (40, 40, 40))), runner="serial")
    assert not outcome.is_complete
    with pytest.raises(InputError, match="never finished"):
        Volume.open(f"{tmp_path}/run#segmentation")


def test_missing_blocks_are_errors_and_lost_volumes_are_made_again(stored_affinities, tmp_path, reference):
    content = workflow_content(tmp_path, stored_affinities[0])
    run(Workflow.parse(content), runner="serial")
    shutil.rmtree(tmp_path / "volumes" / "segmentation")
    again = run(Workflow.parse(content), runner="serial")
    assert checksum(again.dataset.volume("segmentation")) == reference[1]
    next(path for path in (tmp_path / "volumes" / "fragments" / "0" / "c").rglob("1") if path.is_file()).unlink()
    content["stages"][2]["threshold"] = 0.9
    assert not run(Workflow.parse(content), runner="serial", redo=True).is_complete


def test_replay_refuses_what_cannot_run_yet(stored_affinities, tmp_path):
    prepare(Workflow.parse(workflow_content(tmp_path, stored_affinities[0])))
    with pytest.raises(InputError, match=r"edges:0,0,1 needs fragments:0,0,0, which is not done"):
        replay(str(tmp_path), Task.parse("edges:0,0,1"))
    for task in ("fragments:9,9,9", "agglomeration.reduce@-1:0,0,0", "agglomeration.reduce@9:0,0,0"):
        with pytest.raises(InputError, match="is not on the grid"):
            replay(str(tmp_path), Task.parse(task))


def test_results_of_other_inputs_are_noticed_and_inputs_never_deleted(tmp_path):
    affinities, _ = noisy_affinities((40, 40, 40))
    url = write_volume(tmp_path / "affinities.zarr", affinities)
    content = workflow_content(tmp_path / "run", url)
    first = checksum(run(Workflow.parse(content), runner="serial").dataset.volume("segmentation"))
    shutil.rmtree(url)
    write_volume(tmp_path / "affinities.zarr", 255 - affinities)
    with pytest.raises(InputError, match=r"affinities was given as .* is given as"):
        run(Workflow.parse(content), runner="serial")
    assert checksum(run(Workflow.parse(content), runner="serial", redo=True).dataset.volume("segmentation")) != first
    assert Volume.open(url).box.shape == (40, 40, 40)
    own = Workflow.parse(workflow_content(tmp_path / "run", f"{tmp_path}/run#fragments"))
    with pytest.raises(InputError, match=r"wanted is uint8|lies in dataset\.url itself"):
        run(own, runner="serial", redo=True)


def test_a_volume_with_an_offset(tmp_path):
    affinities, _ = noisy_affinities((30, 34, 38))
    sums = set()
    for n, (block, offset) in enumerate([((30, 34, 38), (0, 0, 0)), ((16, 20, 24), (5, -7, 1000))]):
        url = write_volume(tmp_path / f"{n}.zarr", affinities, block=(16, 20, 24), offset=offset)
        outcome = run(Workflow.parse(workflow_content(tmp_path / f"run{n}", url, block)), runner="serial")
        volume = outcome.dataset.volume("segmentation")
        assert volume.box.start == offset
        sums.add(checksum(volume))
    assert len(sums) == 1


def test_cells_are_part_of_the_result_and_blocks_are_not(stored_affinities, tmp_path, reference):
    sums = {}
    for name, block, cells in (
        ("a", (15, 32, 45), (30, 32, 45)),
        ("b", (30, 16, 45), (30, 32, 45)),
        ("c", (30, 35, 45), (64, 80, 90)),
    ):
        content = workflow_content(tmp_path / name, stored_affinities[0], block)
        content["stages"][2]["cells"] = list(cells)
        sums[name] = checksum(run(Workflow.parse(content), runner="serial").dataset.volume("segmentation"))
    assert sums["a"] == sums["b"] != reference[1] == sums["c"]
    content["stages"][2]["cells"] = None
    with pytest.raises(InputError, match=r"agglomeration\.cells was \[64, 80, 90\], is None"):
        run(Workflow.parse(content), runner="serial")


@pytest.mark.parametrize("linkage", ["mean", "maximum", "quantile"])
def test_a_root_in_parts_gives_the_bytes_of_one_root(linkage, stored_affinities, tmp_path):
    made = {}
    for root_level in (None, 0, 1, 9):
        content = workflow_content(tmp_path / str(root_level), stored_affinities[0], (32, 20, 32))
        content["stages"][1]["linkage"] = linkage
        content["stages"][2] |= {"linkage": linkage, "dust_size": 30, "root_level": root_level}
        outcome = run(Workflow.parse(content), runner="serial")
        assert outcome.is_complete
        names, merges = (outcome.dataset.table(name, outcome.plan.table(name).columns) for name in ("names", "merges"))
        rows = merges.read()
        order = np.lexsort((rows["b"], rows["a"], rows["score"]))
        parts = {name: values.tobytes() for name, values in names.read(0).items()}
        made[root_level] = (
            checksum(outcome.dataset.volume("segmentation")),
            parts,
            {name: values[order].tobytes() for name, values in rows.items()},
        )
        has_steps = outcome.plan.passes["agglomeration.reduce"].steps is not None
        assert has_steps == (root_level in (0, 1))
    assert made[None] == made[0] == made[1] == made[9]
