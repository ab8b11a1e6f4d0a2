"""A cluster on this machine: worker processes in named pools, restarted when they die."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import dask
from distributed import Client, LocalCluster, Nanny, Security, SpecCluster
from distributed.diagnostics.plugin import WorkerPlugin

from connectome.errors import InputError
from connectome.runtime import leaving
from connectome.runtime.pools import Workers, pools_of
from connectome.runtime.scratch import scratch_folder

ENVIRONMENT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX")
SETTINGS = {
    # A worker's death is told to the engine, which counts by task; Dask blames every task that the worker held.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.work-stealing": True,
    # Logs of the scheduler that would grow with the number of tasks.
    "distributed.admin.low-level-log-length": 1000,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.daemon": True,
    # One thread each, and one heap. Dask has glibc trim at 64 kB too: every array comes as fresh pages from the system
    # then, which takes workers a third of their time.
    "distributed.nanny.pre-spawn-environ": dict.fromkeys(ENVIRONMENT, "1"),
    # What every process of a cluster does by the clock, 50 times a second and more, is a tenth of a core on a laptop.
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.profile.interval": "100ms",
    "distributed.comm.timeouts.connect": "30s",
}
CLOSE_S = 60
"""How long workers may take to end. A second will do; on a machine that is busy with other work, not."""


def _is_news(record: logging.LogRecord) -> bool:
    """Tell what Dask's scheduler logs from what the engine tells, and mends, itself: that a task's worker died."""
    return "workers died while trying to run it" not in str(record.msg)


class _Nanny(Nanny):  # type: ignore[misc]  # distributed has no types
    """Starts a worker with our settings, also one that comes later, when what is set for the start is over."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        with dask.config.set(SETTINGS):
            super().__init__(*arguments, config=SETTINGS, **options)


class Cluster:
    """Worker processes on this machine, and their scheduler in this process.

    Parameters
    ----------
    pools : mapping of str to int
        Worker processes of each pool.
    is_secure : bool
        Encrypt and authenticate all connections, with keys made for this cluster.
    """

    def __init__(self, pools: Mapping[str, int], *, is_secure: bool = False) -> None:
        self._scratch = scratch_folder("connectome-dask-")
        self.security = Security.temporary() if is_secure else Security(require_encryption=False)
        logging.getLogger("distributed.scheduler").addFilter(_is_news)
        with dask.config.set(SETTINGS):
            self._cluster = self._started(pools)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        return str(self._cluster.scheduler_address)

    @property
    def n_workers(self) -> dict[str, int]:
        """Workers that each pool shall have."""
        counts: dict[str, int] = {}
        for name in self._cluster.worker_spec:
            pool = str(name).rpartition("-")[0]
            counts[pool] = counts.get(pool, 0) + 1
        return counts

    def scale(self, pool: str, n: int) -> None:
        """Let a pool have `n` workers; those that go finish what they do."""
        spec = self._cluster.worker_spec
        names = sorted((name for name in spec if str(name).rpartition("-")[0] == pool), key=_number)
        self._dismiss(names[n:])
        free = iter(set(range(n + len(names))) - {_number(name) for name in names})
        for _ in range(n - len(names)):
            name = f"{pool}-{next(free)}"
            spec[name] = self._worker(pool)
        if n > len(names):
            self._cluster.loop.add_callback(self._cluster._correct_state)

    def _dismiss(self, names: Sequence[object]) -> None:
        """Tell workers to go politely; each takes its nanny with it, and nobody starts it again."""
        for name in names:
            nanny = self._cluster.workers.get(name)
            del self._cluster.worker_spec[name]
            if nanny is not None and nanny.pid is not None:
                os.kill(nanny.pid, signal.SIGTERM)

    def register(self, plugin: WorkerPlugin) -> None:
        """Give a plugin to all workers, also to those that come later."""
        with Client(self._cluster, set_as_default=False) as client:
            client.register_plugin(plugin)

    def close(self) -> None:
        """End all processes."""
        # Workers that are told to go log that their scheduler is gone: nobody needs to read that.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        try:
            self._cluster.close(timeout=CLOSE_S)
        finally:
            logging.getLogger("distributed.scheduler").removeFilter(_is_news)
            self._scratch.cleanup()

    def _started(self, pools: Mapping[str, int]) -> SpecCluster:
        try:
            return self._start(pools)
        except RuntimeError:
            # A worker that dies while the cluster starts takes the start with it; once more, then say so.
            try:
                return self._start(pools)
            except RuntimeError as error:
                raise InputError(
                    f"the local cluster does not start ({error}): run again, or use --runner serial"
                ) from error

    def _start(self, pools: Mapping[str, int]) -> SpecCluster:
        cluster = LocalCluster(
            n_workers=0,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # any free port, so that runs beside each other do not collide
            security=self.security,
            silence_logs=logging.ERROR,
        )
        cluster.worker_spec.update(
            {f"{pool}-{n}": self._worker(pool) for pool, count in pools.items() for n in range(count)}
        )
        cluster.sync(cluster._correct_state)
        return cluster

    def _worker(self, pool: str) -> dict[str, object]:
        options = {
            "host": "127.0.0.1",
            "nthreads": 1,
            "memory_limit": 0,
            "dashboard": False,
            "resources": {pool: 1},
            "preload": [leaving.__name__],
            "local_directory": self._scratch.name,
            "security": self.security,
            "silence_logs": logging.ERROR,
        }
        return {"cls": _Nanny, "options": options}


def wanted_keys(who: str, role: str) -> str:
    """Say which keys `who` wants in Dask's settings; a role is scheduler, worker or client."""
    return f"{who} wants keys: set distributed.comm.tls (ca-file, {role}.cert, {role}.key) in Dask's settings"


def _number(name: object) -> int:
    return int(str(name).rpartition("-")[2])


@contextmanager
def one_cluster(runner: str, n_workers: Workers = None) -> Iterator[str]:
    """Hold one local cluster for several runs, and yield the runner that stands for it; others pass as they are."""
    if runner != "dask":
        yield runner
        return
    with Cluster({pool: each.maximum for pool, each in pools_of(n_workers).items()}) as cluster:
        yield cluster.address
