"""Records of benchmarks as the dashboard reads them: lenient in what may be missing, strict in what is wrong."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from connectome.errors import InputError
from connectome.web.dashboard.cases import case_order

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
"""Of peers: a difference of two calls may come out below 0 where noise is larger."""
Count = Annotated[int, Field(ge=0)]
FIGURES = ("voxels_per_core_hour", "core_hours_per_teravoxel", "usd_per_teravoxel")


def _in_utc(value: object) -> object:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=moment.tzinfo or UTC) if isinstance(moment, datetime) else moment


class Record(BaseModel):
    """What every record says."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    case: str
    input: str
    hardware: str
    commit: str
    date: Annotated[datetime, BeforeValidator(_in_utc)]


class KernelRecord(Record):
    """One kernel beside one peer on one input; `benchmarks/records.py` says what the fields mean."""

    peer: str | None = None
    ours_s: Positive | None = None
    peer_s: Finite | None = None
    ratio: Finite | None = None
    ratio_min: Finite | None = None
    ratio_max: Finite | None = None
    ours_min_s: Positive | None = None
    ours_max_s: Positive | None = None
    peer_min_s: Finite | None = None
    peer_max_s: Finite | None = None
    repeats: Count | None = None
    voxels: Annotated[int, Field(gt=0)] | None = None
    fragments: Count | None = None
    edges: Count | None = None
    voxels_per_s: Positive | None = None
    voxels_per_core_hour: Positive | None = None
    bytes_moved: Annotated[float, Field(gt=0)] | None = None
    peak_bytes: Count | None = None
    peer_peak_bytes: Count | None = None
    bytes_per_voxel: float | None = None
    bytes_per_edge: float | None = None
    bandwidth_bytes_per_s: Positive | None = None
    slowdown: dict[str, float] | None = None
    quality: dict[str, Any] | None = None
    versions: dict[str, str | None] | None = None
    note: str | None = None

    @property
    def key(self) -> tuple[str, str, str | None]:
        return self.case, self.input, self.peer

    @property
    def has_peer(self) -> bool:
        return self.peer not in (None, "", "none")

    @property
    def speed(self) -> float | None:
        """Voxels per second of our median time."""
        return None if self.voxels is None or self.ours_s is None else self.voxels / self.ours_s

    @property
    def bytes_per_voxel_moved(self) -> float | None:
        """Least traffic per voxel. `bytes_per_voxel` is another thing: memory at the peak."""
        return None if self.voxels is None or self.bytes_moved is None else self.bytes_moved / self.voxels

    @property
    def limit_share(self) -> float | None:
        """Share of the measured bandwidth that the least traffic of this case takes up: 1 is the physical limit."""
        moved, speed, bandwidth = self.bytes_per_voxel_moved, self.speed, self.bandwidth_bytes_per_s
        return None if moved is None or speed is None or bandwidth is None else moved * speed / bandwidth


class Spread(BaseModel):
    """A figure over the repeats of one measurement."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    median: Positive
    min: Positive
    max: Positive


class PoolPrice(BaseModel):
    """What an hour of a worker was taken to cost."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    usd_per_hour: float


class PriceTable(BaseModel):
    """What workers were taken to cost, by pool; older records have one price of a core-hour."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    source: str | None = None
    usd_per_core_hour: float | None = None
    pools: dict[str, PoolPrice] = Field(default_factory=dict)

    def __str__(self) -> str:
        if self.usd_per_core_hour is not None:
            return f"${self.usd_per_core_hour:g} per core-hour"
        pools = (f"{name} ${pool.usd_per_hour:g} per worker-hour" for name, pool in self.pools.items())
        return ", ".join(pools) or "no price"


Figures = dict[str, Spread]


def _figures(value: object) -> object:
    """Keep what the dashboard shows; a stage that did not run has zeros, and is left out."""
    if not isinstance(value, dict):
        return value
    kept = {name: value[name] for name in FIGURES if name in value}
    return {} if any(isinstance(each, dict) and each.get("median") == 0 for each in kept.values()) else kept


class PipelineRecord(Record):
    """Voxels per core-hour of a whole workflow, by stage and overall."""

    workers: Count | None = None
    repeats: Count | None = None
    prices: PriceTable | None = None
    overall: Annotated[Figures, BeforeValidator(_figures)] = Field(default_factory=dict)
    stages: dict[str, Annotated[Figures, BeforeValidator(_figures)]] = Field(default_factory=dict)
    agreement: dict[str, float] | None = None


@dataclass(frozen=True)
class Machine:
    """All records of one hardware, the oldest first."""

    hardware: str
    kernels: tuple[KernelRecord, ...]
    pipelines: tuple[PipelineRecord, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        return (*self.kernels, *self.pipelines)

    @property
    def newest(self) -> Record:
        return max(self.records, key=lambda record: record.date)

    @property
    def current(self) -> tuple[KernelRecord, ...]:
        """The newest record of each case, input and peer, in the order of the cases."""
        return tuple(
            sorted(newest_of_each(self.kernels, lambda record: record.key), key=lambda record: case_order(record.case))
        )

    @property
    def ours(self) -> tuple[KernelRecord, ...]:
        """One current record per case and input: our times beside different peers differ by noise alone."""
        return newest_of_each(self.current, lambda record: (record.case, record.input))

    @property
    def current_pipelines(self) -> tuple[PipelineRecord, ...]:
        return newest_of_each(self.pipelines, lambda record: (record.case, record.input))

    @property
    def bandwidth(self) -> float | None:
        """Median of the bandwidths of the current records, bytes per second."""
        measured = [record.bandwidth_bytes_per_s for record in self.current if record.bandwidth_bytes_per_s]
        return statistics.median(measured) if measured else None


AnyRecord = TypeVar("AnyRecord", bound=Record)


def newest_of_each(records: Iterable[AnyRecord], key: Callable[[AnyRecord], Hashable]) -> tuple[AnyRecord, ...]:
    """Return the newest record of each key, in the order in which the keys first occur."""
    newest: dict[Hashable, AnyRecord] = {}
    for record in records:
        if key(record) not in newest or newest[key(record)].date <= record.date:
            newest[key(record)] = record
    return tuple(newest.values())


def load_records(folder: Path) -> list[Record]:
    """Read every ``*.jsonl`` of a folder; a record that two files hold counts once.

    Raises
    ------
    InputError
        Where there is no such folder, or naming file and line of what is not a record.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder of benchmark records {folder}: make bench writes benchmarks/results")
    records: dict[str, Record] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for n_line, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip():
                record = _parse(line, f"{path}, line {n_line}")
                records.setdefault(record.model_dump_json(), record)
    return sorted(records.values(), key=lambda record: record.date)


def _parse(line: str, where: str) -> Record:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where} is not JSON ({error}): repair or delete that line") from error
    is_pipeline = isinstance(content, dict) and bool({"overall", "stages"} & set(content))
    try:
        return (PipelineRecord if is_pipeline else KernelRecord).model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "it"
        given = "" if first["type"] == "missing" else f", got {first['input']!r}"
        raise InputError(
            f"{where} is not a benchmark record: {field}: {first['msg']}{given}; repair or delete that line"
        ) from error


def machines(records: Iterable[Record]) -> list[Machine]:
    """Sort records by hardware, the one measured last first.

    Records that state less of their hardware (`EPYC, 2 cores`, but no memory) go with the only one that says more.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.hardware, []).append(record)
    for name in list(groups):
        fuller = [other for other in groups if other.startswith(f"{name}, ")]
        if len(fuller) == 1:
            groups[fuller[0]] += groups.pop(name)
    found = []
    for name, group in groups.items():
        group.sort(key=lambda record: record.date)
        kernels = tuple(record for record in group if isinstance(record, KernelRecord))
        pipelines = tuple(record for record in group if isinstance(record, PipelineRecord))
        found.append(Machine(name, kernels, pipelines))
    return sorted(found, key=lambda machine: machine.newest.date, reverse=True)


def by_commit(records: Iterable[AnyRecord]) -> list[tuple[str, list[AnyRecord]]]:
    """Return records by commit, in the order in which the commits were first measured."""
    groups: dict[str, list[AnyRecord]] = {}
    for record in records:
        groups.setdefault(record.commit, []).append(record)
    return list(groups.items())


def by_case(records: Iterable[AnyRecord]) -> list[tuple[str, list[AnyRecord]]]:
    """Return records by case, in the order given."""
    return [(case, list(group)) for case, group in itertools.groupby(records, key=lambda record: record.case)]
