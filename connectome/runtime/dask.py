"""The Dask runner: a LocalCluster of worker processes, or any scheduler by its address.

Only tasks (coordinates) go out and receipts come back. The client bounds what is in flight, releases
every future at once, and keeps no result; the store is the truth.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import dask
from distributed import Client, Future, LocalCluster

from connectome.errors import InputError
from connectome.runtime.work import Failure, attempt, forget_volumes
from connectome.store.dataset import Dataset
from connectome.store.ledger import Receipt
from connectome.workflow.plan import Plan, Task

SLOTS_PER_WORKER = 3
"""Tasks in flight per worker: one runs, the others hide the way to the scheduler and back."""
ALLOWED_DEATHS = 100
"""Workers that may die under one task before Dask gives it up. Dask blames every task that a dead worker
held, so that pre-emption looks like poison: tries are counted per task by the engine instead."""

SETTINGS = {
    "distributed.scheduler.allowed-failures": ALLOWED_DEATHS,
    "distributed.scheduler.work-stealing": True,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.daemon": True,
    "distributed.comm.timeouts.connect": "30s",
}


class DaskRunner:
    """Runs tasks on a Dask cluster.

    Parameters
    ----------
    dataset : Dataset
        Ready to run; workers read the plan from its record.
    n_workers : int or None
        Worker processes of a LocalCluster; None takes one per core.
    address : str or None
        ``tcp://...`` of a scheduler to use instead.
    """

    def __init__(self, dataset: Dataset, *, n_workers: int | None = None, address: str | None = None) -> None:
        if dataset.url.startswith("memory://"):
            raise InputError("memory:// lives in one process: use --runner serial, or a dataset.url on disk")
        self._url, self._token = dataset.url, uuid.uuid4().hex
        self._outcomes: queue.SimpleQueue[tuple[Task, int, Future]] = queue.SimpleQueue()
        self._scratch = None if address else tempfile.TemporaryDirectory(prefix="connectome-dask-")
        with dask.config.set(SETTINGS):
            self._cluster = (
                _local_cluster(n_workers or os.cpu_count() or 1, self._scratch.name) if self._scratch else None
            )
            self._client = _connect(self._cluster or address)
        self._counted, self._counted_at = 1, -math.inf

    @property
    def n_workers(self) -> int:
        """Worker processes that are there now; asked for at most once a second."""
        if time.monotonic() > self._counted_at + 1:
            self._counted = max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))
            self._counted_at = time.monotonic()
        return self._counted

    @property
    def n_slots(self) -> int:
        """How many tasks may be in flight."""
        return SLOTS_PER_WORKER * self.n_workers

    def submit(self, task: Task, number: int) -> None:
        """Send `task` to a worker. All keys of a pass share one prefix, which Dask's statistics need."""
        key = (task.stage, task.level, *task.index, number, self._token)
        future = self._client.submit(
            _attempt, self._url, self._token, task, number, key=key, pure=False, priority=_priority(task)
        )
        future.add_done_callback(lambda done: self._outcomes.put((task, number, done)))

    def wait(self, seconds: float) -> tuple[Task, Receipt | Failure] | None:
        """Return the next outcome, or None after `seconds` without one."""
        try:
            task, _, future = self._outcomes.get(timeout=seconds)
        except queue.Empty:
            return None
        error = None if future.status == "finished" else future.exception()
        outcome = (
            future.result()
            if future.status == "finished"
            else Failure(task, f"{type(error).__name__}: {error}", "the worker died or the scheduler lost the task")
        )
        future.release()
        return task, outcome

    def close(self) -> None:
        """Leave the cluster, and end it if it is ours."""
        # Workers that are told to go log that their scheduler is gone: nobody needs to read that.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._client.close(timeout=5)
        if self._cluster is not None:
            self._cluster.close(timeout=10)
        if self._scratch is not None:
            self._scratch.cleanup()


@contextmanager
def one_cluster(runner: str, n_workers: int | None = None) -> Iterator[str]:
    """Hold one local cluster for several runs, and yield the runner that stands for it; others pass as they are."""
    if runner != "dask":
        yield runner
        return
    with tempfile.TemporaryDirectory(prefix="connectome-dask-") as scratch, dask.config.set(SETTINGS):
        cluster = _local_cluster(n_workers or os.cpu_count() or 1, scratch)
        try:
            yield cluster.scheduler_address
        finally:
            logging.getLogger("distributed").setLevel(logging.CRITICAL)
            cluster.close(timeout=10)


def _priority(task: Task) -> int:
    return task.level


def _attempt(url: str, token: str, task: Task, number: int) -> Receipt | Failure:
    return attempt(_plan(url, token), Dataset(url), task, number)


@lru_cache(maxsize=2)
def _plan(url: str, token: str) -> Plan:  # noqa: ARG001
    """Load the plan once per worker and run; the token tells runs on one dataset apart."""
    forget_volumes()
    record = Dataset(url).read_record()
    if record is None:
        raise InputError(f"worker cannot see the dataset {url}: the path must be the same on all hosts")
    plan = Plan.from_record(record["plan"])
    for stage in plan.workflow.running_stages:
        # As plain values: the record went through JSON.
        if json.loads(json.dumps(stage.identity())) != record["state"]["stages"][stage.name]:
            raise InputError(
                f"worker {socket.gethostname()} has another version of stage {stage.name} or its network than the "
                "driver: install the same package on all hosts"
            )
    return plan


def _local_cluster(n_workers: int, scratch: str) -> LocalCluster:
    try:
        return _start_cluster(n_workers, scratch)
    except RuntimeError:
        # A worker that dies while the cluster starts takes the start with it; once more, then say so.
        try:
            return _start_cluster(n_workers, scratch)
        except RuntimeError as error:
            raise InputError(
                f"the local cluster does not start ({error}): run again, or use --runner serial"
            ) from error


def _start_cluster(n_workers: int, scratch: str) -> LocalCluster:
    return LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",  # any free port, so that runs beside each other do not collide
        worker_dashboard_address="127.0.0.1:0",
        memory_limit=0,
        local_directory=scratch,
        silence_logs=logging.ERROR,
    )


def _connect(target: LocalCluster | str | None) -> Client:
    try:
        client = Client(target, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"no Dask scheduler answers at {target}: start one, or leave out --runner") from error
    return client
