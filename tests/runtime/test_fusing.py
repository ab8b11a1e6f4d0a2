"""Stages that share their tasks, and volumes that are not kept: the same results, with less in the store."""

import numpy as np
import pytest

from benchmarks.machine import peak_of
from connectome.errors import InputError
from connectome.geometry import Block, Box
from connectome.runtime.prepare import plan_workflow
from connectome.runtime.recut import cut
from connectome.runtime.run import run
from connectome.stages.edges import Edges
from connectome.stages.fragments import Fragments
from connectome.stages.fused import fused
from connectome.store.checksum import checksum
from connectome.workflow.estimates import estimate
from connectome.workflow.workflow import Workflow
from tests.tissue import VOXEL_SIZE_NM, noisy_affinities, workflow_content

PHANTOM = {"stage": "phantom", "shape": [60, 70, 90], "voxel_size_nm": [10, 10, 10]}


def demo(folder, block=(48, 64, 64), **options):
    """A workflow from a phantom to segments, with options of single stages."""
    stages = [
        PHANTOM,
        {"stage": "affinities", "network": "phantom"},
        {"stage": "fragments", "cap_nm": 60},
        {"stage": "edges"},
        {"stage": "agglomeration"},
        {"stage": "segmentation"},
    ]
    content = {"dataset": {"url": str(folder)}, "grid": {"block": block}}
    return Workflow.parse({**content, "stages": [{**s, **options.get(s["stage"], {})} for s in stages]})


FUSED = {"fuse": True, "keep": False}


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    outcome = run(demo(tmp_path_factory.mktemp("apart")), runner="serial")
    return checksum(outcome.dataset.volume("segmentation"))


@pytest.mark.parametrize(
    ("options", "passes", "volumes"),
    [
        ({"affinities": FUSED, "fragments": {"fuse": True}}, "affinities+fragments+edges", {"fragments"}),
        ({"affinities": {"fuse": True}}, "affinities+fragments", {"affinities", "fragments"}),
        ({"phantom": FUSED, "affinities": {"keep": False}}, "phantom+affinities", {"fragments"}),
        ({"fragments": FUSED}, "fragments+edges", {"image", "affinities", "truth"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_fused_stages_give_the_same_segmentation(options, passes, volumes, apart, tmp_path):
    outcome = run(demo(tmp_path, **options), runner="serial")
    assert passes in outcome.plan.passes
    assert checksum(outcome.dataset.volume("segmentation")) == apart
    left = {path.name for path in (tmp_path / "volumes").iterdir() if any(path.iterdir())}
    assert volumes | {"segmentation"} <= left
    assert "affinities" in volumes or "affinities" not in left
    again = run(demo(tmp_path, **options), runner="serial")
    n_tasks = {name: stage["tasks"] for name, stage in outcome.summary()["stages"].items()}
    assert n_tasks == {name: stage["tasks"] for name, stage in again.summary()["stages"].items()}


def test_fused_stages_wait_for_their_lower_neighbours_on_dask(apart, tmp_path):
    options = {"affinities": FUSED, "fragments": {"fuse": True}}
    outcome = run(demo(tmp_path, (48, 48, 48), **options), runner="dask", n_workers=2)
    assert checksum(outcome.dataset.volume("segmentation")) == apart


def test_what_is_deleted_is_made_again_where_a_reader_changes(stored_affinities, tmp_path):
    content = workflow_content(tmp_path, stored_affinities[0])
    content["stages"][0]["keep"] = False
    first = checksum(run(Workflow.parse(content), runner="serial").dataset.volume("segmentation"))
    assert not (tmp_path / "volumes" / "fragments").exists() or not any((tmp_path / "volumes" / "fragments").iterdir())
    content["stages"][2]["threshold"] = 0.9
    changed = run(Workflow.parse(content), runner="serial", redo=True)
    assert changed.is_complete
    content["stages"][2]["threshold"] = 0.6
    back = run(Workflow.parse(content), runner="serial", redo=True)
    assert checksum(back.dataset.volume("segmentation")) == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segmentation": {"fuse": True}}, "no stage follows"),
        ({"edges": {"fuse": True}}, "agglomeration follows, which works on tables"),
        (
            {"affinities": {"fuse": True, "resources": {"gpu": 1}}, "fragments": {"resources": {"fpga": 1}}},
            "one resource",
        ),
    ],
)
def test_what_cannot_be_fused_is_refused(options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        demo(tmp_path, **options)


def test_the_plan_tells_what_is_computed_again(tmp_path):
    plan = plan_workflow(demo(tmp_path, affinities=FUSED, fragments={"fuse": True}))
    joint = {each.name: each for each in estimate(plan)}["affinities+fragments+edges"]
    assert joint.recomputed["affinities"] > 1.2
    assert joint.recomputed["edges"] == 1
    assert np.isclose(plan_workflow(demo(tmp_path)).passes["edges"].stage.halo("fragments", (1, 1, 1)).low[0], 1)


def test_a_dataset_with_fused_stages_can_be_cut(stored_affinities, tmp_path):
    content = workflow_content(tmp_path, stored_affinities[0])
    content["stages"][0]["fuse"] = True
    run(Workflow.parse(content), runner="serial")
    (found,) = cut(str(tmp_path), [0.8])
    assert (tmp_path / "cuts" / "0.8" / "dataset.json").exists()
    assert found.threshold == 0.8


def test_memory_of_fused_stages_is_estimated_within_half_as_much_again():
    n = 96
    block = Block(Box((n,) * 3, (2 * n,) * 3), Box.of_shape((2 * n,) * 3), VOXEL_SIZE_NM)
    (stage,) = fused((Fragments(cap_nm=80, fuse=True), Edges()))
    seen = stage.read_box("affinities", block)
    inputs = {
        "affinities": np.ascontiguousarray(noisy_affinities(block.domain.shape)[0][(slice(None), *seen.slices)]),
        "fragments": np.zeros(stage.read_box("fragments", block).shape, np.uint64),
    }
    # What is compiled or loaded once is not the block's.
    peaks = [peak_of(lambda: stage.process(block, **inputs))[1] for _ in range(3)]
    if None in peaks:
        pytest.skip("this system does not count a process's peak memory from a moment on")
    written = 8 * block.write_box.n_voxels
    assert 1 / 1.5 < (stage.peak_bytes(block) + written) / min(peaks) < 1.5
