"""Writes what happens to the ledger, and reads it back where a run goes on."""

from __future__ import annotations

import time
from typing import Any

from connectome.runtime.accounting import Accounts
from connectome.runtime.engine import Bitmap, Progress
from connectome.runtime.events import Event, Heartbeat, RunEnded, RunStarted, TaskDone, TaskFailed, TaskQuarantined
from connectome.store.dataset import Dataset
from connectome.store.ledger import receipt_of, receipt_record
from connectome.workflow.plan import Plan, Task

FLUSH_RECORDS = 256
FLUSH_S = 2.0


class Recorder:
    """Collects records and appends them to the ledger every few seconds.

    What a killed driver had not written yet is computed again, to the same bytes.
    """

    def __init__(self, dataset: Dataset, accounts: Accounts) -> None:
        self._ledger, self._accounts = dataset.ledger, accounts
        self._records: list[dict[str, Any]] = []
        self._flushed = time.monotonic()
        self._n_workers = 1

    def __call__(self, event: Event) -> None:
        """Record one event."""
        if isinstance(event, RunStarted):
            self._n_workers, self._flushed = event.n_workers, time.monotonic()
        elif isinstance(event, TaskDone):
            self._accounts.add(event.receipt)
            self._records.append(receipt_record(event.receipt))
        elif isinstance(event, TaskFailed):
            self._records.append(
                {"kind": "failure", "task": str(event.task), "attempt": event.attempt, "error": event.error}
            )
        elif isinstance(event, TaskQuarantined):
            self._records.append({"kind": "quarantine", "task": str(event.task), "error": event.error})
        elif isinstance(event, Heartbeat):
            self._n_workers = event.n_workers
        due = len(self._records) >= FLUSH_RECORDS or time.monotonic() - self._flushed >= FLUSH_S
        if isinstance(event, RunEnded) or due:
            self.flush()

    def flush(self) -> None:
        """Write what is there, with the time for which workers were held since the last part."""
        now = time.monotonic()
        seconds, self._flushed = now - self._flushed, now
        self._accounts.allocated_core_s += seconds * self._n_workers
        records, self._records = self._records, []
        self._ledger.append([*records, {"kind": "held", "workers": self._n_workers, "seconds": round(seconds, 3)}])


def recall(dataset: Dataset, plan: Plan) -> tuple[Progress, Accounts]:
    """Replay the ledger: what is done, and what it took."""
    progress, accounts = Progress(plan), Accounts()
    for record in dataset.ledger.records():
        if record["kind"] == "receipt" and record["stage"] in plan.passes:
            receipt = receipt_of(record)
            progress.done[receipt.stage].add(Task(receipt.stage, receipt.level, receipt.index))
            accounts.add(receipt)
        elif record["kind"] == "held":
            accounts.allocated_core_s += record["workers"] * record["seconds"]
        elif record["kind"] == "reset":
            for name in record["stages"]:
                accounts.forget(name)
                if name in plan.passes:
                    progress.done[name] = Bitmap(plan.passes[name])
    return progress, accounts
