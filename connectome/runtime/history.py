"""What happened in all runs on a dataset, pass by pass and over time, from its ledger alone.

The ledger is read as a stream, and what is kept of it does not grow with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.runtime.accounting import stage_of
from connectome.store.ledger import Receipt, receipt_of
from connectome.workflow.plan import Task

RECENT_S = 60.0
"""The time over which the rate of a pass is taken."""
MOST_BINS = 512
"""Bins of a timeline; their width doubles when they are full."""
FIRST_BIN_S = 0.25


@dataclass
class PassHistory:
    """What one pass took and went through, without what was deleted since."""

    n_tasks: int = 0
    voxels: int = 0
    tries: int = 0
    failed: int = 0
    lost: int = 0
    peak_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    read_requests: int = 0
    written_requests: int = 0
    busy_by_pool_s: dict[str, float] = field(default_factory=dict)
    _recent: deque[tuple[float, int, int]] = field(default_factory=deque)
    _last_s: float = 0.0

    @property
    def busy_s(self) -> float:
        return sum(self.busy_by_pool_s.values())

    def add(self, receipt: Receipt) -> None:
        """Count one receipt."""
        self.n_tasks += receipt.n_tasks
        self.voxels += receipt.voxels
        self.tries += receipt.tries
        self.peak_bytes = max(self.peak_bytes, receipt.peak_bytes)
        self.read_bytes += receipt.read_bytes
        self.written_bytes += receipt.written_bytes
        self.read_requests += receipt.read_requests
        self.written_requests += receipt.written_requests
        self.busy_by_pool_s[receipt.pool] = self.busy_by_pool_s.get(receipt.pool, 0.0) + receipt.wall_s
        end = receipt.started_s + receipt.wall_s
        self._last_s = max(self._last_s, end)
        self._recent.append((end, receipt.n_tasks, receipt.voxels))
        while self._recent and self._recent[0][0] < self._last_s - RECENT_S:
            self._recent.popleft()

    def rate(self, now_s: float) -> tuple[float, float]:
        """Return tasks and voxels per second over the last minute before `now_s`."""
        recent = [(n, voxels) for end, n, voxels in self._recent if now_s - RECENT_S <= end]
        return sum(n for n, _ in recent) / RECENT_S, sum(voxels for _, voxels in recent) / RECENT_S


class Timeline:
    """How many workers were busy with each stage, and held, over the time of all runs one after another.

    Pauses between runs are left out, so that a run that went on a week later is seen beside the first.
    """

    def __init__(self) -> None:
        self.bin_s = FIRST_BIN_S
        self.stages: dict[str, npt.NDArray[np.float64]] = {}
        self.held = np.zeros(MOST_BINS)
        self.sessions: list[float] = []
        self.length_s = 0.0
        self._clock_s: float | None = None

    def begin(self, started_s: float) -> None:
        """Begin a run; its receipts follow."""
        self.sessions.append(self.length_s)
        self._clock_s = started_s

    def add(self, receipt: Receipt) -> None:
        """Count a receipt of the run that began last."""
        if not self.sessions:
            self.begin(receipt.started_s)
        assert self._clock_s is not None
        end = self.sessions[-1] + receipt.started_s + receipt.wall_s - self._clock_s
        # Another host's clock, or a replay long after the run: put where the run is.
        end = min(max(end, receipt.wall_s), self.length_s + max(2 * RECENT_S, receipt.wall_s))
        name = stage_of(receipt.stage)
        self._cover(end)
        self._spread(self.stages.setdefault(name, np.zeros(MOST_BINS)), end - receipt.wall_s, end, receipt.wall_s)

    def hold(self, workers: Mapping[str, int], seconds: float) -> None:
        """Count the time for which workers were held, which lets the time of the run go on."""
        start, self.length_s = self.length_s, self.length_s + seconds
        self._cover(self.length_s)
        self._spread(self.held, start, self.length_s, seconds * sum(workers.values()))

    def _cover(self, until_s: float) -> None:
        while until_s > MOST_BINS * self.bin_s:
            self.bin_s *= 2
            for bins in (self.held, *self.stages.values()):
                bins[: MOST_BINS // 2] = bins[0::2] + bins[1::2]
                bins[MOST_BINS // 2 :] = 0

    def _spread(self, bins: npt.NDArray[np.float64], start_s: float, end_s: float, seconds: float) -> None:
        """Add `seconds` to the bins from `start_s` to `end_s`, in proportion."""
        first, last = max(0.0, start_s) / self.bin_s, min(end_s / self.bin_s, float(MOST_BINS))
        if last <= first:
            return
        low, high = int(first), min(int(last), MOST_BINS - 1)
        edges = np.clip(np.arange(low, high + 2, dtype=np.float64), first, last)
        bins[low : high + 1] += np.diff(edges) / (last - first) * seconds


@dataclass
class History:
    """What the ledger tells."""

    passes: dict[str, PassHistory] = field(default_factory=dict)
    timeline: Timeline = field(default_factory=Timeline)
    quarantined: dict[str, str] = field(default_factory=dict)
    """The last error of each task that was quarantined, also of those that are done since."""
    workers: dict[str, int] = field(default_factory=dict)
    """Workers per pool when the driver wrote last."""
    last_s: float = 0.0
    """When the last task ended that is known of."""

    def of(self, name: str) -> PassHistory:
        """Return the history of a pass, empty where nothing happened."""
        return self.passes.setdefault(name, PassHistory())


def read_history(records: Iterable[dict[str, Any]]) -> History:
    """Read a ledger's records."""
    history = History()
    for record in records:
        kind = record["kind"]
        if kind == "receipt":
            receipt = receipt_of(record)
            history.of(receipt.stage).add(receipt)
            history.timeline.add(receipt)
            history.last_s = max(history.last_s, receipt.started_s + receipt.wall_s)
        elif kind == "held":
            history.workers = dict(record["workers"])
            history.timeline.hold(record["workers"], record["seconds"])
        elif kind == "session":
            history.timeline.begin(record["started_s"])
        elif kind == "reset":
            for name in record["stages"]:
                history.passes.pop(name, None)
                history.timeline.stages.pop(stage_of(name), None)
        else:
            _read_trouble(history, kind, record)
    return history


def _read_trouble(history: History, kind: str, record: dict[str, Any]) -> None:
    if kind == "lost" and "stage" in record:
        history.of(record["stage"]).lost += record["tasks"]
    elif kind == "failure":
        history.of(Task.parse(record["task"]).stage).failed += 1
    elif kind == "quarantine":
        history.quarantined[record["task"]] = record["error"]
