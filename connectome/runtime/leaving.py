"""How a worker goes politely: on SIGTERM it finishes the block at hand, hands back the rest, and leaves.

A preload of the local cluster's workers: a terminal sends Ctrl-C to them too, and stopping is the driver's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time

from distributed import Worker
from distributed.core import Status
from distributed.diagnostics.plugin import WorkerPlugin

GRACE_S = 25.0
"""How long the block at hand may take: clusters kill 30 s after the signal."""
CLOSE_S = 4.0
"""How long the scheduler may take to give what waits to others."""

_LEAVING = threading.Event()
_GRACE_S = GRACE_S


def is_leaving() -> bool:
    """Tell whether this process was told to go."""
    return _LEAVING.is_set()


def allow(grace_s: float) -> None:
    """Let the block at hand of this process take so long, whoever registers `Leave`."""
    global _GRACE_S  # noqa: PLW0603
    _GRACE_S = grace_s


def dask_setup(worker: Worker) -> None:  # noqa: ARG001
    """Let the driver alone hear Ctrl-C."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class Leave(WorkerPlugin):  # type: ignore[misc]
    """Makes a Dask worker go politely when its process gets SIGTERM."""

    name = "connectome-leave"

    def setup(self, worker: Worker) -> None:
        """Listen for the signal; only the main thread of a process may."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()

        def begin() -> None:
            if not _LEAVING.is_set():
                _LEAVING.set()
                self._going = loop.create_task(_leave(worker, _GRACE_S))

        loop.add_signal_handler(signal.SIGTERM, begin)


async def _leave(worker: Worker, grace_s: float) -> None:
    """Take nothing new, wait until what runs is done and its report fetched, and go."""
    worker.status = Status.paused
    until = time.monotonic() + grace_s
    while (worker.state.executing_count or worker.data) and time.monotonic() < until:
        await asyncio.sleep(0.02)
    # What waits here goes to other workers, and nobody is blamed for it.
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(worker.close_gracefully(), CLOSE_S)
    if worker.status != Status.closed:
        os._exit(0)  # a block that takes longer than its grace, or a scheduler that is gone
