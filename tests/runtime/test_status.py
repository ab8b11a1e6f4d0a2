import io
import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console
from typer.testing import CliRunner

from connectome.cli import app
from connectome.errors import InputError
from connectome.runtime.events import TasksDone
from connectome.runtime.history import MOST_BINS, Timeline, read_history
from connectome.runtime.prepare import prepare
from connectome.runtime.prices import Prices
from connectome.runtime.progress import ProgressDisplay
from connectome.runtime.run import replay, run
from connectome.runtime.status import status_of
from connectome.stages.edges import Edges
from connectome.store.ledger import Receipt, receipt_record
from connectome.store.run_lock import Claim, RunLockError
from connectome.workflow.plan import Task
from connectome.workflow.workflow import Workflow
from tests.tissue import workflow_content

PRICES = Prices.model_validate({"name": "dear", "pools": {"cpu": {"usd_per_hour": 3600.0}}})


class StatusDuringTheRun(ProgressDisplay):
    """Asks how the run stands as another process would, once some tasks are done."""

    def __init__(self, url):
        super().__init__(Console(quiet=True))
        self.url, self.found = str(url), []

    def __call__(self, event):
        super().__call__(event)
        if isinstance(event, TasksDone):
            self.found.append(status_of(self.url, PRICES))


def test_while_a_run_goes_and_after(stored_affinities, tmp_path, monkeypatch):
    monkeypatch.setattr("connectome.runtime.recorder.FLUSH_S", 0.0)  # the ledger knows of every task at once
    watch = StatusDuringTheRun(tmp_path / "run")
    outcome = run(
        Workflow.parse(workflow_content(tmp_path / "run", stored_affinities[0], (60, 35, 90))),
        runner="serial",
        prices=PRICES,
        display=watch,
    )
    url = outcome.dataset.url
    n_tasks = sum(map(len, outcome.plan.passes.values()))
    assert [sum(each.done for each in found.passes) for found in watch.found] == list(range(1, n_tasks + 1))
    early, middle = watch.found[0], watch.found[-2]
    assert early.state == "running"
    assert early.driver.pid == os.getpid()
    assert early.is_lower_bound
    assert early.workers == {"cpu": 1}
    assert early.passes[0].tasks_per_s > 0
    assert early.passes[0].voxels_per_s > 0
    assert middle.seconds_left > 0
    assert middle.usd_to_come >= 0.999 * middle.seconds_left  # a dollar a second, and nothing for the store
    after = status_of(url, PRICES)
    assert after.state == "finished"
    assert (after.seconds_left, after.usd_to_come, after.quarantined) == (0.0, 0.0, [])
    assert after.usd_spent == pytest.approx(outcome.summary()["usd"], abs=0.1)
    assert all(each.done == each.total and each.quarantined == 0 for each in after.passes)
    assert json.loads(json.dumps(after.plain()))["passes"][0]["name"] == "fragments"


def test_finished_means_that_the_volumes_are(stored_affinities, tmp_path, monkeypatch):
    """A driver that dies after the last receipt leaves volumes that nobody may open."""

    def die(plan, dataset, progress):
        raise KeyboardInterrupt

    workflow = Workflow.parse(workflow_content(tmp_path / "run", stored_affinities[0], (60, 70, 90)))
    with monkeypatch.context() as patch:
        patch.setattr("connectome.runtime.run._finish_volumes", die)
        with pytest.raises(KeyboardInterrupt):
            run(workflow, runner="serial")
    found = status_of(str(tmp_path / "run"), PRICES)
    assert all(each.done == each.total for each in found.passes)
    assert found.state == "stopped"
    run(workflow, runner="serial")
    assert status_of(str(tmp_path / "run"), PRICES).state == "finished"


def test_quarantine_is_named_with_its_replay(stored_affinities, tmp_path, monkeypatch):
    def process(self, block, **inputs):
        raise RuntimeError("the dog ate it")

    content = workflow_content(tmp_path / "my run", stored_affinities[0], (60, 70, 90))
    with monkeypatch.context() as patch:
        patch.setattr(Edges, "process", process)
        outcome = run(Workflow.parse(content), runner="serial")
    found = status_of(outcome.dataset.url, PRICES)
    assert found.state == "stopped"
    (item,) = found.quarantined
    assert item.task == "edges:0,0,0"
    assert "dog" in item.error
    assert item.replay == f"connectome replay '{outcome.dataset.url}' edges:0,0,0"
    edges = next(each for each in found.passes if each.name == "edges")
    assert (edges.done, edges.total, edges.quarantined, edges.failed) == (0, 1, 1, 3)
    text = CliRunner().invoke(app, ["status", outcome.dataset.url]).output
    assert item.replay in text
    assert "stopped" in text
    assert run(Workflow.parse(content), runner="serial").is_complete
    assert status_of(outcome.dataset.url, PRICES).quarantined == []


def test_the_run_lock_says_who_runs(stored_affinities, tmp_path):
    content = workflow_content(tmp_path / "run", stored_affinities[0], (60, 70, 90))
    _, dataset = prepare(Workflow.parse(content))
    assert status_of(dataset.url, PRICES).driver is None
    lock = tmp_path / "run" / "run.lock"
    lock.mkdir(exist_ok=True)
    for number, ago_s, is_released in ((7, 1, False), (8, 1, True), (9, 3600, False)):
        seen = f"{datetime.now(UTC) - timedelta(seconds=ago_s):%Y-%m-%d %H:%M:%S UTC}"
        claim = Claim("token", "far", "other", 5, "", seen, seen, is_released=is_released)
        (lock / f"{number:010d}.json").write_bytes(claim.content())
        found = status_of(dataset.url, PRICES)
        assert (found.driver.host, found.driver.pid, found.driver.seen) == ("far", 5, seen)
        assert found.state == ("running" if number == 7 else "stopped")


def test_a_second_driver_is_refused_while_one_runs(stored_affinities, tmp_path):
    content = workflow_content(tmp_path / "run", stored_affinities[0], (60, 70, 90))
    refused = []

    class Rival(ProgressDisplay):
        def __call__(self, event):
            if isinstance(event, TasksDone):
                for second in (
                    lambda: run(Workflow.parse(content), runner="serial"),
                    lambda: replay(str(tmp_path / "run"), Task("fragments", 0, (0, 0, 0))),
                ):
                    with pytest.raises(RunLockError, match="held by another run"):
                        second()
                    refused.append(event)

    outcome = run(Workflow.parse(content), runner="serial", display=Rival(Console(file=io.StringIO())))
    assert outcome.is_complete
    assert len(refused) == 2 * sum(map(len, outcome.plan.passes.values()))
    kinds = [record["kind"] for record in outcome.dataset.ledger.records()]
    assert kinds.count("session") == 1
    assert "done in" in replay(str(tmp_path / "run"), Task("fragments", 0, (0, 0, 0)))


def test_no_dataset(tmp_path):
    with pytest.raises(InputError, match="there is no dataset at"):
        status_of(str(tmp_path), PRICES)


def receipt(number=0, start=1000.0, wall=1.0, stage="edges"):
    return Receipt(stage, ((number, number + 1),), 1, 10, start, wall, wall, 1, 1, 1, "host")


def test_lost_tasks_and_rates():
    history = read_history(
        [
            {"kind": "session", "started_s": 999.0},
            *(receipt_record(receipt(n, 1000.0 + n)) for n in range(120)),
            {"kind": "lost", "stage": "edges", "tasks": 5, "reason": "died"},
            {"kind": "held", "workers": {"cpu": 1}, "seconds": 121.0},
        ]
    )
    assert history.of("edges").lost == 5
    tasks, voxels = history.of("edges").rate(1120.0)
    assert tasks == pytest.approx(1, rel=0.05)
    assert voxels == pytest.approx(10, rel=0.05)
    assert history.of("edges").rate(5000.0) == (0.0, 0.0)


def test_what_was_reset_is_forgotten():
    records = [receipt_record(receipt()), {"kind": "reset", "stages": ["edges"]}, receipt_record(receipt(wall=7.0))]
    assert read_history(records).of("edges").busy_s == 7.0


def test_a_timeline_of_thousands_keeps_every_second():
    timeline, n = Timeline(), 20_000
    timeline.begin(500.0)
    for number in range(n):
        timeline.add(receipt(number, 500.0 + number, 0.9))
        timeline.hold({"cpu": 2}, 1.0)
    assert timeline.stages["edges"].shape == (MOST_BINS,)
    assert timeline.stages["edges"].sum() == pytest.approx(0.9 * n)
    assert timeline.held.sum() == pytest.approx(2 * n)
    assert MOST_BINS / 2 < n / timeline.bin_s <= MOST_BINS
    # a worker was busy for 90 % of any part of it
    assert timeline.stages["edges"][100:200].sum() / timeline.held[100:200].sum() == pytest.approx(0.45, rel=0.01)


def test_pauses_between_runs_are_left_out():
    timeline = Timeline()
    for start in (0.0, 1e6):
        timeline.begin(start)
        timeline.add(receipt(start=start + 1, wall=3.0))
        timeline.hold({"cpu": 1}, 5.0)
    timeline.add(receipt(start=9e6, wall=1.0))  # a replay long after
    assert timeline.sessions == [0.0, 5.0]
    assert timeline.length_s == 10.0
    assert timeline.stages["edges"].sum() == pytest.approx(7.0)
    assert timeline.bin_s <= 1.0
