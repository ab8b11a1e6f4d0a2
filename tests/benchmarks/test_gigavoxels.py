"""The gigavoxel benchmark at the size of a crumb, and its affinities."""

import json

import numpy as np
import pytest

from benchmarks import gigavoxels
from benchmarks.mirrored_tissue import VOXEL_SIZE_NM, MirroredTissue, mirrored, write_tile
from connectome.geometry import Block, Box, Grid
from connectome.stages import registry


@pytest.fixture
def stage(tmp_path):
    write_tile(tmp_path / "tile.npy", 24)
    return MirroredTissue(tile=str(tmp_path / "tile.npy"), shape=(50, 60, 70))


def test_a_tile_is_mirrored_at_its_faces():
    assert mirrored(-2, 8, 3).tolist() == [1, 0, 0, 1, 2, 2, 1, 0, 0, 1]


def test_affinities_are_the_same_from_all_blocks(stage):
    domain, _ = stage.domain()
    whole = stage.process(Block(domain, domain, VOXEL_SIZE_NM))["affinities"]
    grid = Grid(domain, (13, 31, 64))
    for index in grid.indices():
        box = grid.box_at(index)
        part = stage.process(Block(box, domain, VOXEL_SIZE_NM))["affinities"]
        assert np.array_equal(part, whole[(slice(None), *box.slices)])


def test_cells_run_on_over_the_faces_of_tiles_and_noise_does_not_repeat(stage):
    domain = Box.of_shape((48, 48, 48))
    affinities = stage.process(Block(domain, domain, VOXEL_SIZE_NM))["affinities"]
    inside = affinities > 140
    assert inside[0, 24].mean() == pytest.approx(inside[0, 12:36].mean(), abs=0.1)
    assert (affinities[0, 30] != affinities[0, 18]).mean() > 0.5


def test_the_benchmark_passes_on_two_workers(capsys):
    before = dict(registry())
    try:
        gigavoxels.main(["--shape=72,72,72", "--block=40,40,40", "--block=32,72,48", "--tile=48"])
    finally:
        registry().clear()
        registry().update(before)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    # A crumb takes hardly more than a worker with its libraries, or less than compiling kernels: no test of the plan.
    assert {name for name, is_so in figures["verdicts"].items() if not is_so} <= {"plan_within_1.5"}
    for run, n_levels in zip(figures["runs"], (2, 3), strict=True):
        assert [row["nodes"] for row in run["levels"]][-1] == 1
        assert len(run["levels"]) == n_levels
        assert run["levels"][-1]["rows_out"]["clusters"] == 0
        assert 0 < run["root"]["clusters_on_faces_per_1000_voxels"] <= run["root"]["clusters_per_1000_voxels"]
        assert 0 < run["root"]["acting_edges_per_1000_voxels"] < run["root"]["edges_per_1000_voxels"]


def test_other_bytes_and_too_much_memory_are_told():
    row = {"peak_mb": 5000, "measured_by_planned": 1.0}
    runs = [{"is_complete": True, "passes": {"edges": row}, "checksums": {"segmentation": text}} for text in "ab"]
    assert gigavoxels.verdicts(runs) == {
        "all_complete": True,
        "same_bytes": False,
        "peaks_below_4_gib": False,
        "plan_within_1.5": True,
    }
