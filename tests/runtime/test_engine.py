"""The engine: batches, pools, tries, losses and quarantine; scripted where order matters, on a real cluster else."""

import pickle
import time
from collections import Counter, deque

import pytest

from connectome.errors import InputError, StageFailedError
from connectome.runtime import engine
from connectome.runtime.cluster import Cluster
from connectome.runtime.dask import DaskRunner
from connectome.runtime.engine import Outcome, execute
from connectome.runtime.events import Heartbeat, TaskFailed, TaskQuarantined, TasksDone, TasksLost
from connectome.runtime.queues import Progress
from connectome.runtime.run import run
from connectome.runtime.work import Failure, Report, perform_all
from connectome.store.ledger import Receipt, runs_of
from tests.runtime.troubled import KnowsTroubled, learn, notes_of, troubled_plan


class Scripted:
    """A runner of one worker, whose answers a function gives: it takes the batches in flight, oldest first."""

    def __init__(self, plan, answer, slots=3, seconds=0.01):
        self.plan, self._answer, self._seconds = plan, answer, seconds
        self.workers, self.slots = {"cpu": 1}, lambda pool, _: slots if pool == "cpu" else 0
        self.batches, self.flying = [], deque()

    def submit(self, batches):
        self.batches.extend(batches)
        self.flying.extend(batches)

    def wait(self, seconds):
        return [self._answer(self)] if self.flying else []

    def done(self, batch, returned=(), failures=()):
        gone = {*returned, *(failure.task for failure in failures)}
        tasks = [task for task in batch.tasks if task not in gone]
        receipt = None
        if tasks:
            each = self.plan.passes[tasks[0].stage]
            runs = runs_of(each.number(task) for task in tasks)
            wall = self._seconds * len(tasks)
            receipt = Receipt(tasks[0].stage, runs, len(tasks), len(tasks), 0.0, wall, wall, 0, 0, 0, "here")
        return Outcome(batch, Report(receipt, tuple(failures), tuple(returned)), worker="one")


def go(plan, runner):
    events = []
    ended = execute(plan, runner, progress := Progress(plan), [events.append])
    return ended, events, progress


def test_short_tasks_travel_together_and_receipts_cover_all(tmp_path):
    plan, _ = troubled_plan(tmp_path / "run", 500)
    ended, events, progress = go(plan, Scripted(plan, lambda r: r.done(r.flying.popleft())))
    receipts = [event.receipt for event in events if isinstance(event, TasksDone)]
    assert sorted(number for receipt in receipts for number in receipt.numbers) == list(range(500))
    assert max(receipt.n_tasks for receipt in receipts) == int(engine.BATCH_S / 0.01)
    assert (ended.quarantined, ended.n_blocked, progress.done["troubled"].count) == ((), 0, 500)


def test_long_tasks_travel_alone(tmp_path):
    plan, _ = troubled_plan(tmp_path / "run", 30)
    runner = Scripted(plan, lambda r: r.done(r.flying.popleft()), seconds=2.0)
    go(plan, runner)
    assert {len(batch.tasks) for batch in runner.batches} == {1}


def test_what_a_worker_hands_back_is_sent_again_together_and_blames_nobody(tmp_path):
    plan, _ = troubled_plan(tmp_path / "run", 200)

    def answer(runner):
        batch = runner.flying.popleft()
        returned = batch.tasks[1:] if len(batch.tasks) > 10 and len(runner.batches) < 40 else ()
        return runner.done(batch, returned)

    runner = Scripted(plan, answer)
    ended, events, _ = go(plan, runner)
    assert ended.quarantined == ()
    assert max(number for batch in runner.batches for _, number in batch.tries) == 1
    assert not any(isinstance(event, TaskFailed | TasksLost) for event in events)
    assert sum(event.receipt.n_tasks for event in events if isinstance(event, TasksDone)) == 200


def test_a_scheduler_that_goes_often_blames_nobody(tmp_path):
    plan, _ = troubled_plan(tmp_path / "run", 5)
    losses = iter(range(100))

    def answer(runner):
        batch = runner.flying.popleft()
        if next(losses) < 60:
            return Outcome(batch, None, "the scheduler lost the task", is_blameless=True)
        return runner.done(batch)

    ended, _, progress = go(plan, Scripted(plan, answer))
    assert (ended.quarantined, progress.done["troubled"].count) == ((), 5)


@pytest.mark.parametrize("n_blocks", [3, 12, 200])
def test_tasks_beside_the_one_that_kills_are_not_blamed_for_it(tmp_path, n_blocks):
    """The worker takes with it all that it was sent, and there is no other one."""
    plan, _ = troubled_plan(tmp_path / "run", n_blocks)
    dead = deque()

    def answer(runner):
        if dead:
            return Outcome(dead.popleft(), None, "the worker died")
        batch = runner.flying.popleft()
        if any(task.index[2] == 1 for task in batch.tasks):
            dead.extend([*runner.flying])
            runner.flying.clear()
            return Outcome(batch, None, "the worker died")
        return runner.done(batch)

    runner = Scripted(plan, answer)
    runner.wait = lambda _: [answer(runner)] if runner.flying or dead else []
    ended, _, progress = go(plan, runner)
    assert [task.index[2] for task in ended.quarantined] == [1]
    assert progress.done["troubled"].count == n_blocks - 1


def test_a_failing_task_is_tried_alone_elsewhere_and_then_in_quarantine(tmp_path):
    plan, _ = troubled_plan(tmp_path / "run", 40)

    def answer(runner):
        batch = runner.flying.popleft()
        bad = [task for task in batch.tasks if task.index[2] == 7]
        return runner.done(batch, failures=[Failure(task, "no", "") for task in bad])

    runner = Scripted(plan, answer)
    ended, events, _ = go(plan, runner)
    again = [batch for batch in runner.batches if any(task.index[2] == 7 for task in batch.tasks)][1:]
    assert [(len(batch.tasks), batch.tries[0][1], batch.avoided) for batch in again] == [
        (1, 2, ("one",)),
        (1, 3, ("one", "one")),
    ]
    assert [str(task) for task in ended.quarantined] == ["troubled:0,0,7"]
    assert sum(isinstance(event, TaskQuarantined) for event in events) == 1


def test_a_batch_all_of_whose_tasks_fail_is_reported_briefly(tmp_path):
    """Thousands of such batches are in flight when a store begins to refuse."""
    plan, dataset = troubled_plan(tmp_path / "run", 64, {"raises": range(64)})
    report = perform_all(plan, dataset, [(task, 1) for task in plan.passes["troubled"].tasks()])
    assert [bool(failure.traceback) for failure in report.failures] == [True] + 63 * [False]
    assert len(pickle.dumps(report)) < 64 * 150 + 8000


def test_a_pass_whose_first_tasks_all_fail_stops_the_run(tmp_path):
    plan, _ = troubled_plan(tmp_path / "run", 1000)

    def answer(runner):
        batch = runner.flying.popleft()
        return runner.done(batch, failures=[Failure(task, "no disk", "") for task in batch.tasks])

    runner = Scripted(plan, answer)
    with pytest.raises(StageFailedError, match=r"10 blocks of troubled failed and 0 are done.*replay.*no disk"):
        go(plan, runner)
    assert len(runner.batches) < 60


def test_listeners_hear_what_waits_while_outcomes_keep_coming(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "HEARTBEAT_S", 0.0)
    plan, _ = troubled_plan(tmp_path / "run", 300)
    _, events, _ = go(plan, Scripted(plan, lambda r: r.done(r.flying.popleft())))
    queued = [event.queued["cpu"] for event in events if isinstance(event, Heartbeat)]
    assert len(queued) > 5
    assert max(queued) > 200
    assert queued[-1] == 0


def test_a_pool_that_nobody_offers_is_refused(tmp_path, monkeypatch):
    plan, _ = troubled_plan(tmp_path / "run", 3, {"resources": {"gpu": 1}})
    monkeypatch.setattr(engine, "NOBODY_S", 0.0)
    runner = Scripted(plan, None)
    with pytest.raises(InputError, match=r"stage troubled asks for resources: \{gpu: 1\}, and no worker has offered"):
        go(plan, runner)
    assert runner.batches == []


def test_a_pool_whose_workers_went_with_all_its_tasks_is_named(tmp_path, monkeypatch):
    """All of them are in flight, and wait in Dask for a worker that never comes."""
    plan, _ = troubled_plan(tmp_path / "run", 3, {"resources": {"gpu": 1}})
    monkeypatch.setattr(engine, "NOBODY_S", 0.0)
    runner = Scripted(plan, None)
    runner.slots, runner.wait = lambda *_: 3, lambda _: []
    with pytest.raises(InputError, match="no worker has offered 'gpu'"):
        go(plan, runner)
    assert len(runner.batches) == 3


def test_a_pool_that_the_local_cluster_has_not_is_refused_at_once(tmp_path):
    plan, _ = troubled_plan(tmp_path / "run", 3, {"resources": {"gpu": 1}})
    with pytest.raises(InputError, match="--workers cpu=N,gpu=N"):
        run(plan.workflow, n_workers={"cpu": 1})


@pytest.fixture(scope="module")
def cluster():
    learn()
    with Cluster({"cpu": 2, "gpu": 1}) as cluster:
        cluster.register(KnowsTroubled())
        yield cluster


@pytest.fixture
def runners(cluster):
    made = []

    def make(dataset):
        made.append(DaskRunner(dataset, address=cluster.address))
        return made[-1]

    yield make
    for runner in made:
        runner.close()


def test_pools_work_on_different_stages_at_the_same_time(tmp_path, runners):
    log = str(tmp_path / "log")
    one = {"resources": {"gpu": 1}, "seconds": 0.1, "log": log}
    plan, dataset = troubled_plan(tmp_path / "run", 6, one, {"stage": "beside", "seconds": 0.1, "log": log})
    runner = runners(dataset)
    ended, events, _ = go(plan, runner)
    assert ended.quarantined == ()
    notes = [note for note in notes_of(log) if note[0] == "done"]
    pids = {name: {pid for _, stage, _, pid, _, _ in notes if stage == name} for name in ("troubled", "beside")}
    assert len(pids["troubled"]) == 1
    assert not pids["troubled"] & pids["beside"]
    spans = {name: [note[4:] for note in notes if note[1] == name] for name in pids}
    assert any(a < d and c < b for a, b in spans["troubled"] for c, d in spans["beside"])
    pools = {event.receipt.stage: event.receipt.pool for event in events if isinstance(event, TasksDone)}
    assert pools == {"troubled": "gpu", "beside": "cpu"}
    until = time.monotonic() + 10
    while runner._client.futures and time.monotonic() < until:  # released by the client's own thread
        time.sleep(0.01)
    assert dict(runner._client.futures) == {}  # nothing per block stays on the client


def test_a_block_that_raises_is_tried_on_distinct_workers(tmp_path, runners):
    log = str(tmp_path / "log")
    plan, dataset = troubled_plan(tmp_path / "run", 8, {"raises": [3], "log": log}, attempts=2)
    ended, events, progress = go(plan, runners(dataset))
    assert [str(task) for task in ended.quarantined] == ["troubled:0,0,3"]
    assert len({pid for _, _, x, pid, _, _ in notes_of(log) if x == 3}) == 2
    assert progress.done["troubled"].count == 7
    failures = [event for event in events if isinstance(event, TaskFailed)]
    assert all("block 3 is troubled" in event.error and "Traceback" in event.traceback for event in failures)


def test_a_block_that_kills_its_worker_ends_in_quarantine_alone(tmp_path, runners, monkeypatch):
    monkeypatch.setattr(engine, "MOST_LOSSES", 3)
    log = str(tmp_path / "log")
    plan, dataset = troubled_plan(tmp_path / "run", 20, {"kills": [5], "log": log})
    ended, _, progress = go(plan, runners(dataset))
    assert [str(task) for task in ended.quarantined] == ["troubled:0,0,5"]
    assert progress.done["troubled"].count == 19
    assert Counter(x for word, _, x, *_ in notes_of(log) if word == "begun")[5] == 3
