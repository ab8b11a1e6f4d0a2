"""The engine: streams the tasks of all passes through a runner, in a bounded window per pool of workers.

Each pass has a short list of tasks that come next and one bit per task for what is done. A task runs
when the tasks that it depends on are done; the latest pass goes first, so that what was written is
consumed while it is hot. Short tasks travel together. A failing task is tried again, then quarantined,
and the rest goes on; a pass most of whose first tasks end so stops the run.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from connectome.errors import DiskFullError, InputError, StageFailedError
from connectome.runtime.events import (
    Event,
    Heartbeat,
    Listener,
    RunEnded,
    RunStarted,
    TaskFailed,
    TaskQuarantined,
    TasksDone,
    TasksLost,
)
from connectome.runtime.queues import Progress, Queue
from connectome.runtime.work import Report
from connectome.workflow.plan import Plan, Task

HEARTBEAT_S = 0.5
"""How often listeners get a chance to act, and are told what waits."""
BATCH_S = 0.5
"""Tasks travel together up to this time of work: the way to the scheduler and back takes some milliseconds, and a
worker that dies takes the batch with it."""
MOST_TASKS, MOST_RUNS = 64, 24
"""Tasks that travel together at most, and runs of their numbers: a receipt stays under 1 kB."""
MOST_LOSSES = 8
"""Workers that may go under a task before it counts as what takes them: several times what chance would do."""
SUSPECT_LOSSES = 2
"""Tasks under which so many workers went are in flight one at a time in each pool: a worker takes all that it was
sent with it, so that tasks which travel beside the one that kills would else be blamed as often."""
FIRST_TASKS = 10
"""A pass stops the run when so many of its tasks are in quarantine, and they are more than are done."""
NOBODY_S = 120.0
"""How long tasks wait for a pool without workers before the run stops."""


@dataclass(frozen=True)
class Batch:
    """Tasks of one pass that travel together.

    Attributes
    ----------
    pool : str
        Where they run.
    tries : tuple of (task, number of the try)
    avoided : tuple of str
        Workers on which one of them failed.
    """

    pool: str
    tries: tuple[tuple[Task, int], ...]
    avoided: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(task for task, _ in self.tries)


@dataclass(frozen=True)
class Outcome:
    """What became of a batch: a worker's report, or None and the reason where it was lost with its worker."""

    batch: Batch
    report: Report | None
    reason: str = ""
    worker: str = ""
    is_blameless: bool = False
    """Lost, but not with the worker that ran it: the scheduler went, or the worker was told to go."""


class Runner(Protocol):
    """Executes tasks anywhere."""

    @property
    def workers(self) -> Mapping[str, int]:
        """Workers per pool that are there now."""

    def slots(self, pool: str, name: str) -> int:
        """Return how many batches of a pool may be in flight when one of that pass joins them."""

    def submit(self, batches: Sequence[Batch]) -> None: ...
    def wait(self, seconds: float) -> Sequence[Outcome]:
        """Return outcomes that arrived; none after `seconds` without one."""

    def close(self) -> None: ...


@dataclass
class _Trouble:
    """What went wrong with a task that is not done: failed tries, workers lost under it, and where it failed."""

    failures: int = 0
    losses: int = 0
    workers: tuple[str, ...] = ()


def execute(plan: Plan, runner: Runner, progress: Progress, listeners: Sequence[Listener]) -> RunEnded:
    """Run all tasks of `plan` that are not done yet.

    Parameters
    ----------
    plan : Plan
    runner : Runner
    progress : Progress
        What earlier runs did; it is brought up to date.
    listeners : sequence of callables
        Told every event, in order, in this thread.

    Returns
    -------
    RunEnded
        With the tasks that were quarantined.

    Raises
    ------
    StageFailedError
        Where most of the first tasks of a pass fail.
    DiskFullError
        Where a worker meets a full disk.
    InputError
        Where a stage asks for a resource that no worker offers.
    """
    return _Execution(plan, runner, progress, listeners).run()


class _Execution:
    """One run of the engine: what is in flight, and what was in trouble."""

    def __init__(self, plan: Plan, runner: Runner, progress: Progress, listeners: Sequence[Listener]) -> None:
        self._plan, self._runner, self._progress, self._listeners = plan, runner, progress, listeners
        self._queues = {name: Queue(plan, each, progress) for name, each in plan.passes.items()}
        self._again: defaultdict[str, deque[Task]] = defaultdict(deque)
        self._suspects: defaultdict[str, deque[Task]] = defaultdict(deque)
        self._watched: dict[str, Task] = {}
        self._in_flight: Counter[str] = Counter()
        self._troubles: dict[Task, _Trouble] = {}
        self._quarantined: list[Task] = []
        self._n_lost: Counter[str] = Counter()
        self._seconds_per_task: dict[tuple[str, int], float] = {}
        self._nobody_since: dict[str, float] = {}
        self._beat_at = 0.0

    def run(self) -> RunEnded:
        started = time.monotonic()
        n_done = {name: bits.count for name, bits in self._progress.done.items()}
        self._tell(RunStarted(self._plan, n_done, dict(self._runner.workers)))
        while True:
            self._fill()
            if self._is_over():
                break
            outcomes = self._runner.wait(HEARTBEAT_S)
            for outcome in outcomes:
                self._in_flight[outcome.batch.pool] -= 1
                self._forget_watched(outcome.batch)
                if outcome.report is None:
                    self._take_back(outcome)
                else:
                    self._take(outcome, outcome.report)
            if not outcomes or time.monotonic() > self._beat_at + HEARTBEAT_S:
                self._beat()
        n_blocked = sum(bits.count for bits in self._progress.lost.values()) - len(self._quarantined)
        ended = RunEnded(time.monotonic() - started, tuple(self._quarantined), n_blocked)
        self._tell(ended)
        return ended

    def _is_over(self) -> bool:
        """Tell whether nothing runs and nothing will."""
        is_idle = not (self._in_flight.total() or any(self._again.values()) or any(self._suspects.values()))
        return is_idle and all(queue.is_exhausted() for queue in self._queues.values())

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        queued = self._queued()
        self._check_pools(queued)
        self._tell(Heartbeat(dict(self._runner.workers), queued, dict(self._in_flight)))

    def _fill(self) -> None:
        """Submit what is ready until the windows are full: second tries first, then the latest pass."""
        batches: list[Batch] = []
        for pool in dict.fromkeys((*self._suspects, *self._again)):
            suspects, waiting = self._suspects[pool], self._again[pool]
            if pool not in self._watched and suspects and self._has_room(pool, suspects[0].stage):
                self._watched[pool] = suspects.popleft()
                batches.append(self._sent(pool, [self._watched[pool]]))
            while waiting and self._has_room(pool, waiting[0].stage):
                batches.append(self._sent(pool, self._pop_again(pool)))
        for name, queue in reversed(self._queues.items()):
            pool = self._plan.passes[name].stage.pool
            while self._has_room(pool, name) and (tasks := queue.pop_ready(self._batch_size, MOST_RUNS)):
                batches.append(self._sent(pool, tasks))
        if batches:
            self._runner.submit(batches)

    def _has_room(self, pool: str, name: str) -> bool:
        """Tell whether a batch of a pass may be sent beside what is in flight."""
        return self._in_flight[pool] < self._runner.slots(pool, name)

    def _sent(self, pool: str, tasks: Sequence[Task]) -> Batch:
        self._in_flight[pool] += 1
        return self._batch(pool, tasks)

    def _batch_size(self, task: Task) -> int:
        """How many tasks like this to send together: `BATCH_S` of work, and something for every worker at the end."""
        seconds = self._seconds_per_task.get((task.stage, task.level))
        if seconds is None:
            return 1
        n_left = len(self._plan.passes[task.stage]) - self._progress.done[task.stage].count
        slots = max(1, self._runner.slots(self._plan.passes[task.stage].stage.pool, task.stage))
        return max(1, min(MOST_TASKS, int(BATCH_S / max(seconds, 1e-6)), math.ceil(n_left / slots)))

    def _pop_again(self, pool: str) -> list[Task]:
        """Take what comes again: alone where a try failed, together where it only was handed back or lost."""
        waiting = self._again[pool]
        tasks = [waiting.popleft()]
        first = tasks[0]
        most = 1 if first in self._troubles else min(MOST_RUNS, self._batch_size(first))
        while waiting and len(tasks) < most:
            task = waiting[0]
            if (task.stage, task.level) != (first.stage, first.level) or task in self._troubles:
                break
            tasks.append(waiting.popleft())
        return tasks

    def _batch(self, pool: str, tasks: Sequence[Task]) -> Batch:
        troubles = [self._troubles.get(task) for task in tasks]
        avoided = tuple(worker for trouble in troubles if trouble is not None for worker in trouble.workers)
        tries = [
            (task, 1 if trouble is None else 1 + trouble.failures + trouble.losses)
            for task, trouble in zip(tasks, troubles, strict=True)
        ]
        return Batch(pool, tuple(tries), avoided)

    def _again_later(self, pool: str, task: Task) -> None:
        trouble = self._troubles.get(task)
        is_suspect = trouble is not None and trouble.losses >= SUSPECT_LOSSES
        (self._suspects if is_suspect else self._again)[pool].append(task)

    def _forget_watched(self, batch: Batch) -> None:
        if self._watched.get(batch.pool) in batch.tasks:
            del self._watched[batch.pool]

    def _take(self, outcome: Outcome, report: Report) -> None:
        """Count what is done, try again what failed, and send again what was handed back."""
        pool = outcome.batch.pool
        if report.receipt is not None:
            done = self._progress.done[report.receipt.stage]
            for number in report.receipt.numbers:
                done.add_number(number)
            kind = report.receipt.stage, outcome.batch.tasks[0].level
            seconds = report.receipt.wall_s / report.receipt.n_tasks
            self._seconds_per_task[kind] = 0.8 * self._seconds_per_task.get(kind, seconds) + 0.2 * seconds
            self._tell(TasksDone(report.receipt))
        if self._troubles:
            open_ = {failure.task for failure in report.failures} | set(report.returned)
            for task in outcome.batch.tasks:
                if task not in open_:
                    self._troubles.pop(task, None)
        for task in report.returned:
            self._again_later(pool, task)
        for failure in report.failures:
            trouble = self._troubles.setdefault(failure.task, _Trouble())
            trouble.failures += 1
            trouble.workers = (*trouble.workers, outcome.worker)
            self._tell(TaskFailed(failure.task, trouble.failures, failure.error, failure.traceback))
            if failure.stops_run:
                raise DiskFullError(failure.error)
            if trouble.failures < self._plan.workflow.attempts:
                self._again_later(pool, failure.task)
            else:
                self._quarantine(failure.task, failure.error)

    def _take_back(self, outcome: Outcome) -> None:
        """Send a lost batch again, task by task where it may be its worker's death."""
        self._tell(TasksLost(outcome.batch.tasks, outcome.reason))
        for task in outcome.batch.tasks:
            if not outcome.is_blameless:
                trouble = self._troubles.setdefault(task, _Trouble())
                trouble.losses += 1
                if trouble.losses >= MOST_LOSSES:
                    self._quarantine(task, f"{trouble.losses} workers died under it; the last: {outcome.reason}")
                    continue
            self._again_later(outcome.batch.pool, task)

    def _quarantine(self, task: Task, error: str) -> None:
        self._troubles.pop(task, None)
        self._quarantined.append(task)
        self._progress.lost[task.stage].add(task)
        self._tell(TaskQuarantined(task, error))
        self._n_lost[task.stage] += 1
        n_lost, n_done = self._n_lost[task.stage], self._progress.done[task.stage].count
        if n_lost >= FIRST_TASKS and n_lost > n_done:
            raise StageFailedError(
                f"{n_lost} blocks of {task.stage} failed and {n_done} are done, so the rest would fail too: mend the "
                f"cause (connectome replay {self._plan.workflow.dataset.url} {task} shows it) and run again. {error}"
            )

    def _queued(self) -> dict[str, int]:
        """How many tasks of each pool could run now, as far as the engine looks ahead."""
        queued: Counter[str] = Counter()
        for name, queue in self._queues.items():
            queued[self._plan.passes[name].stage.pool] += queue.count_ready()
        for waiting in (self._again, self._suspects):
            for pool, tasks in waiting.items():
                queued[pool] += len(tasks)
        return dict(queued)

    def _check_pools(self, queued: Mapping[str, int]) -> None:
        """Stop where tasks have waited long for a pool that nobody offers."""
        workers, now = self._runner.workers, time.monotonic()
        for pool in {*queued, *self._in_flight}:
            # What is in flight waits too, once the workers that it was sent to are gone.
            n = queued.get(pool, 0) + self._in_flight[pool]
            if not n or workers.get(pool):
                self._nobody_since.pop(pool, None)
            elif now - self._nobody_since.setdefault(pool, now) > NOBODY_S:
                stages = [e.stage.name for e in self._plan.passes.values() if e.stage.pool == pool]
                raise InputError(
                    f"stage {stages[0]} asks for resources: {{{pool}: 1}}, and no worker has offered {pool!r} for "
                    f"{NOBODY_S:.0f} s (there are {dict(workers) or 'no workers'}): start workers of that pool, or "
                    "leave resources out"
                )
