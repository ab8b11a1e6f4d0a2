"""How a run goes, for Prometheus: the driver serves it at ``/metrics``."""

from __future__ import annotations

import time
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from connectome.errors import InputError
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
from connectome.runtime.prices import Prices
from connectome.store.ledger import Receipt

LOOPBACK = "127.0.0.1"
SPEND_EVERY_S = 1.0


class Metrics:
    """Listens to a run and serves its figures until it is closed.

    Parameters
    ----------
    accounts : Accounts
        Which others keep.
    prices : Prices
    address : str
        ``PORT`` or ``HOST:PORT``; 0 takes a free port. A port alone is served to this machine only.
    """

    def __init__(self, accounts: Accounts, prices: Prices, address: str) -> None:
        self._accounts, self._prices = accounts, prices
        self._spent_at = 0.0
        self._peaks: dict[str, int] = {}
        self._pools: set[str] = set()
        self.registry = CollectorRegistry()
        self._make()
        host, port = _parsed(address)
        try:
            self._server, self._thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise InputError(
                f"metrics cannot be served at {host}:{port} ({error.strerror or error}): choose another port, 0 takes "
                "a free one"
            ) from error
        self.url = f"http://{host}:{self._server.server_port}/metrics"

    def __call__(self, event: Event) -> None:
        """Count one event."""
        if isinstance(event, RunStarted):
            self._start(event)
        elif isinstance(event, TasksDone):
            self._take(event.receipt)
        elif isinstance(event, TaskFailed):
            self._failed.labels(event.task.stage).inc()
        elif isinstance(event, TasksLost):
            self._lost.labels(event.tasks[0].stage).inc(len(event.tasks))
        elif isinstance(event, TaskQuarantined):
            self._quarantined.labels(event.task.stage).inc()
        elif isinstance(event, Heartbeat):
            self._show_workers(event.workers)
            for pool, n in event.queued.items():
                self._queued.labels(pool).set(n)
        if time.monotonic() - self._spent_at > SPEND_EVERY_S or isinstance(event, RunEnded):
            self._spent_at = time.monotonic()
            self._spent.set(self._accounts.usd(self._prices))

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _make(self) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"connectome_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"connectome_{name}", text, labels, registry=self.registry)

        self._planned = gauge("tasks_planned", "Tasks of the pass.", "pass")
        self._done = counter("tasks_done", "Tasks that are done, those of earlier runs included.", "pass")
        self._failed = counter("tasks_failed", "Tries that failed.", "pass")
        self._lost = counter("tasks_lost", "Tasks that were sent again: their worker or the scheduler went.", "pass")
        self._quarantined = counter("tasks_quarantined", "Tasks that failed as often as they may.", "pass")
        self._voxels = counter("voxels", "Voxels of the volume that finished tasks cover.", "pass")
        self._busy = counter("busy_seconds", "Seconds in which workers were busy.", "pass", "pool")
        self._cpu = counter("cpu_seconds", "Seconds of processors.", "pass", "pool")
        self._gpu = counter("gpu_seconds", "Seconds of accelerators.", "pass", "pool")
        self._bytes = counter("store_bytes", "Bytes read from and written to stores.", "pass", "direction")
        self._requests = counter("store_requests", "Requests to stores.", "pass", "direction")
        self._peak = gauge("peak_bytes", "Greatest resident memory of a worker in one task.", "pass")
        self._queued = gauge("tasks_queued", "Tasks that could run now, as far as the driver looks ahead.", "pool")
        self._workers = gauge("workers", "Workers that are there.", "pool")
        self._spent = gauge("spent_usd", "Dollars that workers and store took so far, over all runs on the dataset.")

    def _start(self, event: RunStarted) -> None:
        for name, each in event.plan.passes.items():
            self._planned.labels(name).set(len(each))
            self._done.labels(name).inc(event.n_done[name])
            for counted in (self._failed, self._lost, self._quarantined, self._voxels):
                counted.labels(name)
        self._show_workers(event.workers)

    def _take(self, receipt: Receipt) -> None:
        name, pool = receipt.stage, receipt.pool
        self._done.labels(name).inc(receipt.n_tasks)
        self._voxels.labels(name).inc(receipt.voxels)
        self._busy.labels(name, pool).inc(receipt.wall_s)
        self._cpu.labels(name, pool).inc(receipt.cpu_s)
        self._gpu.labels(name, pool).inc(receipt.gpu_s)
        self._bytes.labels(name, "read").inc(receipt.read_bytes)
        self._bytes.labels(name, "written").inc(receipt.written_bytes)
        self._requests.labels(name, "read").inc(receipt.read_requests)
        self._requests.labels(name, "written").inc(receipt.written_requests)
        self._peaks[name] = max(self._peaks.get(name, 0), receipt.peak_bytes)
        self._peak.labels(name).set(self._peaks[name])

    def _show_workers(self, workers: Mapping[str, int]) -> None:
        """Set the gauges; a pool that lost all its workers has none, not what it had."""
        self._pools |= set(workers)
        for pool in self._pools:
            self._workers.labels(pool).set(workers.get(pool, 0))


def _parsed(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise InputError(f"--metrics-port takes a port or HOST:PORT, got {address!r}")
    return host or LOOPBACK, int(port)
