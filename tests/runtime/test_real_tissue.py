"""The FIB-25 workflow on real tissue: accuracy where the network did not look, and one checksum."""

import pytest

from connectome.geometry import Box
from connectome.runtime.evaluation import evaluate
from connectome.runtime.run import run
from connectome.store.checksum import checksum
from connectome.workflow.workflow import Workflow
from tests.conftest import ROOT

WORKFLOW = str(ROOT / "workflows" / "fib25.yaml")


@pytest.mark.timeout(600)
def test_fib25_from_raw_voxels_to_segments(real_data, tmp_path):
    cube = real_data / "fib25_ts2.npz"
    settings = [f"dataset.image={cube}#raw", f"dataset.url={tmp_path}/image"]
    outcome = run(Workflow.load(WORKFLOW, settings), runner="dask", n_workers=2)
    assert outcome.is_complete
    scores = evaluate(
        f"{tmp_path}/image#segmentation",
        f"{cube}#neurons",
        mask_url=f"{cube}#ffn_published",
        box=Box((162, 0, 0), (250, 250, 250)),
    )
    assert scores.voi <= 1.40
    settings = [f"dataset.affinities={tmp_path}/image#affinities", f"dataset.url={tmp_path}/affinities"]
    again = run(Workflow.load(WORKFLOW, [*settings, "grid.block=50,70,90"]), runner="serial")
    assert checksum(again.dataset.volume("segmentation")) == checksum(outcome.dataset.volume("segmentation"))
