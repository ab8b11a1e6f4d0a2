import itertools
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.stages.stage import TableArtifact
from connectome.workflow.estimates import estimate
from connectome.workflow.plan import Plan, Task
from connectome.workflow.workflow import Workflow
from tests.tissue import workflow_content

CONTENT = workflow_content("runs/plan", "affinities.zarr", (20, 20, 20))


def make_plan(shape, block=(20, 20, 20), offset=(0, 0, 0), **parameters):
    *before, agglomeration, segmentation = CONTENT["stages"]
    stages = [*before, {**agglomeration, **parameters}, segmentation]
    content = {**CONTENT, "grid": {"block": list(block)}, "stages": stages}
    domain = Box.of_shape(shape).shift(offset)
    return Plan(Workflow.parse(content), domain, (20.0, 20.0, 20.0), {"affinities": "affinities.zarr"})


SHAPES = st.tuples(*[st.integers(20, 70)] * 3)


@settings(max_examples=15)
@given(SHAPES, st.tuples(*[st.integers(15, 70)] * 3), st.sampled_from([None, 1, 2, 3]), st.sampled_from([None, 0, 1]))
def test_tasks_are_numbered_and_in_an_order_that_can_run(shape, block, blocks_per_cell, root_level):
    cells = [blocks_per_cell * n for n in block] if blocks_per_cell else None
    plan = make_plan(shape, block, (5, 0, -3), **({"cells": cells} if cells else {"root_level": root_level}))
    done = set()
    for each in plan.passes.values():
        tasks = list(each.tasks())
        assert sorted(each.number(task) for task in tasks) == list(range(len(each)))
        for task in tasks:
            assert set(plan.dependencies(task)) <= done
            done.add(task)


@settings(max_examples=15)
@given(SHAPES)
def test_dependencies_cover_what_is_read(shape):
    plan = make_plan(shape)
    for each in plan.passes.values():
        if each.kind != "block":
            continue
        for task in each.tasks():
            needed = set(plan.dependencies(task))
            for name in set(each.stage.inputs) - set(plan.external):
                writer, artifact = plan.writers[name]
                if isinstance(artifact, TableArtifact):
                    assert Task(writer.name, 0, task.index) in needed
                    continue
                box = each.stage.read_box(name, plan.block(task))
                meets = {i for i in plan.grid.indices() if not plan.grid.box_at(i).intersect(box).is_empty}
                assert {Task(writer.name, 0, i) for i in meets} <= needed


@pytest.mark.parametrize("change", [{"domain": []}, {"domain": [[0, 0], [1, 1]]}, {"voxel_size_nm": [1]}])
def test_a_damaged_record_is_refused_with_one_sentence(change):
    with pytest.raises(InputError, match=r"wanted are two corners and a size along z, y, x: restore its dataset\.json"):
        Plan.from_record(make_plan((40, 50, 60)).record() | change)


def test_a_plan_is_a_value():
    plan = make_plan((40, 50, 60))
    assert Plan.from_record(plan.record()) == plan
    for each in plan.passes.values():
        for task in itertools.islice(each.tasks(), 5):
            assert Task.parse(str(task)) == task


def test_a_huge_volume_is_planned_at_once_with_flat_memory():
    tracemalloc.start()
    started = time.monotonic()
    rows = estimate(make_plan((100_000, 100_000, 100_000), (256, 256, 256)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.monotonic() - started < 10
    assert peak < 2_000_000
    assert [row.n_tasks for row in rows if row.name == "edges"] == [391**3]
    assert all(row.peak_bytes > 0 for row in rows)


def test_a_block_smaller_than_the_halo_is_refused():
    with pytest.raises(InputError, match=r"grid\.block is \(3, 20, 20\).*halo of \d+ voxels along z"):
        make_plan((60, 60, 60), (3, 20, 20))
    make_plan((3, 60, 60), (3, 20, 20))  # one block covers the axis: no halo is read there


def test_cells_that_cut_blocks_are_refused():
    wanted = (
        r"agglomeration\.cells is \(40, 50, 40\), but grid\.block is \(20, 20, 20\): .*along y.*60 voxels.*set it to 60"
    )
    with pytest.raises(InputError, match=wanted):
        make_plan((60, 60, 60), cells=[40, 50, 40])
    make_plan((60, 50, 60), cells=[40, 50, 40])  # the cell covers the axis
    with pytest.raises(InputError, match=r"three positive numbers of voxels"):
        make_plan((60, 60, 60), cells=[0, 20, 20])


def test_cells_and_parts_of_the_root_exclude_each_other():
    with pytest.raises(InputError, match=r"cells is \(20, 20, 20\) and root_level is 1: .* give one of them"):
        make_plan((60, 60, 60), cells=[20, 20, 20], root_level=1)
