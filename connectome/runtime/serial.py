"""The serial runner: tasks one by one in this process. For debugging, tests and small volumes."""

from __future__ import annotations

from collections.abc import Sequence

from connectome.runtime.engine import Batch, Outcome
from connectome.runtime.work import perform_all
from connectome.store.dataset import Dataset
from connectome.workflow.plan import Plan


class SerialRunner:
    """Runs tasks when they are submitted, whatever resources their stages ask for."""

    def __init__(self, plan: Plan, dataset: Dataset) -> None:
        self._plan, self._dataset = plan, dataset
        self._outcomes: list[Outcome] = []
        self._pools = {each.stage.pool for each in plan.passes.values()}

    @property
    def workers(self) -> dict[str, int]:
        """One, in each pool that the plan asks for."""
        return dict.fromkeys(self._pools, 1)

    def slots(self, pool: str, name: str) -> int:  # noqa: ARG002
        """One task at a time."""
        return 1

    def submit(self, batches: Sequence[Batch]) -> None:
        """Run the tasks now."""
        for batch in batches:
            self._outcomes.append(Outcome(batch, perform_all(self._plan, self._dataset, batch.tries, batch.pool)))

    def wait(self, seconds: float) -> list[Outcome]:  # noqa: ARG002
        """Return what was submitted since, done."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def close(self) -> None:
        """Nothing to release."""
