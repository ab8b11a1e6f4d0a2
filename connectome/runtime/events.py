"""What happens in a run, as values: they feed progress, ledger and accounts; nobody prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from connectome.store.ledger import Receipt
from connectome.workflow.plan import Plan, Task


@dataclass(frozen=True)
class RunStarted:
    """The engine begins; tasks done by earlier runs are counted per pass."""

    plan: Plan
    n_done: dict[str, int]
    n_workers: int


@dataclass(frozen=True)
class TaskDone:
    """A task's outputs are in the store."""

    task: Task
    receipt: Receipt


@dataclass(frozen=True)
class TaskFailed:
    """A try of a task failed."""

    task: Task
    attempt: int
    error: str
    traceback: str


@dataclass(frozen=True)
class TaskQuarantined:
    """A task failed as often as it may; what depends on it cannot run."""

    task: Task
    error: str


@dataclass(frozen=True)
class Heartbeat:
    """Time passed without an outcome."""

    n_workers: int


@dataclass(frozen=True)
class RunEnded:
    """The engine stops."""

    seconds: float
    quarantined: tuple[Task, ...]
    n_blocked: int


Event = RunStarted | TaskDone | TaskFailed | TaskQuarantined | Heartbeat | RunEnded
Listener = Callable[[Event], None]
