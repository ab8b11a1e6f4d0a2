"""The ledger: what a run did, in append-only parts that the driver alone writes.

Records are JSON lines. The state of a dataset is what replaying all parts in order gives; a part that
was lost with a killed driver only means that its blocks are computed again, to the same bytes.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from connectome.geometry import Triple
from connectome.store.locations import open_keys, write_key


@dataclass(frozen=True)
class Receipt:
    """What a worker returns for one task: figures, never voxels; under 1 kB."""

    stage: str
    level: int
    index: Triple
    voxels: int
    wall_s: float
    cpu_s: float
    read_bytes: int
    written_bytes: int
    peak_bytes: int
    host: str
    attempt: int = 1


class Ledger:
    """Append-only records below ``<dataset>/ledger``."""

    def __init__(self, dataset_url: str) -> None:
        self._url = f"{dataset_url}/ledger"
        keys = self._keys()
        self._next = 1 + max((int(key.split("-")[0]) for key in keys), default=0)
        self._session = uuid.uuid4().hex[:8]

    def append(self, records: Sequence[dict[str, Any]]) -> None:
        """Write `records` as the next part; nothing is written for none."""
        if records:
            lines = "".join(json.dumps(record) + "\n" for record in records)
            write_key(self._url, f"{self._next:010d}-{self._session}.jsonl", lines.encode())
            self._next += 1

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield all records of all parts, oldest first."""
        store = open_keys(self._url)
        for key in sorted(self._keys()):
            for line in bytes(store.read(key).result().value).decode().splitlines():
                yield json.loads(line)

    def _keys(self) -> list[str]:
        keys = (key.decode() for key in open_keys(self._url).list().result())
        return [key for key in keys if key.endswith(".jsonl")]


def receipt_record(receipt: Receipt) -> dict[str, Any]:
    """Return a receipt as a ledger record."""
    return {"kind": "receipt", **asdict(receipt)}


def receipt_of(record: dict[str, Any]) -> Receipt:
    """Read a receipt back from its record."""
    values = {name: value for name, value in record.items() if name != "kind"}
    return Receipt(**{**values, "index": tuple(values["index"])})
