"""Writes what happens to the ledger, and reads it back where a run goes on."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from connectome.runtime import snapshots
from connectome.runtime.accounting import Accounts
from connectome.runtime.events import (
    Event,
    Heartbeat,
    RunEnded,
    RunStarted,
    TaskFailed,
    TaskQuarantined,
    TasksDone,
    TasksLost,
)
from connectome.runtime.queues import Bitmap, Progress
from connectome.runtime.work import HOST
from connectome.stages.fused import members_of
from connectome.store.dataset import Dataset
from connectome.store.ledger import receipt_of, receipt_record
from connectome.workflow.plan import Plan

PACKAGE = Path(__file__).parents[1]
FLUSH_RECORDS = 256
FLUSH_S = 1.0
"""What a killed driver may have to compute again; a part of the ledger is written so often."""


class Recorder:
    """Collects records and appends them to the ledger every few seconds.

    What a killed driver had not written yet is computed again, to the same bytes.
    """

    def __init__(self, dataset: Dataset, accounts: Accounts, progress: Progress | None = None) -> None:
        self._dataset, self._ledger, self._accounts = dataset, dataset.ledger, accounts
        self._progress = progress
        """What is done, where snapshots are wanted."""
        self._snapshot = self._ledger.read_snapshot()[0]
        self._records: list[dict[str, Any]] = []
        self._flushed = time.monotonic()
        self._workers: Mapping[str, int] = {}

    def __call__(self, event: Event) -> None:
        """Record one event."""
        if isinstance(event, RunStarted):
            self._workers, self._flushed = event.workers, time.monotonic()
            session = {"version": version("connectome"), "host": HOST, "process": os.getpid(), "started_s": time.time()}
            self._records.append({"kind": "session", **session, **_fingerprints(self._dataset)})
        elif isinstance(event, TasksDone):
            self._accounts.add(event.receipt)
            self._records.append(receipt_record(event.receipt))
        elif isinstance(event, TaskFailed):
            self._records.append(
                {"kind": "failure", "task": str(event.task), "attempt": event.attempt, "error": event.error}
            )
        elif isinstance(event, TasksLost):
            lost = {"stage": event.tasks[0].stage, "tasks": len(event.tasks), "reason": event.reason[:200]}
            self._records.append({"kind": "lost", **lost})
        elif isinstance(event, TaskQuarantined):
            self._records.append({"kind": "quarantine", "task": str(event.task), "error": event.error})
        elif isinstance(event, Heartbeat):
            self._workers = event.workers
        due = len(self._records) >= FLUSH_RECORDS or time.monotonic() - self._flushed >= FLUSH_S
        if isinstance(event, RunEnded) or due:
            self.flush()

    def flush(self) -> None:
        """Write what is there, with the time for which workers were held since the last part."""
        now = time.monotonic()
        seconds, self._flushed = round(now - self._flushed, 3), now
        held = {"kind": "held", "workers": dict(self._workers), "seconds": seconds}
        self._accounts.hold(self._workers, seconds)
        records, self._records = self._records, []
        self._ledger.append([*records, held])
        if self._progress is not None and self._ledger.n_written >= self._snapshot + snapshots.SNAPSHOT_PARTS:
            snapshots.take(self._ledger, self._progress, self._accounts)
            self._snapshot = self._ledger.n_written


def _fingerprints(dataset: Dataset) -> dict[str, str]:
    """Return what tells apart the code, and the parameters and inputs, that the receipts after it come from."""
    code = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        code.update(file.read_bytes())
    state = json.dumps((dataset.read_record() or {}).get("state"), sort_keys=True)
    return {"code": code.hexdigest()[:16], "state": hashlib.sha256(state.encode()).hexdigest()[:16]}


def recall(dataset: Dataset, plan: Plan) -> tuple[Progress, Accounts]:
    """Replay the ledger: what is done, and what it took."""
    ledger = dataset.ledger
    covered, progress, accounts = snapshots.restore(ledger, plan)
    for record in ledger.records(after=covered):
        if record["kind"] == "receipt" and record["stage"] in plan.passes:
            receipt = receipt_of(record)
            done, n_tasks = progress.done[receipt.stage], len(plan.passes[receipt.stage])
            for number in receipt.numbers:
                if number < n_tasks:  # the others are of a finer grid, whose results a later record resets
                    done.add_number(number)
            accounts.add(receipt)
        elif record["kind"] == "held":
            accounts.hold(record["workers"], record["seconds"])
        elif record["kind"] == "reset":
            struck = frozenset().union(*(members_of(name) for name in record["stages"]))
            passes = [name for name in plan.passes if members_of(name) & struck]
            for name in passes:
                progress.done[name] = Bitmap(plan.passes[name])
            for name in [*record["stages"], *passes]:
                accounts.forget(name)
    return progress, accounts
