"""One record per case, input and peer, as one line of JSON: what the harness writes and the dashboard reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

RESULTS = Path(__file__).parent / "results"
LATEST = RESULTS / "latest.jsonl"
HISTORY = RESULTS / "kernels.jsonl"


class Record(BaseModel):
    """How long our kernel and one peer took on one input, in alternation, on one core.

    Times are of whole calls, of short ones the mean of a turn, in seconds of the processor (user + system):
    on a quiet machine the same as the clock's, on a busy one without what others took.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    case: str
    """What is computed, e.g. `fragments`."""
    input: str
    """What it is computed from, e.g. `fib25`."""
    peer: str
    """The other implementation, or `none` where a kernel has no peer on this input."""
    ours_s: float
    """Median of our times."""
    peer_s: float | None
    """Median of the peer's times; null without a peer."""
    ratio: float | None
    """Median of peer time / our time, each pair timed one after the other."""
    ratio_min: float | None
    """Least of these ratios."""
    ratio_max: float | None
    """Greatest of these ratios."""
    ours_min_s: float
    """Our quickest call."""
    ours_max_s: float
    """Our slowest call."""
    peer_min_s: float | None
    """The peer's quickest call."""
    peer_max_s: float | None
    """The peer's slowest call."""
    repeats: int
    """Pairs that were timed."""
    voxels: int
    """Voxels of the input."""
    fragments: int | None = None
    """Fragments (or segments) that the case makes or takes."""
    edges: int | None = None
    """Edges between them."""
    voxels_per_s: float
    """Voxels by our median time."""
    voxels_per_core_hour: float
    """The same in an hour of one core."""
    bytes_moved: int
    """What any algorithm must read and write at least: the inputs and the outputs, once."""
    peak_bytes: int | None
    """Greatest memory of our call beyond its inputs; null where the system does not tell."""
    peer_peak_bytes: int | None
    """The same of the peer."""
    bytes_per_voxel: float | None
    """`peak_bytes` by voxels."""
    bytes_per_edge: float | None
    """`peak_bytes` by edges. The project's limit for both is 24 bytes per voxel + 64 per edge."""
    bandwidth_bytes_per_s: float
    """Copy bandwidth of one core, read and written bytes, measured in this run."""
    slowdown: dict[str, float] | None = None
    """Our time per voxel relative to `fib25` and to an eighth or half of this input, in turn with them: medians."""
    quality: dict[str, Any] | None = None
    """Scores of both results against truth; null where there is no truth."""
    hardware: str
    """Processor model, cores and memory: compare within one only."""
    commit: str
    """Commit that was measured, `-dirty` where files differ from it."""
    date: str
    """When, UTC, ISO 8601."""
    versions: dict[str, str]
    """Versions of numba, numpy and the peer."""
    note: str = ""
    """What a reader must know to compare: what the peer's call includes, what is not measured and why."""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.case, self.input, self.peer


def read_records(path: Path) -> list[Record]:
    """Read a file of records; a line that is none is an error that names it."""
    records = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            records.append(Record.model_validate_json(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is not a benchmark record: {error}") from error
    return records


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records over what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(record.model_dump_json() + "\n" for record in records))


def append_records(path: Path, records: Iterable[Record]) -> None:
    """Append records to a history."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(record.model_dump_json() + "\n" for record in records)


def replaced(old: Sequence[Record], new: Sequence[Record]) -> list[Record]:
    """Return `old` with the records of `new` in the place of those of the same case, input and peer."""
    fresh = {record.key: record for record in new}
    kept = [fresh.pop(record.key, record) for record in old]
    return [*kept, *fresh.values()]
