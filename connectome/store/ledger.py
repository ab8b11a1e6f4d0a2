"""The ledger: what a run did, in append-only parts that the driver alone writes.

Records are JSON lines. The state of a dataset is what replaying all parts in order gives; what a killed
driver had not written yet only means that its blocks are computed again, to the same bytes.

Parts are numbered from 1 without gaps, and a part that is lost or damaged is refused: it may have told that
earlier results were deleted, which must not count as done again. Without any part nothing is done.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from typing import Any

from connectome.errors import InputError
from connectome.store.locations import list_keys, open_keys, read_key, write_key

SNAPSHOTS = "snapshots"
RESETS = "resets"
PART = re.compile(r"(\d{10})-[0-9a-f]{8}\.jsonl")
MARK = re.compile(rf"(?:{SNAPSHOTS}|{RESETS})/(\d{{10}})\.json")
"""What was written after the part of that number, which therefore was there."""
FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "session": {"started_s": (int, float)},
    "held": {"workers": (dict,), "seconds": (int, float)},
    "reset": {"stages": (list,)},
    "failure": {"task": (str,)},
    "quarantine": {"task": (str,), "error": (str,)},
    "lost": {"tasks": (int,)},
}
"""What records hold beside receipts, as far as it is read back."""
TYPES = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
READ_AHEAD = 64
"""Parts that are fetched at once when the ledger is replayed."""


@dataclass(frozen=True)
class Receipt:
    """What a worker returns for the tasks of one pass that it was sent together: figures, never voxels; under 1 kB.

    Attributes
    ----------
    stage : str
        The pass.
    runs : tuple of (start, stop)
        Numbers of the tasks in the pass, ascending.
    tries : int
        How often these tasks were tried, in all.
    voxels : int
        Voxels of the volume that they cover; nodes above the leaves cover none.
    started_s : float
        When the first began, in seconds of the Unix clock.
    wall_s, cpu_s, gpu_s : float
        Seconds of the clock, of the processor and of the accelerator.
    read_bytes, written_bytes : int
        Bytes of arrays and tables.
    read_requests, written_requests : int
        Requests to the store.
    peak_bytes : int
        Greatest resident memory of the process in one task.
    host, pool : str
        Where it ran, and the pool of that worker.
    is_spot : bool
        Whether the machine can be taken away.
    empty : tuple of (start, stop)
        Numbers of those tasks, ascending, that wrote volumes of zeros alone: nothing is there, and that is known.
    """

    stage: str
    runs: tuple[tuple[int, int], ...]
    tries: int
    voxels: int
    started_s: float
    wall_s: float
    cpu_s: float
    read_bytes: int
    written_bytes: int
    peak_bytes: int
    host: str
    gpu_s: float = 0.0
    read_requests: int = 0
    written_requests: int = 0
    pool: str = "cpu"
    is_spot: bool = False
    empty: tuple[tuple[int, int], ...] = ()

    @property
    def n_tasks(self) -> int:
        return sum(stop - start for start, stop in self.runs)

    @property
    def n_empty(self) -> int:
        return sum(stop - start for start, stop in self.empty)

    @property
    def numbers(self) -> Iterator[int]:
        """Numbers of the tasks in the pass."""
        for start, stop in self.runs:
            yield from range(start, stop)


def joined(receipts: Sequence[Receipt]) -> Receipt:
    """Return one receipt for several of one pass and worker; at least one."""
    joint = receipts[0]
    for each in receipts[1:]:
        joint = replace(
            joint,
            runs=joint.runs + each.runs,
            empty=joint.empty + each.empty,
            tries=joint.tries + each.tries,
            voxels=joint.voxels + each.voxels,
            started_s=min(joint.started_s, each.started_s),
            wall_s=round(joint.wall_s + each.wall_s, 6),
            cpu_s=round(joint.cpu_s + each.cpu_s, 6),
            gpu_s=round(joint.gpu_s + each.gpu_s, 6),
            read_bytes=joint.read_bytes + each.read_bytes,
            written_bytes=joint.written_bytes + each.written_bytes,
            read_requests=joint.read_requests + each.read_requests,
            written_requests=joint.written_requests + each.written_requests,
            peak_bytes=max(joint.peak_bytes, each.peak_bytes),
        )
    empty = (number for start, stop in joint.empty for number in range(start, stop))
    return replace(joint, runs=runs_of(joint.numbers), empty=runs_of(empty))


def runs_of(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Return numbers as ascending runs (start, stop)."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number:
            runs[-1] = (runs[-1][0], number + 1)
        else:
            runs.append((number, number + 1))
    return tuple(runs)


class Ledger:
    """Append-only records below ``<dataset>/ledger``."""

    def __init__(self, dataset_url: str) -> None:
        self._url = f"{dataset_url}/ledger"
        self._next = 1 + max(map(_number, self._keys()), default=0)
        self._session = uuid.uuid4().hex[:8]

    def append(self, records: Sequence[dict[str, Any]]) -> None:
        """Write `records` as the next part; nothing is written for none."""
        if records:
            lines = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
            write_key(self._url, f"{self._next:010d}-{self._session}.jsonl", lines.encode())
            self._next += 1

    def reset(self, stages: Sequence[str]) -> None:
        """Take back the receipts of `stages`; the mark beside the part shows when it is lost as the last one."""
        self.append([{"kind": "reset", "stages": stages}])
        write_key(self._url, f"{RESETS}/{self.n_written:010d}.json", b"{}")

    @property
    def n_written(self) -> int:
        """Number of the last part; 0 where there is none."""
        return self._next - 1

    def records(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """Yield all records of the parts with numbers above `after`, oldest first."""
        for key, content in self._contents(after):
            yield from self._parse(key, content)

    def legible_records(self) -> Iterator[dict[str, Any]]:
        """Yield all records but for damaged parts that a snapshot covers: enough for figures, not for what is done."""
        covered, _ = self.read_snapshot()
        for key, content in self._contents():
            try:
                records = self._parse(key, content)
            except InputError:
                if _number(key) > covered:
                    raise
                continue
            yield from records

    def _contents(self, after: int = 0) -> Iterator[tuple[str, bytes]]:
        """Yield names and contents of parts in order, some of them read ahead."""
        store = open_keys(self._url)
        keys = iter([key for key in self._keys() if _number(key) > after])
        while ahead := [(key, store.read(key)) for key in islice(keys, READ_AHEAD)]:
            for key, part in ahead:
                yield key, bytes(part.result().value)

    def _parse(self, key: str, content: bytes) -> list[dict[str, Any]]:
        """Read the records of a part, which holds at least one."""
        try:
            records = [json.loads(line) for line in content.decode().splitlines()]
        except ValueError:
            records = []
        if not records or not all(map(_is_record, records)):
            raise InputError(f"{self._url}/{key} is damaged: {self._remedy}")
        return records

    def write_snapshot(self, state: dict[str, Any]) -> None:
        """Write what all parts up to the last one amount to."""
        write_key(self._url, f"{SNAPSHOTS}/{self.n_written:010d}.json", json.dumps(state).encode())

    def read_snapshot(self) -> tuple[int, dict[str, Any]]:
        """Return the newest snapshot, and the number of the last part that it covers; 0 and nothing without one."""
        names = [key for key in list_keys(self._url) if key.startswith(SNAPSHOTS) and MARK.fullmatch(key)]
        if not names:
            return 0, {}
        newest = max(names)
        try:
            state = json.loads(read_key(self._url, newest) or b"{}")
        except ValueError:
            return 0, {}
        return (int(newest[-15:-5]), state) if state and isinstance(state, dict) else (0, {})

    def _keys(self) -> list[str]:
        """Return the names of the parts in order; refuse a ledger of which one is missing."""
        keys, last = self._list()
        if not _is_whole(keys, last):
            # While a driver writes, a listing may have a part and not the one before it: the next one has both.
            keys = [key for key in self._list()[0] if _number(key) <= last]
        if not _is_whole(keys, last):
            missing = min(set(range(1, last + 1)) - set(map(_number, keys)))
            raise InputError(f"{self._url}/{missing:010d}-*.jsonl is missing: {self._remedy}")
        return keys

    def _list(self) -> tuple[list[str], int]:
        """Return the names of the parts in order, and the number of the last that was ever written for all we know."""
        keys = list_keys(self._url)
        parts = sorted(key for key in keys if PART.fullmatch(key))
        marks = (int(found[1]) for key in keys if (found := MARK.fullmatch(key)))
        return parts, max([*map(_number, parts), *marks], default=0)

    @property
    def _remedy(self) -> str:
        return f"restore it, or delete the folder {self._url} to have everything computed again"


def _is_whole(keys: Sequence[str], last: int) -> bool:
    """Say whether all numbers are there; a driver that lost a race may leave two parts of one number."""
    return len(set(map(_number, keys))) == last


def _number(key: str) -> int:
    return int(key[:10])


def receipt_record(receipt: Receipt) -> dict[str, Any]:
    """Return a receipt as a ledger record."""
    return {"kind": "receipt", **asdict(receipt)}


def receipt_of(record: dict[str, Any]) -> Receipt:
    """Read a receipt back from its record."""
    values = {name: value for name, value in record.items() if name != "kind"}
    runs = {name: tuple((start, stop) for start, stop in values.get(name, ())) for name in ("runs", "empty")}
    return Receipt(**{**values, **runs})


def _is_record(record: Any) -> bool:
    """Say whether a value is a record, and holds what is read back of its kind; unknown kinds are not read."""
    if not isinstance(record, dict) or not isinstance(kind := record.get("kind"), str):
        return False
    if kind == "receipt":
        return _is_receipt(record)
    if not all(isinstance(record.get(name), types) for name, types in FIELDS.get(kind, {}).items()):
        return False
    if kind == "held":
        return all(isinstance(n, int) for n in record["workers"].values())
    return kind != "reset" or all(isinstance(name, str) for name in record["stages"])


def _is_receipt(record: dict[str, Any]) -> bool:
    try:
        receipt = receipt_of(record)
    except (KeyError, TypeError, ValueError):
        return False
    plain = ((each.name, TYPES.get(str(each.type))) for each in fields(Receipt))
    return all(types is None or isinstance(getattr(receipt, name), types) for name, types in plain) and all(
        isinstance(start, int) and isinstance(stop, int) and 0 <= start < stop
        for start, stop in receipt.runs + receipt.empty
    )
