"""How many requests and bytes this process has sent to stores and got from them, as TensorStore counts them.

Tables, volumes, ledger and records all go through TensorStore, so that nothing is missed; ``memory://`` is
not counted. The counters are TensorStore's own: reading them costs some 0.1 ms, keeping them nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import tensorstore as ts

COUNTER = re.compile(r"tensorstore_kvstore_(?:file|gcs|s3|http)_(read|write|list|bytes_read|bytes_written) (\d+)")
READING = ("read",)
WRITING = ("write", "list")
"""Listings are charged as writes by Google and Amazon; a deletion is counted as a write."""


@dataclass(frozen=True)
class Traffic:
    """Requests and bytes since the process began; the difference of two is what happened between them.

    A request that had to be tried again counts once.
    """

    requests_read: int = 0
    requests_written: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    def __sub__(self, earlier: Traffic) -> Traffic:
        return Traffic(
            self.requests_read - earlier.requests_read,
            self.requests_written - earlier.requests_written,
            self.bytes_read - earlier.bytes_read,
            self.bytes_written - earlier.bytes_written,
        )


def snapshot() -> Traffic:
    """Return the counts of this process so far."""
    # As text: TensorStore never gives back the lists in which it returns these counters otherwise.
    lines = ts.experimental_collect_prometheus_format_metrics("/tensorstore/kvstore/")
    totals: dict[str, int] = {}
    for found in map(COUNTER.fullmatch, lines):
        if found is not None:
            totals[found[1]] = totals.get(found[1], 0) + int(found[2])
    return Traffic(
        requests_read=sum(totals.get(name, 0) for name in READING),
        requests_written=sum(totals.get(name, 0) for name in WRITING),
        bytes_read=totals.get("bytes_read", 0),
        bytes_written=totals.get("bytes_written", 0),
    )
