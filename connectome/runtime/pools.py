"""Pools: workers by what they offer, and how many of each a run may hold."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

CPU = "cpu"


@dataclass(frozen=True)
class Limits:
    """Workers that a pool has at least and at most."""

    minimum: int
    maximum: int

    def __str__(self) -> str:
        return f"{self.minimum}" if self.minimum == self.maximum else f"{self.minimum}-{self.maximum}"


Workers = int | Limits | Mapping[str, int | Limits] | None
"""Worker processes of one pool or of each: a number, or limits within which there are as many as the queue is worth."""


def pools_of(workers: Workers) -> Mapping[str, Limits]:
    """Return worker processes by pool; those without a pool are for the processor, one per core where none is given."""
    given = workers if isinstance(workers, Mapping) else {CPU: (os.cpu_count() or 1) if workers is None else workers}
    return {pool: each if isinstance(each, Limits) else Limits(each, each) for pool, each in given.items()}
