"""Workers and schedulers as processes: they go politely, come back, and say what they miss."""

import contextlib
import os
import signal
import socket
import time
from collections import Counter

import pytest

from connectome.runtime.dask import DaskRunner
from connectome.runtime.engine import execute
from connectome.runtime.events import TaskFailed, TasksDone, TasksLost
from connectome.runtime.queues import Progress
from tests.runtime.services import services
from tests.runtime.troubled import notes_of, troubled_plan


@pytest.fixture
def started(tmp_path):
    with services(tmp_path) as each:
        yield each


def run_with(plan, dataset, address, listener):
    """Run; `listener` is told events too."""
    events = []
    runner = DaskRunner(dataset, address=address)
    try:
        ended = execute(plan, runner, progress := Progress(plan), [events.append, listener])
    finally:
        runner.close()
    return ended, events, progress


def after(n_tasks, act):
    """A listener that acts once when so many tasks are done."""
    seen = [0]

    def listen(event):
        if isinstance(event, TasksDone) and seen[0] < n_tasks:
            seen[0] += event.receipt.n_tasks
            if seen[0] >= n_tasks:
                act()

    return listen


def test_on_sigterm_a_worker_finishes_its_block_and_no_block_is_computed_twice(tmp_path, started):
    log = str(tmp_path / "log")
    plan, dataset = troubled_plan(tmp_path / "run", 80, {"seconds": 0.05, "log": log})
    scheduler = started.scheduler()
    workers = [started.worker(scheduler.address, "--spot") for _ in range(2)]
    for worker in workers:
        assert "of pool cpu" in worker.first_line()
    ended, events, progress = run_with(
        plan, dataset, scheduler.address, after(20, lambda: workers[0].send_signal(signal.SIGTERM))
    )
    assert workers[0].wait(20) == 0
    assert (ended.quarantined, progress.done["troubled"].count) == ((), 80)
    notes = Counter((word, x) for word, _, x, *_ in notes_of(log))
    assert set(notes.values()) == {1}
    assert len(notes) == 160
    assert not any(isinstance(event, TaskFailed | TasksLost) for event in events)
    receipts = [event.receipt for event in events if isinstance(event, TasksDone)]
    assert all(receipt.is_spot for receipt in receipts)
    assert len({pid for _, _, _, pid, *_ in notes_of(log)}) == 2


def test_the_only_worker_may_go_and_another_come(tmp_path, started):
    log = str(tmp_path / "log")
    plan, dataset = troubled_plan(tmp_path / "run", 40, {"seconds": 0.05, "log": log})
    scheduler = started.scheduler()
    only = started.worker(scheduler.address)
    only.first_line()

    def relieve():
        only.send_signal(signal.SIGTERM)
        started.worker(scheduler.address)

    ended, _, progress = run_with(plan, dataset, scheduler.address, after(5, relieve))
    assert only.wait(20) == 0
    assert (ended.quarantined, progress.done["troubled"].count) == ((), 40)
    assert set(Counter(x for word, _, x, *_ in notes_of(log) if word == "begun").values()) == {1}


def test_a_block_longer_than_the_grace_goes_to_another_worker(tmp_path, started):
    log = str(tmp_path / "log")
    plan, dataset = troubled_plan(tmp_path / "run", 2, {"seconds": 4, "log": log})
    scheduler = started.scheduler()
    slow = started.worker(scheduler.address, "--grace", "0.2")
    slow.first_line()
    acted = []

    def listen(event):
        if not acted and os.path.exists(log):  # noqa: PTH110
            acted.append(slow.send_signal(signal.SIGTERM))
            started.worker(scheduler.address)

    ended, _, progress = run_with(plan, dataset, scheduler.address, listen)
    assert slow.wait(20) == 0
    assert (ended.quarantined, progress.done["troubled"].count) == ((), 2)


def test_a_killed_scheduler_comes_back_and_the_run_goes_on(tmp_path, started):
    log = str(tmp_path / "log")
    plan, dataset = troubled_plan(tmp_path / "run", 80, {"seconds": 0.05, "log": log})
    scheduler = started.scheduler()
    port = scheduler.address.rpartition(":")[2]
    worker = started.worker(scheduler.address)
    worker.first_line()

    def kill():
        scheduler.kill()
        scheduler.wait()
        started.scheduler(port)

    ended, events, progress = run_with(plan, dataset, scheduler.address, after(20, kill))
    assert (ended.quarantined, progress.done["troubled"].count) == ((), 80)
    assert worker.poll() is None  # it started anew, in the same process
    lost = [event for event in events if isinstance(event, TasksLost)]
    assert lost
    again = sum(n > 1 for n in Counter(x for word, _, x, *_ in notes_of(log) if word == "begun").values())
    assert again <= sum(len(event.tasks) for event in lost)


def test_a_scheduler_that_is_away_for_longer_than_the_client_waits_is_waited_for(tmp_path, started, monkeypatch):
    monkeypatch.setattr("connectome.runtime.dask.CLIENT_PATIENCE", "1s")
    plan, dataset = troubled_plan(tmp_path / "run", 40, {"seconds": 0.05})
    scheduler = started.scheduler()
    port = scheduler.address.rpartition(":")[2]
    started.worker(scheduler.address).first_line()

    def kill():
        scheduler.kill()
        scheduler.wait()
        time.sleep(2.5)  # the client gives up meanwhile
        started.scheduler(port)

    ended, _, progress = run_with(plan, dataset, scheduler.address, after(10, kill))
    assert (ended.quarantined, progress.done["troubled"].count) == ((), 40)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("tcp://127.0.0.1:9", "--patience", "0.5"), "no scheduler answered at tcp://127.0.0.1:9 for 0.5 s"),
        (("127.0.0.1:9",), "such as tcp://host:8786, got '127.0.0.1:9'"),
        (("tcp://127.0.0.1:x",), "such as tcp://host:8786, got 'tcp://127.0.0.1:x'"),
        (("tcp://127.0.0.1:9", "--grace", "-1"), "--grace is -1"),
    ],
)
def test_a_worker_without_a_scheduler_says_so(started, arguments, sentence):
    worker = started.worker(*arguments)
    assert worker.wait(30) == 2
    assert sentence in " ".join(started.errors().split())


def test_a_taken_port_is_bad_input(started):
    first = started.scheduler()
    second = started.start("scheduler", "--port", first.address.rpartition(":")[2])
    assert second.wait(30) == 2
    assert "choose another --port" in started.errors()


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_port_that_is_none_is_bad_input(started, port):
    process = started.start("scheduler", f"--port={port}")
    assert process.wait(30) == 2
    assert f"--port takes a number from 0 (any free one) to 65535, got {port}" in " ".join(started.errors().split())


def test_a_second_scheduler_has_nothing_to_say(started):
    with contextlib.closing(socket.socket()) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # then another process listens at Dask's port for its dashboard
            taken.bind(("127.0.0.1", 8787))
            taken.listen()
        assert started.scheduler().address.startswith("tcp://127.0.0.1:")
    assert started.errors() == ""
