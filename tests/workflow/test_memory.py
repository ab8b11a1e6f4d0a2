"""Estimates of memory: what is refused, and what is proposed in its place."""

import itertools
import re

import pytest

from connectome.errors import InputError
from connectome.geometry import Box, Grid
from connectome.stages.affinities import Affinities
from connectome.workflow.estimates import check_memory, estimate
from connectome.workflow.memory import PROCESS_BYTES, face_voxels, refuse_larger, tree_bytes, worker_memory
from connectome.workflow.plan import Plan
from connectome.workflow.root_steps import RootSteps
from connectome.workflow.tree import Tree
from connectome.workflow.workflow import Workflow
from tests.workflow.test_plan import CONTENT, make_plan

BLOCK = (128, 128, 128)


def tree_of(size, cells=None):
    return Tree(Grid(Box.of_shape((size,) * 3), BLOCK), cells)


def test_a_workers_memory_is_as_stated_or_its_share():
    assert worker_memory(1.5, 3) == 1_500_000_000
    assert worker_memory(None, 1) == pytest.approx(2 * worker_memory(None, 2), abs=1)


def test_only_inner_faces_count():
    domain = Box((1, 2, 3), (11, 12, 13))
    assert face_voxels(domain, domain) == 0
    assert face_voxels(Box((1, 2, 3), (5, 12, 13)), domain) == 100
    assert face_voxels(Box((2, 3, 4), (4, 6, 8)), domain) == 2 * (12 + 8 + 6)


def test_a_root_grows_with_the_volume_and_parts_and_cells_bound_it():
    sizes = [tree_bytes(tree_of(size)) for size in (1024, 2048, 4096, 8192)]
    assert all(4 < b / a < 8 for a, b in itertools.pairwise(sizes))
    assert tree_bytes(tree_of(8192, (1024,) * 3)) < sizes[-1] / 3
    whole = tree_of(8192)
    assert tree_bytes(whole, RootSteps(whole.shape(4), 4, 8)) < sizes[-1] / 5


def test_the_tree_of_four_gigavoxels_is_planned_as_it_was_measured():
    planned = {row.name: row.peak_bytes / 1e6 for row in estimate(make_plan((1600,) * 3, (256,) * 3))}
    for name, measured_mb in {"agglomeration.reduce": 2363, "agglomeration.expand": 579}.items():
        assert 1 / 1.5 < measured_mb / planned[name] < 1.5


@pytest.mark.parametrize(("resources", "stays"), [({}, 1), ({"gpu": 1}, 0)])
def test_what_a_network_leaves_in_a_worker_counts_for_later_passes_of_its_pool(resources, stays):
    grid = {"block": [40, 40, 40]}
    network = {"stage": "affinities", "network": "phantom", "resources": resources}
    with_network = {"dataset": {"url": "runs/plan", "image": "image.zarr"}, "stages": [network, *CONTENT["stages"]]}
    alone, plan = (
        Plan(
            Workflow.parse(content),
            Box.of_shape((64,) * 3),
            (10.0,) * 3,
            {"image": "image.zarr", "affinities": "a.zarr"},
        )
        for content in ({**CONTENT, "grid": grid}, {**CONTENT, "grid": grid, **with_network})
    )
    first, *later = estimate(plan)
    assert first.process_bytes == PROCESS_BYTES
    before = {row.name: row.peak_bytes for row in estimate(alone)}
    assert {row.name: row.peak_bytes - stays * Affinities.resident_bytes for row in later} == before


def test_what_fits_is_not_refused():
    refuse_larger("edges", 10, 10, "no")
    with pytest.raises(InputError, match=r"edges takes about 2\.0 GB in one task, but a worker has 1\.0 GB: do this"):
        refuse_larger("edges", 2 * 10**9, 10**9, "do this")
    with pytest.raises(InputError, match=r"takes about 350\.0 MB in one task, but a worker has 1\.0 MB: do this"):
        refuse_larger("edges", 350 * 10**6, 10**6, "do this")


def test_a_plan_refuses_a_root_that_does_not_fit_and_what_it_proposes_fits():
    plan = make_plan((4096,) * 3, BLOCK)
    needed = tree_bytes(plan.passes["agglomeration.reduce"].tree)
    check_memory(plan, PROCESS_BYTES + needed)
    with pytest.raises(InputError, match=r"agglomeration\.reduce takes about .* in one task") as refused:
        check_memory(plan, 8 * 10**9)
    level = int(re.search(r"set agglomeration\.root_level to (\d)", str(refused.value))[1])
    with pytest.raises(InputError, match=r"give workers 8\.1 GB and set agglomeration\.root_level to 4"):
        check_memory(make_plan((10_000,) * 3, BLOCK), 8 * 10**9)
    check_memory(make_plan((4096,) * 3, BLOCK, root_level=level), 8 * 10**9)
    with pytest.raises(InputError):
        check_memory(make_plan((4096,) * 3, BLOCK, root_level=level + 1), 8 * 10**9)


def test_a_plan_refuses_blocks_that_do_not_fit_and_the_block_that_it_names_does():
    plan = make_plan((2048,) * 3, (512, 512, 512))
    needed = {row.name: row.peak_bytes for row in estimate(plan)}
    memory = needed["fragments"] // 3
    with pytest.raises(InputError, match=r"with grid\.block \(512, 512, 512\) takes about") as refused:
        check_memory(plan, memory)
    block = tuple(int(n) for n in re.search(r"set grid\.block to (\d+),(\d+),(\d+)", str(refused.value)).groups())
    assert all(row.peak_bytes <= memory for row in estimate(make_plan((2048,) * 3, block)) if "." not in row.name)
    larger = tuple(n + 32 for n in block)
    assert any(row.peak_bytes > memory for row in estimate(make_plan((2048,) * 3, larger)) if "." not in row.name)
    with pytest.raises(InputError, match="no smaller block fits"):
        check_memory(plan, PROCESS_BYTES)
