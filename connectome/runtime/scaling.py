"""Scaling by the depth of queues: how many workers of each pool the work at hand is worth.

Whatever can start and end workers is a `Scalable`: the local cluster, or one of many machines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from connectome.runtime.events import Event, Heartbeat
from connectome.runtime.pools import Limits

GROW_S = 2.0
"""How long tasks must have waited for a pool before it grows."""
SHRINK_S = 30.0
"""How long nothing must have waited for a pool before it shrinks: workers take seconds to start."""


class Scalable(Protocol):
    """Something that can have more workers, or fewer."""

    def scale(self, pool: str, n: int) -> None:
        """Let a pool have `n` workers; those that go finish the block at hand."""


class Scaler:
    """Listens to a run; doubles a pool for which tasks wait, and halves one for which none do, within limits.

    Parameters
    ----------
    target : Scalable
        Asked in the engine's thread.
    limits : mapping of str to Limits
        Pools that are not named are left alone; each begins at its minimum.
    clock : callable
        Seconds.
    """

    def __init__(
        self, target: Scalable, limits: Mapping[str, Limits], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._target, self._limits, self._clock = target, limits, clock
        self._wanted = {pool: each.minimum for pool, each in limits.items()}
        self._waits = dict.fromkeys(limits, False)
        self._since = dict.fromkeys(limits, clock())

    def __call__(self, event: Event) -> None:
        """Act on what waits."""
        if isinstance(event, Heartbeat):
            for pool in self._limits:
                self._look(pool, event.queued.get(pool, 0), event.in_flight.get(pool, 0))

    def _look(self, pool: str, n_queued: int, n_in_flight: int) -> None:
        # Of what is in flight, all but one batch for each worker waits as well: the window can hold a whole pass.
        n_waiting = n_queued + max(0, n_in_flight - self._wanted[pool])
        now, waits = self._clock(), n_waiting > 0
        if waits != self._waits[pool]:
            self._waits[pool], self._since[pool] = waits, now
        if now - self._since[pool] < (GROW_S if waits else SHRINK_S):
            return
        before, limits = self._wanted[pool], self._limits[pool]
        # Never more than there are tasks that wait: a worker for each is enough.
        # Never fewer than there are batches in flight: a worker that goes may not end its own in time.
        wanted = before + min(before or 1, n_waiting) if waits else max(before // 2, min(before, n_in_flight))
        self._wanted[pool] = min(max(wanted, limits.minimum), limits.maximum)
        self._since[pool] = now
        if self._wanted[pool] != before:
            self._target.scale(pool, self._wanted[pool])
