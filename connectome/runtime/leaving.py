"""How a worker goes politely: on SIGTERM it finishes the block at hand, hands back the rest, and leaves."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time

from distributed import Worker
from distributed.core import Status
from distributed.diagnostics.plugin import WorkerPlugin

GRACE_S = 25.0
"""How long the block at hand may take: clusters kill 30 s after the signal."""

CLOSE_S = 5.0
"""How long the scheduler may take to give what waits to others."""

_LEAVING = threading.Event()


def is_leaving() -> bool:
    """Tell whether this process was told to go."""
    return _LEAVING.is_set()


class Leave(WorkerPlugin):  # type: ignore[misc]
    """Makes a Dask worker go politely when its process gets SIGTERM.

    Parameters
    ----------
    grace_s : float
        How long the block at hand may take.
    """

    name = "connectome-leave"

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s

    def setup(self, worker: Worker) -> None:
        """Listen for the signal; only the main thread of a process may."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        self._going: asyncio.Task[None] | None = None

        def go() -> None:
            if self._going is None:
                _LEAVING.set()
                self._going = loop.create_task(_leave(worker, self._grace_s))

        loop.add_signal_handler(signal.SIGTERM, go)


async def _leave(worker: Worker, grace_s: float) -> None:
    """Take nothing new, wait until what runs is done and its report fetched, and go."""
    worker.status = Status.paused
    until = time.monotonic() + grace_s
    while (worker.state.executing_count or worker.data) and time.monotonic() < until:
        await asyncio.sleep(0.02)
    # What waits here goes to other workers, and nobody is blamed for it.
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        await asyncio.wait_for(worker.close_gracefully(), CLOSE_S)
