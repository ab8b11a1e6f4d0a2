"""The bill: what a run took, by stage and in all, from receipts and allocated time.

Cost counts allocated time (workers times wall clock, idle included), so that utilisation shows. A stage
bears the share of its pool's allocated time that it has of the pool's busy seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from connectome.runtime.prices import Prices
from connectome.store.ledger import Receipt

TERAVOXEL = 1e12


@dataclass
class StageAccount:
    """What one stage took, over all runs on the dataset; seconds in which it was busy are kept by pool."""

    tasks: int = 0
    empty: int = 0
    voxels: int = 0
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0
    read_requests: int = 0
    written_requests: int = 0
    peak_bytes: int = 0
    tries: int = 0
    busy_by_pool_s: dict[str, float] = field(default_factory=dict)

    @property
    def busy_s(self) -> float:
        return sum(self.busy_by_pool_s.values())

    def add(self, receipt: Receipt) -> None:
        """Count one receipt."""
        self.tasks += receipt.n_tasks
        self.empty += receipt.n_empty
        self.voxels += receipt.voxels
        self.cpu_s += receipt.cpu_s
        self.gpu_s += receipt.gpu_s
        self.read_bytes += receipt.read_bytes
        self.written_bytes += receipt.written_bytes
        self.read_requests += receipt.read_requests
        self.written_requests += receipt.written_requests
        self.peak_bytes = max(self.peak_bytes, receipt.peak_bytes)
        self.tries += receipt.tries
        self.busy_by_pool_s[receipt.pool] = self.busy_by_pool_s.get(receipt.pool, 0.0) + receipt.wall_s


@dataclass
class Accounts:
    """All stages, and the time for which workers were held."""

    stages: dict[str, StageAccount] = field(default_factory=dict)
    held_s: dict[str, float] = field(default_factory=dict)
    forgotten_s: dict[str, float] = field(default_factory=dict)
    spot_s: dict[str, float] = field(default_factory=dict)
    """Of all that ever was busy in a pool, what was on spot machines."""
    ever_busy_s: dict[str, float] = field(default_factory=dict)

    def add(self, receipt: Receipt) -> None:
        """Count one receipt under its stage."""
        self.stages.setdefault(stage_of(receipt.stage), StageAccount()).add(receipt)
        pool = receipt.pool
        self.ever_busy_s[pool] = self.ever_busy_s.get(pool, 0.0) + receipt.wall_s
        if receipt.is_spot:
            self.spot_s[pool] = self.spot_s.get(pool, 0.0) + receipt.wall_s

    def hold(self, workers: Mapping[str, int], seconds: float) -> None:
        """Count the time for which workers of each pool were held."""
        for pool, n in workers.items():
            self.held_s[pool] = self.held_s.get(pool, 0.0) + n * seconds

    def forget(self, stage: str) -> None:
        """Forget a stage whose results were deleted, and the time that it took: the bill is of what is there."""
        forgotten = self.stages.pop(stage_of(stage), None)
        if forgotten is not None:
            for pool, seconds in forgotten.busy_by_pool_s.items():
                self.forgotten_s[pool] = self.forgotten_s.get(pool, 0.0) + seconds

    @property
    def allocated_s(self) -> dict[str, float]:
        """Seconds of all workers of each pool, idle or not, less those of results that were deleted."""
        return {pool: max(0.0, held - self.forgotten_s.get(pool, 0.0)) for pool, held in self.held_s.items()}

    def busy_s(self, pool: str) -> float:
        """Seconds in which workers of a pool were busy with what is there."""
        return sum(account.busy_by_pool_s.get(pool, 0.0) for account in self.stages.values())

    def spot_share(self, pool: str) -> float:
        """Share of a pool's busy time that was on spot machines."""
        busy = self.ever_busy_s.get(pool, 0.0)
        return self.spot_s.get(pool, 0.0) / busy if busy else 0.0

    def stage_held_s(self, name: str) -> dict[str, float]:
        """Return a stage's share of each pool's allocated time: that which it has of the busy seconds."""
        shares = {}
        for pool, allocated in self.allocated_s.items():
            busy = self.busy_s(pool)
            part = self.stages[name].busy_by_pool_s.get(pool, 0.0)
            shares[pool] = allocated * part / busy if busy else 0.0
        return shares

    def usd(self, prices: Prices) -> float:
        """Return what was spent on workers and store so far."""
        return self._workers_usd(self.allocated_s, prices) + self._store_usd(prices)

    def bill(self, n_voxels: int, prices: Prices) -> dict[str, Any]:
        """Return figures for a volume of `n_voxels`: hours, voxels per core-hour, dollars; by stage and in all.

        Raises
        ------
        InputError
            Where workers of a pool were held that has no price.
        """
        allocated = self.allocated_s
        held, busy = sum(allocated.values()), sum(account.busy_s for account in self.stages.values())
        store = self._store_usd(prices)
        return {
            **self._rates(allocated, n_voxels, prices, store),
            "utilisation": round(busy / held, 4) if held else 0.0,
            "pools": {pool: self._pool(pool, seconds, prices) for pool, seconds in allocated.items()},
            "stages": {name: self._stage(name, n_voxels, prices) for name in self.stages},
            "store": {
                "read_bytes": self._total("read_bytes"),
                "written_bytes": self._total("written_bytes"),
                "read_requests": self._total("read_requests"),
                "written_requests": self._total("written_requests"),
                "usd": round(store, 6),
                "usd_per_teravoxel": round(store / n_voxels * TERAVOXEL, 2),
            },
        }

    def _stage(self, name: str, n_voxels: int, prices: Prices) -> dict[str, Any]:
        account = self.stages[name]
        return {
            "tasks": account.tasks,
            "empty": account.empty,
            "tries": account.tries,
            "busy_seconds": round(account.busy_s, 3),
            "cpu_seconds": round(account.cpu_s, 3),
            "gpu_seconds": round(account.gpu_s, 3),
            "read_bytes": account.read_bytes,
            "written_bytes": account.written_bytes,
            "read_requests": account.read_requests,
            "written_requests": account.written_requests,
            "peak_bytes": account.peak_bytes,
            **self._rates(self.stage_held_s(name), n_voxels, prices),
        }

    def _pool(self, pool: str, seconds: float, prices: Prices) -> dict[str, Any]:
        return {
            "held_hours": round(seconds / 3600, 6),
            "busy_hours": round(self.busy_s(pool) / 3600, 6),
            "spot_share": round(self.spot_share(pool), 4),
            "usd": round(self._workers_usd({pool: seconds}, prices), 6),
        }

    def _rates(self, held_s: Mapping[str, float], n_voxels: int, prices: Prices, store: float = 0.0) -> dict[str, Any]:
        core_hours = sum(seconds / 3600 * prices.pool(pool).cores for pool, seconds in held_s.items())
        gpu_hours = sum(seconds / 3600 * prices.gpus(pool) for pool, seconds in held_s.items())
        return rates(core_hours, gpu_hours, self._workers_usd(held_s, prices) + store, n_voxels)

    def _workers_usd(self, held_s: Mapping[str, float], prices: Prices) -> float:
        return sum(s / 3600 * prices.pool(pool).usd(self.spot_share(pool)) for pool, s in held_s.items())

    def _store_usd(self, prices: Prices) -> float:
        names = ("read_bytes", "written_bytes", "read_requests", "written_requests")
        return prices.store.usd(*(self._total(name) for name in names))

    def _total(self, name: str) -> int:
        return sum(getattr(account, name) for account in self.stages.values())


def rates(core_hours: float, gpu_hours: float, usd: float, n_voxels: int) -> dict[str, Any]:
    """Return hours and dollars, voxels per core-hour, and all of it per teravoxel."""
    scale = TERAVOXEL / n_voxels
    return {
        "core_hours": round(core_hours, 6),
        "gpu_hours": round(gpu_hours, 6),
        "usd": round(usd, 6),
        "voxels_per_core_hour": round(n_voxels / core_hours) if core_hours else 0,
        "core_hours_per_teravoxel": round(core_hours * scale, 1),
        "gpu_hours_per_teravoxel": round(gpu_hours * scale, 1),
        "usd_per_teravoxel": round(usd * scale, 2),
    }


def stage_of(pass_name: str) -> str:
    """Return the stage that a pass belongs to."""
    return pass_name.partition(".")[0]
