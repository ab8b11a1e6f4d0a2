"""The bill: what a run took, by stage and in all, from receipts and allocated time.

Cost counts allocated time (workers times wall clock, idle included), so that utilisation shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from connectome.errors import InputError
from connectome.store.ledger import Receipt

TERAVOXEL = 1e12
PRICES = Path(__file__).with_name("prices.yaml")


class Prices(BaseModel):
    """A price table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str = ""
    usd_per_core_hour: float

    @classmethod
    def load(cls, path: Path | None = None) -> Prices:
        """Read a price table; the default one where no path is given."""
        try:
            return cls.model_validate(yaml.safe_load((path or PRICES).read_text()))
        except FileNotFoundError as error:
            raise InputError(f"there is no price table {path}: give a YAML file") from error
        except (ValidationError, yaml.YAMLError) as error:
            wanted = ", ".join(cls.model_fields)
            raise InputError(f"price table {path} does not hold {wanted}: {' '.join(str(error).split())}") from error


@dataclass
class StageAccount:
    """What one stage took, over all runs on the dataset."""

    tasks: int = 0
    voxels: int = 0
    busy_s: float = 0.0
    cpu_s: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0
    peak_bytes: int = 0
    tries: int = 0

    def add(self, receipt: Receipt) -> None:
        """Count one receipt."""
        self.tasks += receipt.n_tasks
        self.voxels += receipt.voxels
        self.busy_s += receipt.wall_s
        self.cpu_s += receipt.cpu_s
        self.read_bytes += receipt.read_bytes
        self.written_bytes += receipt.written_bytes
        self.peak_bytes = max(self.peak_bytes, receipt.peak_bytes)
        self.tries += receipt.tries


@dataclass
class Accounts:
    """All stages, and the time for which workers were held."""

    stages: dict[str, StageAccount] = field(default_factory=dict)
    held_s: dict[str, float] = field(default_factory=dict)
    forgotten_s: float = 0.0

    def add(self, receipt: Receipt) -> None:
        """Count one receipt under its stage."""
        self.stages.setdefault(stage_of(receipt.stage), StageAccount()).add(receipt)

    def hold(self, workers: Mapping[str, int], seconds: float) -> None:
        """Count the time for which workers of each pool were held."""
        for pool, n in workers.items():
            self.held_s[pool] = self.held_s.get(pool, 0.0) + n * seconds

    @property
    def allocated_core_s(self) -> float:
        """Seconds of all workers, idle or not, less those of results that were deleted."""
        return max(0.0, sum(self.held_s.values()) - self.forgotten_s)

    def forget(self, stage: str) -> None:
        """Forget a stage whose results were deleted, and the time that it took: the bill is of what is there."""
        forgotten = self.stages.pop(stage_of(stage), None)
        if forgotten is not None:
            self.forgotten_s += forgotten.busy_s

    def bill(self, n_voxels: int, prices: Prices) -> dict[str, Any]:
        """Return figures for a volume of `n_voxels`: core-hours, voxels per core-hour, dollars."""
        hours = self.allocated_core_s / 3600
        busy = sum(account.busy_s for account in self.stages.values())
        return {
            **rates(hours, n_voxels, prices),
            "utilisation": round(busy / self.allocated_core_s, 4) if self.allocated_core_s else 0.0,
            "stages": {
                name: {
                    "tasks": account.tasks,
                    "tries": account.tries,
                    "busy_seconds": round(account.busy_s, 3),
                    "cpu_seconds": round(account.cpu_s, 3),
                    "read_bytes": account.read_bytes,
                    "written_bytes": account.written_bytes,
                    "peak_bytes": account.peak_bytes,
                    **rates(account.busy_s / 3600, n_voxels, prices),
                }
                for name, account in self.stages.items()
            },
        }


def rates(core_hours: float, n_voxels: int, prices: Prices) -> dict[str, float]:
    """Return core-hours, voxels per core-hour, and core-hours and dollars per teravoxel."""
    per_teravoxel = core_hours / n_voxels * TERAVOXEL
    return {
        "core_hours": round(core_hours, 6),
        "voxels_per_core_hour": round(n_voxels / core_hours) if core_hours else 0,
        "core_hours_per_teravoxel": round(per_teravoxel, 1),
        "usd_per_teravoxel": round(per_teravoxel * prices.usd_per_core_hour, 2),
    }


def stage_of(pass_name: str) -> str:
    """Return the stage that a pass belongs to."""
    return pass_name.partition(".")[0]
