"""From the image on: tiles, blocks and workers change nothing; the workflows that are shipped run."""

import json

import pytest
import yaml

from connectome.runtime.audit import audit
from connectome.runtime.run import run
from connectome.store.checksum import checksum
from connectome.web.report import write_report
from connectome.workflow.workflow import Workflow, apply_setting
from tests.conftest import ROOT


def demo(folder, *settings):
    """The demo workflow on a smaller phantom."""
    content = yaml.safe_load((ROOT / "workflows" / "demo.yaml").read_text())
    for setting in (f"dataset.url={folder}", "phantom.shape=70,90,100", *settings):
        apply_setting(content, setting)
    return Workflow.parse(content)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The demo in one block: its outcome and checksums."""
    outcome = run(demo(tmp_path_factory.mktemp("whole"), "grid.block=70,90,100"), runner="serial")
    assert outcome.is_complete
    return outcome, sums(outcome)


def sums(outcome):
    return {name: checksum(outcome.dataset.volume(name)) for name in ("image", "truth", "affinities", "segmentation")}


def test_serial_blocks(whole, tmp_path):
    assert sums(run(demo(tmp_path, "grid.block=50,41,64"), runner="serial")) == whole[1]


def test_dask_blocks(whole, tmp_path):
    assert sums(run(demo(tmp_path, "grid.block=40,64,64"), runner="dask", n_workers=2)) == whole[1]


@pytest.mark.parametrize("store", ["gs", "s3"])
def test_object_stores(store, whole, request):
    """All of it through the protocol of a cloud's store: image, affinities, tables, ledger, lock and report."""
    bucket = request.getfixturevalue(store)
    workflow = demo(f"{bucket}/runs/demo", "grid.block=50,64,64")
    outcome = run(workflow, runner="dask", n_workers=2)
    assert sums(outcome) == whole[1]
    assert audit(outcome.dataset.url, every=True).sentences == []
    counted = outcome.summary()["store"]
    assert counted["read_requests"] > counted["written_requests"] > len(outcome.plan.passes["fragments"])
    summary = outcome.summary()
    assert write_report(outcome.dataset, outcome.plan, summary) == f"{bucket}/runs/demo/report.html"
    again = run(workflow, runner="serial")  # goes on from the ledger in the bucket: nothing is left to do
    assert again.summary()["store"] == counted


def test_the_network_finds_the_cells(whole):
    scores = whole[0].agreement
    assert scores["voi_split"] + scores["voi_merge"] < 1.0


def test_image_from_a_file_equals_image_from_a_store(whole, tmp_path):
    """The same image as npz, brought in by the run, gives the same segmentation."""
    import numpy as np

    volume = whole[0].dataset.volume("image")
    np.savez(tmp_path / "image.npz", raw=volume.read(volume.box))
    content = demo(tmp_path / "run").plain()
    content["stages"] = [stage for stage in content["stages"] if stage["stage"] != "phantom"]
    content["dataset"] |= {"image": f"{tmp_path}/image.npz#raw", "voxel_size_nm": [10, 10, 10]}
    outcome = run(Workflow.parse(content), runner="serial")
    assert checksum(outcome.dataset.volume("segmentation")) == whole[1]["segmentation"]
    assert json.loads(json.dumps(outcome.summary()))["agreement"] is None


@pytest.mark.parametrize("name", ["demo", "fib25"])
def test_shipped_workflows_are_valid(name):
    content = yaml.safe_load((ROOT / "workflows" / f"{name}.yaml").read_text())
    content["dataset"]["image"] = None if name == "demo" else "image.zarr"
    workflow = Workflow.parse(content)
    assert workflow.running_stages[-1].name == "segmentation"
