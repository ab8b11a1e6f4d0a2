"""What happens in a run, as values: they feed progress, ledger and accounts; nobody prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from connectome.store.ledger import Receipt
from connectome.workflow.plan import Plan, Task


@dataclass(frozen=True)
class RunStarted:
    """The engine begins; tasks done by earlier runs are counted per pass, workers per pool."""

    plan: Plan
    n_done: dict[str, int]
    workers: Mapping[str, int]


@dataclass(frozen=True)
class TasksDone:
    """The outputs of tasks of one pass are in the store."""

    receipt: Receipt


@dataclass(frozen=True)
class TaskFailed:
    """A try of a task failed."""

    task: Task
    attempt: int
    error: str
    traceback: str


@dataclass(frozen=True)
class TasksLost:
    """Tasks were in flight when their worker or the scheduler went; they are sent again."""

    tasks: tuple[Task, ...]
    reason: str


@dataclass(frozen=True)
class TaskQuarantined:
    """A task failed as often as it may; what depends on it cannot run."""

    task: Task
    error: str


@dataclass(frozen=True)
class Heartbeat:
    """Time passed; `queued` counts tasks of each pool that could run now, `in_flight` batches that were sent."""

    workers: Mapping[str, int]
    queued: Mapping[str, int]
    in_flight: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RunEnded:
    """The engine stops."""

    seconds: float
    quarantined: tuple[Task, ...]
    n_blocked: int


Event = RunStarted | TasksDone | TaskFailed | TasksLost | TaskQuarantined | Heartbeat | RunEnded
Listener = Callable[[Event], None]
