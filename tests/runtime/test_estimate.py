import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from connectome.cli import app
from connectome.errors import InputError
from connectome.runtime.accounting import Accounts
from connectome.runtime.estimate import Model, PastRun, differences, estimate, fit_non_negative
from connectome.runtime.prepare import plan_workflow
from connectome.runtime.prices import Prices
from connectome.runtime.run import run
from connectome.runtime.task_sizes import levels
from connectome.store.ledger import Receipt
from connectome.workflow.workflow import Workflow
from tests.tissue import noisy_affinities, workflow_content, write_volume

PRICES = Prices.model_validate({"name": "x", "pools": {"cpu": {"usd_per_hour": 3600.0}}})


@pytest.fixture(scope="module")
def workflow(stored_affinities, tmp_path_factory):
    folder = tmp_path_factory.mktemp("estimate")
    return Workflow.parse(workflow_content(folder, stored_affinities[0], (32, 32, 32)))


def plan_of(workflow, shape):
    return plan_workflow(workflow, shape)


def tasks_by_number(each):
    return sorted(each.tasks(), key=each.number)


@pytest.mark.parametrize("cells", [None, (64, 32, 96)])
def test_sizes_are_those_of_the_tasks(workflow, cells):
    if cells is not None:
        content = json.loads(workflow.model_dump_json())
        next(stage for stage in content["stages"] if stage["stage"] == "agglomeration")["cells"] = cells
        workflow = Workflow.parse(content)
    plan = plan_of(workflow, (100, 70, 170))
    for each in plan.passes.values():
        known = list(levels(plan, each))
        assert sum(level.n_tasks for level in known) == len(each)
        assert [level.first for level in known] == list(
            itertools.accumulate((level.n_tasks for level in known[:-1]), initial=0)
        )
        for task in tasks_by_number(each):
            level = next(one for one in reversed(known) if one.first <= each.number(task))
            one, voxels, third = level.sizes(np.array([each.number(task)]))[0]
            assert (one, voxels) == (1, each.box(task).n_voxels)
            assert third == (read_voxels(plan, each, task) if each.kind == "block" else waiting(plan, each, task))
        for level in known:
            numbers = np.arange(level.first, level.first + level.n_tasks)
            assert level.total() == pytest.approx(level.sizes(numbers).sum(axis=0))


def read_voxels(plan, each, task):
    block = plan.block(task)
    names = [name for name in each.stage.inputs if name in ("affinities", "fragments")]
    return sum(each.stage.read_box(name, block).n_voxels for name in names)


def waiting(plan, each, task):
    """Faces of what the node joins that do not lie on the volume's faces."""
    joined = [task.index] if task.level == 0 else list(each.children(task.level, task.index))
    below = max(0, task.level - 1)
    total = 0
    for index in joined:
        box = each.tree.box(below, index)
        for axis in range(3):
            area = box.n_voxels // box.shape[axis]
            total += area * (box.start[axis] > plan.domain.start[axis]) + area * (
                box.stop[axis] < plan.domain.stop[axis]
            )
    return total


def test_a_root_in_parts_has_levels_of_its_own(workflow):
    content = json.loads(workflow.model_dump_json())
    next(stage for stage in content["stages"] if stage["stage"] == "agglomeration")["root_level"] = 1
    plan = plan_of(Workflow.parse(content), (128, 128, 128))
    each = plan.passes["agglomeration.reduce"]
    known = list(levels(plan, each))
    assert sum(level.n_tasks for level in known) == len(each)
    assert {"leaf", "node", "link", "update", "merge"} <= {level.kind for level in known}
    link = next(level for level in known if level.kind == "link")
    assert link.total()[1] == plan.domain.n_voxels


def test_a_petavoxel_takes_no_time(workflow):
    plan = plan_of(workflow, (100_000, 100_000, 100_000))
    total = next(levels(plan, plan.passes["fragments"])).total()
    assert total[:2] == pytest.approx([3125**3, 1e15])
    assert total[2] > 1e15


def past(plan, law, workers=2, start=3.0, url="small"):
    """A run whose tasks took what `law` says."""
    receipts, accounts, clock = {}, Accounts(), start
    for each in plan.passes.values():
        known = list(levels(plan, each))
        for task in tasks_by_number(each):
            number = each.number(task)
            level = next(one for one in reversed(known) if one.first <= number)
            seconds = law(each.name, level.sizes(np.array([number]))[0])
            receipt = Receipt(each.name, ((number, number + 1),), 1, 0, clock, seconds, seconds / 2, 40, 50, 1, "host")
            clock += seconds
            receipts.setdefault(each.name, []).append((receipt, False))
            accounts.add(receipt)
    busy = sum(stage.busy_s for stage in accounts.stages.values())
    accounts.hold({"cpu": workers}, start + busy / workers / 0.8)
    return PastRun(url, plan, receipts, {"cpu": workers}, accounts, start)


def law(name, sizes):
    one, voxels, third = sizes
    return 0.01 * one + (3e-6 if name == "fragments" else 1e-6) * voxels + 2e-6 * third


def test_what_follows_a_law_is_predicted(workflow):
    large = plan_of(workflow, (256, 250, 280))
    runs = [past(plan_of(workflow, shape), law) for shape in [(128, 100, 140), (70, 128, 90)]]
    seconds, accounts = Model.fit(runs).predict(large, {"cpu": 4})
    wanted = past(large, law)
    for name, stage in accounts.stages.items():
        assert stage.busy_s == pytest.approx(wanted.accounts.stages[name].busy_s, rel=0.02), name
        assert stage.cpu_s == pytest.approx(stage.busy_s / 2, rel=0.01)
        assert stage.read_bytes == pytest.approx(40 * stage.tasks, rel=0.01)
    busy = sum(stage.busy_s for stage in accounts.stages.values())
    # the levels of the tree that have fewer than four nodes take some more
    assert 3.0 + busy / 4 / 0.8 < seconds < 1.25 * busy / 4 / 0.8
    assert accounts.usd(PRICES) == pytest.approx(4 * seconds)


def test_a_run_left_out_is_predicted_from_the_others(workflow):
    runs = [past(plan_of(workflow, shape), law, url=f"{shape}") for shape in [(128, 100, 140), (170, 128, 90)]]
    found = estimate(plan_of(workflow, (256, 256, 256)), {"cpu": 100}, runs, PRICES)
    assert [each["dataset"] for each in found["held_out"]] == [each.url for each in runs]
    assert all(abs(each["usd_error"]) < 0.1 for each in found["held_out"])
    assert found["usd"] == pytest.approx(found["seconds"] * 100, rel=0.01)
    # a hundred workers cannot share the root
    two = estimate(plan_of(workflow, (256, 256, 256)), {"cpu": 2}, runs, PRICES)
    assert two["seconds"] / 50 < found["seconds"]
    assert found["utilisation"] < two["utilisation"]


def test_a_run_of_few_blocks_is_not_trusted(workflow):
    large, small = plan_of(workflow, (256, 256, 256)), past(plan_of(workflow, (128, 128, 128)), law)
    assert estimate(large, {"cpu": 2}, [small], PRICES)["cautions"] == []
    first = {
        name: [(receipt, n < len(each) - 1) for n, (receipt, _) in enumerate(each)]
        for name, each in small.receipts.items()
    }
    cautions = estimate(large, {"cpu": 2}, [replace(small, receipts=first)], PRICES)["cautions"]
    assert any(text.startswith("fragments: the runs have 1 receipts beside the first") for text in cautions)


def test_fits_are_never_negative():
    sizes = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    assert fit_non_negative(sizes, np.array([3.0, 5.0, 7.0])) == pytest.approx([1.0, 2.0])
    assert fit_non_negative(sizes, np.array([3.0, 2.0, 1.0])) == pytest.approx([2.0, 0.0])
    assert fit_non_negative(np.zeros((3, 2)), np.ones(3)).tolist() == [0.0, 0.0]
    assert fit_non_negative(sizes, np.zeros(3)).tolist() == [0.0, 0.0]


def test_real_runs_and_the_command(tmp_path):
    for name, shape in (("a", (24, 32, 40)), ("b", (48, 64, 40))):
        affinities, _ = noisy_affinities(shape)
        url = write_volume(tmp_path / f"{name}-affinities", affinities, block=shape)
        content = workflow_content(tmp_path / name, url, (16, 16, 20))
        assert run(Workflow.parse(content), runner="serial").is_complete
    (tmp_path / "workflow.yaml").write_text(json.dumps(content))
    arguments = ["estimate", str(tmp_path / "workflow.yaml"), "--shape", "480,640,400", "--pool", "cpu=10"]
    found = CliRunner().invoke(
        app, [*arguments, "--from", str(tmp_path / "a"), "--from", str(tmp_path / "b"), "--json"]
    )
    assert found.exit_code == 0, found.output
    values = json.loads(found.output.splitlines()[-1])
    assert values["tasks"] > 480 * 640 * 400 / (16 * 16 * 20)
    assert values["seconds"] > 0
    assert len(values["held_out"]) == 2
    assert values["stages"]["fragments"]["read_bytes"] > values["voxels"]
    assert set(values["stages"]) == {"fragments", "edges", "agglomeration", "segmentation"}
    shown = CliRunner().invoke(app, arguments)  # from dataset.url
    assert "on 10 cpu" in shown.output
    changed = Workflow.parse({**content, "grid": {"block": [16, 32, 20]}})
    (text,) = differences(plan_of(changed, None), PastRun.read(str(tmp_path / "a")))
    assert "grid.block is (16, 16, 20), not (16, 32, 20)" in text


def test_refusals(workflow, tmp_path):
    small, large = (plan_of(workflow, shape) for shape in [(30, 30, 30), (64, 64, 64)])
    with pytest.raises(InputError, match=r"no receipts of agglomeration\.reduce, tasks of the kind node"):
        estimate(large, {"cpu": 1}, [past(small, law)], PRICES)
    with pytest.raises(InputError, match="has no pool 'gpu'"):
        estimate(small, {"cpu": 1, "gpu": 1}, [past(small, law)], PRICES)
    with pytest.raises(InputError, match=r"runs in the pool 'cpu': give it with --pool too"):
        estimate(small, {}, [past(small, law)], PRICES)
    for url in ("small", "by another path"):
        with pytest.raises(InputError, match=f"--from {url} is the same run as small: give each run once"):
            estimate(large, {"cpu": 1}, [past(small, law), past(small, law, url=url)], PRICES)
    with pytest.raises(InputError, match=r"there is no dataset at"):
        PastRun.read(str(tmp_path / "none"))
