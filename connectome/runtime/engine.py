"""The engine: streams the tasks of all passes through a runner, in a bounded window.

Each pass has a short list of tasks that come next and one bit per task for what is done. A task runs
when the tasks that it depends on are done; the latest pass goes first, so that what was written is
consumed while it is hot. A failing task is tried again, then quarantined; the rest goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Protocol

from connectome.errors import DiskFullError
from connectome.runtime.events import (
    Event,
    Heartbeat,
    Listener,
    RunEnded,
    RunStarted,
    TaskDone,
    TaskFailed,
    TaskQuarantined,
)
from connectome.runtime.work import Failure
from connectome.store.ledger import Receipt
from connectome.workflow.plan import Pass, Plan, Task

LOOK_AHEAD = 64
"""Tasks per pass whose dependencies are watched."""
HEARTBEAT_S = 0.5
"""How long to wait for an outcome before listeners get a chance to act."""


class Runner(Protocol):
    """Executes tasks anywhere."""

    @property
    def n_workers(self) -> int: ...
    @property
    def n_slots(self) -> int: ...
    def submit(self, task: Task, number: int) -> None: ...
    def wait(self, seconds: float) -> tuple[Task, Receipt | Failure] | None: ...
    def close(self) -> None: ...


class Bitmap:
    """One bit per task of a pass."""

    def __init__(self, each: Pass) -> None:
        self._pass, self._bits = each, bytearray(-(-len(each) // 8))
        self.count = 0

    def add(self, task: Task) -> None:
        """Set the task's bit."""
        number = self._pass.number(task)
        if not self._bits[number >> 3] >> (number & 7) & 1:
            self._bits[number >> 3] |= 1 << (number & 7)
            self.count += 1

    def __contains__(self, task: Task) -> bool:
        number = self._pass.number(task)
        return bool(self._bits[number >> 3] >> (number & 7) & 1)


class Progress:
    """What is done and what is lost, per pass."""

    def __init__(self, plan: Plan) -> None:
        self.done = {name: Bitmap(each) for name, each in plan.passes.items()}
        self.lost = {name: Bitmap(each) for name, each in plan.passes.items()}

    def is_done(self, task: Task) -> bool:
        return task in self.done[task.stage]

    def is_lost(self, task: Task) -> bool:
        return task in self.lost[task.stage]


class _Queue:
    """Tasks of one pass that come next, each with the dependency that it was last seen waiting for."""

    def __init__(self, each: Pass, progress: Progress) -> None:
        self._tasks: Iterator[Task] = (task for task in each.tasks() if not progress.is_done(task))
        self._waiting: dict[Task, Task | None] = {}
        self._progress = progress

    def pop_ready(self, plan: Plan) -> Task | None:
        """Return the next task whose dependencies are done; drop those that can never run."""
        n_before = -1
        while n_before != len(self._waiting):
            for task in islice(self._tasks, LOOK_AHEAD - len(self._waiting)):
                self._waiting[task] = None
            n_before = len(self._waiting)
            for task, watched in list(self._waiting.items()):
                if watched is not None and not self._progress.is_done(watched) and not self._progress.is_lost(watched):
                    continue
                missing = next((d for d in plan.dependencies(task) if not self._progress.is_done(d)), None)
                if missing is None:
                    del self._waiting[task]
                    return task
                if any(self._progress.is_lost(d) for d in plan.dependencies(task)):
                    del self._waiting[task]
                    self._progress.lost[task.stage].add(task)
                else:
                    self._waiting[task] = missing
        return None

    def is_exhausted(self) -> bool:
        """Tell whether nothing comes any more."""
        for task in islice(self._tasks, 1):
            self._waiting[task] = None
        return not self._waiting


def execute(plan: Plan, runner: Runner, progress: Progress, listeners: list[Listener]) -> RunEnded:
    """Run all tasks of `plan` that are not done yet.

    Parameters
    ----------
    plan : Plan
    runner : Runner
    progress : Progress
        What earlier runs did; it is brought up to date.
    listeners : list of callables
        Told every event, in order, in this thread.

    Returns
    -------
    RunEnded
        With the tasks that were quarantined.
    """

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    started = time.monotonic()
    tell(RunStarted(plan, {name: bits.count for name, bits in progress.done.items()}, runner.n_workers))
    queues = {name: _Queue(each, progress) for name, each in plan.passes.items()}
    attempts: dict[Task, int] = {}
    quarantined: list[Task] = []
    while True:
        _fill(plan, runner, queues, attempts)
        outcome = runner.wait(HEARTBEAT_S)
        if outcome is None:
            if not attempts and all(each.is_exhausted() for each in queues.values()):
                break
            tell(Heartbeat(runner.n_workers))
            continue
        task, result = outcome
        number = attempts.pop(task)
        if isinstance(result, Receipt):
            progress.done[task.stage].add(task)
            tell(TaskDone(task, result))
            continue
        tell(TaskFailed(task, number, result.error, result.traceback))
        if result.stops_run:
            raise DiskFullError(result.error)
        if number < plan.workflow.attempts:
            attempts[task] = number + 1
            runner.submit(task, number + 1)
        else:
            quarantined.append(task)
            progress.lost[task.stage].add(task)
            tell(TaskQuarantined(task, result.error))
    n_blocked = sum(bits.count for bits in progress.lost.values()) - len(quarantined)
    ended = RunEnded(time.monotonic() - started, tuple(quarantined), n_blocked)
    tell(ended)
    return ended


def _fill(plan: Plan, runner: Runner, queues: Mapping[str, _Queue], attempts: dict[Task, int]) -> None:
    """Submit ready tasks, the latest pass first, until the window is full."""
    free = runner.n_slots - len(attempts)
    for queue in reversed(list(queues.values())):
        while free > 0 and (task := queue.pop_ready(plan)) is not None:
            attempts[task] = 1
            runner.submit(task, 1)
            free -= 1
