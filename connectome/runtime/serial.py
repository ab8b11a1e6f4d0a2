"""The serial runner: tasks one by one in this process. For debugging, tests and small volumes."""

from __future__ import annotations

from collections import deque

from connectome.runtime.work import Failure, attempt
from connectome.store.dataset import Dataset
from connectome.store.ledger import Receipt
from connectome.workflow.plan import Plan, Task


class SerialRunner:
    """Runs a task when it is submitted."""

    n_workers = 1
    n_slots = 1

    def __init__(self, plan: Plan, dataset: Dataset) -> None:
        self._plan, self._dataset = plan, dataset
        self._outcomes: deque[tuple[Task, Receipt | Failure]] = deque()

    def submit(self, task: Task, number: int) -> None:
        """Run `task` now."""
        self._outcomes.append((task, attempt(self._plan, self._dataset, task, number)))

    def wait(self, seconds: float) -> tuple[Task, Receipt | Failure] | None:  # noqa: ARG002
        """Return the next outcome, or None if there is none."""
        return self._outcomes.popleft() if self._outcomes else None

    def close(self) -> None:
        """Nothing to release."""
