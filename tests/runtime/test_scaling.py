"""Scaling: with hysteresis in steps of a clock, and with a real cluster whose workers come and go."""

import io
import os
from collections import Counter

import dask
import pytest
from distributed import Client
from rich.console import Console

from connectome.commands.options import workers_of
from connectome.errors import InputError
from connectome.runtime import scaling
from connectome.runtime.cluster import SETTINGS, Cluster
from connectome.runtime.dask import DaskRunner
from connectome.runtime.engine import execute
from connectome.runtime.events import Heartbeat, TaskFailed, TasksLost
from connectome.runtime.pools import Limits
from connectome.runtime.progress import ProgressDisplay
from connectome.runtime.queues import Progress
from connectome.runtime.run import run
from connectome.runtime.scaling import GROW_S, SHRINK_S, Scaler
from connectome.workflow.workflow import Workflow
from tests.runtime.troubled import KnowsTroubled, notes_of, troubled_plan
from tests.tissue import workflow_content


class Asked:
    def __init__(self):
        self.calls, self.now = [], 0.0

    def scale(self, pool, n):
        self.calls.append((pool, n))

    def beat(self, scaler, seconds, in_flight=None, **queued):
        for _ in range(int(seconds / 0.5)):
            self.now += 0.5
            scaler(Heartbeat({}, queued, in_flight or {}))


@pytest.fixture
def asked():
    return Asked()


def test_a_pool_grows_while_tasks_wait_up_to_its_maximum(asked):
    scaler = Scaler(asked, {"cpu": Limits(1, 6)}, lambda: asked.now)
    asked.beat(scaler, 20, cpu=100)
    assert asked.calls == [("cpu", 2), ("cpu", 4), ("cpu", 6)]


def test_a_pool_grows_by_no_more_than_what_waits(asked):
    scaler = Scaler(asked, {"cpu": Limits(8, 100)}, lambda: asked.now)
    asked.beat(scaler, GROW_S + 0.5, cpu=3)
    assert asked.calls == [("cpu", 11)]


def test_a_pool_shrinks_only_after_a_long_time_without_work(asked):
    scaler = Scaler(asked, {"gpu": Limits(0, 4), "cpu": Limits(1, 1)}, lambda: asked.now)
    asked.beat(scaler, 3 * GROW_S + 1, gpu=9)
    assert asked.calls == [("gpu", 1), ("gpu", 2), ("gpu", 4)]
    for _ in range(5):  # short pauses change nothing
        asked.beat(scaler, SHRINK_S - 2)
        asked.beat(scaler, 1, gpu=1)
    assert len(asked.calls) == 3
    asked.beat(scaler, 4 * SHRINK_S)
    assert asked.calls[3:] == [("gpu", 2), ("gpu", 1), ("gpu", 0)]


def test_what_is_in_flight_keeps_its_workers(asked):
    """Blocks of minutes at the end of a pass: nothing waits in the engine, and every worker has one."""
    scaler = Scaler(asked, {"gpu": Limits(0, 4)}, lambda: asked.now)
    asked.beat(scaler, 3 * GROW_S + 1, gpu=9)
    asked.beat(scaler, 4 * SHRINK_S, {"gpu": 3})
    assert asked.calls[3:] == [("gpu", 3)]
    asked.beat(scaler, 4 * SHRINK_S)
    assert asked.calls[4:] == [("gpu", 1), ("gpu", 0)]


def test_a_pool_grows_for_what_waits_in_flight(asked):
    """The window that short batches made wide holds all long ones that follow."""
    scaler = Scaler(asked, {"cpu": Limits(1, 4)}, lambda: asked.now)
    asked.beat(scaler, 3 * GROW_S + 1, {"cpu": 60})
    assert asked.calls == [("cpu", 2), ("cpu", 4)]


def test_work_for_other_pools_is_none_of_its_business(asked):
    scaler = Scaler(asked, {"cpu": Limits(1, 4)}, lambda: asked.now)
    asked.beat(scaler, 20, gpu=50)
    assert asked.calls == []


def test_a_local_cluster_grows_and_shrinks_and_nothing_is_computed_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "GROW_S", 0.5)
    log = str(tmp_path / "log")
    plan, dataset = troubled_plan(tmp_path / "run", 200, {"seconds": 0.05, "log": log})
    runner, events, shrunk = DaskRunner(dataset, workers=Limits(1, 2)), [], []
    cluster, scaler = runner._cluster, runner.scaler

    def listen(event):
        events.append(event)
        if not shrunk:
            scaler(event)
        if not shrunk and isinstance(event, Heartbeat) and event.workers.get("cpu") == 2 and len(pids()) == 2:
            shrunk.append(cluster.scale("cpu", 1))

    def pids():
        return {pid for _, _, _, pid, *_ in notes_of(log)}

    try:
        cluster.register(KnowsTroubled())
        ended = execute(plan, runner, progress := Progress(plan), [listen])
        assert cluster.n_workers == {"cpu": 1}
    finally:
        runner.close()
    assert (ended.quarantined, progress.done["troubled"].count) == ((), 200)
    assert shrunk
    assert not any(isinstance(event, TaskFailed | TasksLost) for event in events)
    assert set(Counter(x for word, _, x, *_ in notes_of(log) if word == "begun").values()) == {1}


def test_workers_that_come_later_have_the_same_settings(monkeypatch):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    with Cluster({"cpu": 1}) as cluster:
        cluster.scale("cpu", 2)
        with Client(cluster.address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            found = client.run(lambda: {key: dask.config.get(key) for key in SETTINGS})
            heaps = client.run(lambda: (os.environ.get("MALLOC_TRIM_THRESHOLD_"), os.environ["MALLOC_ARENA_MAX"]))
    assert list(found.values()) == [SETTINGS, SETTINGS]
    assert list(heaps.values()) == [(None, "1")] * 2  # else every array comes as fresh pages from the system


def test_limits_are_read_and_checked(stored_affinities, tmp_path):
    assert workers_of("cpu=1-8, gpu=2") == {"cpu": Limits(1, 8), "gpu": 2}
    assert workers_of("0-4") == Limits(0, 4)
    for text in ("1-", "a-b", "-1", "cpu=1,2"):
        with pytest.raises(InputError, match="such as 1-8"):
            workers_of(text)
    for text in ("cpu=2,cpu=3", "=1", "cpu=1, =2"):
        with pytest.raises(InputError, match="--pool takes each pool once and by its name"):
            workers_of(text, "--pool")
    workflow = Workflow.parse(workflow_content(tmp_path / "run", stored_affinities[0]))
    with pytest.raises(InputError, match=r"'cpu', which this run does not have: give --workers cpu=N,gpu=N$"):
        run(workflow, n_workers=workers_of("gpu=1"))
    for text in ("4-2", "0-0", "0"):
        with pytest.raises(InputError, match="at least"):
            run(workflow, n_workers=workers_of(text))


def test_a_pool_may_begin_with_nobody(stored_affinities, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "GROW_S", 0.1)
    content = workflow_content(tmp_path / "run", stored_affinities[0], (60, 35, 90))
    assert run(Workflow.parse(content), n_workers=Limits(0, 1)).is_complete


def test_a_pool_without_workers_is_named_once():
    text = io.StringIO()
    display = ProgressDisplay(Console(file=text))
    for workers in ({"cpu": 1}, {"cpu": 0}, {"cpu": 0}):  # one that died is started again
        display(Heartbeat(workers, {"cpu": 3, "gpu": 2}))
    assert text.getvalue() == "waiting for a worker of pool gpu\n"
