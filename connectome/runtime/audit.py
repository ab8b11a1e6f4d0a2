"""The audit: is a dataset what its run should have left? Ledger, keys, bytes, faces and names, block by block.

It only reads, one block at a time, and trusts nothing that it can look at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from connectome.errors import InputError
from connectome.runtime import audit_voxels, snapshots
from connectome.runtime.queues import Bitmap, Progress
from connectome.stages.fused import members_of
from connectome.stages.stage import TableArtifact, TreeStage, VolumeArtifact
from connectome.store.dataset import Dataset
from connectome.store.ledger import Ledger, receipt_of
from connectome.store.listing import compare_keys, keys_of_grid, unfinished_files
from connectome.store.locations import STORE_ERRORS
from connectome.store.volume import Volume, is_volume
from connectome.workflow.plan import Pass, Plan, Task

EXAMPLES = 3
"""Findings of one kind that are told; the others are counted."""


@dataclass
class Audit:
    """What an audit found.

    Attributes
    ----------
    n_tasks, n_blocks, n_parts, n_recomputed : int
        Tasks of the plan, blocks whose voxels were read, parts of tables that were read, and blocks of the
        segmentation that were computed again.
    n_repeated : int
        Tasks with more than one receipt: computed again after a fault or by ``replay``, to the same bytes. No finding.
    remarks : list of str
        What could not be looked at, or is not needed. No findings.
    """

    n_tasks: int = 0
    n_repeated: int = 0
    n_blocks: int = 0
    n_parts: int = 0
    n_recomputed: int = 0
    remarks: list[str] = field(default_factory=list)
    _told: list[str] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)

    def find(self, kind: str, sentence: str) -> None:
        """Note a finding; `kind` is the plural of what it is."""
        self._counts[kind] += 1
        if self._counts[kind] <= EXAMPLES:
            self._told.append(sentence)

    @property
    def sentences(self) -> list[str]:
        """All that is not as it should be."""
        more = [f"{n - EXAMPLES:,} more {kind}" for kind, n in self._counts.items() if n > EXAMPLES]
        return [*self._told, *more]


def audit(dataset_url: str, *, every: bool = False) -> Audit:
    """Look at everything that a finished run leaves.

    Parameters
    ----------
    dataset_url : str
    every : bool
        Compute every block of the segmentation again, not a sample of them.

    Raises
    ------
    InputError
        Where there is no dataset.
    """
    dataset = Dataset.at(dataset_url)
    record = dataset.read_record()
    if record is None:
        raise InputError(f"there is no dataset at {dataset_url}: give the folder that a run wrote")
    plan, found = Plan.from_record(record["plan"]), Audit()
    done = _check_ledger(plan, dataset, found)
    for name, (each, artifact) in plan.writers.items():
        if not done[each.name].is_full:
            found.remarks.append(f"{name} was not looked at: {each.name} has tasks without a receipt")
        elif isinstance(artifact, TableArtifact):
            _check_table(dataset, each, artifact, found)
        elif name not in plan.temporary or is_volume(dataset.volume_url(name), even_unfinished=True):
            _check_volume(dataset, name, artifact, found)
    for path in unfinished_files(dataset.url):
        found.find("files of writes that were cut short", f"{path} is left over from a write that was cut short")
    audit_voxels.check(plan, dataset, found, {name: bits.__contains__ for name, bits in done.items()}, every=every)
    return found


def _check_ledger(plan: Plan, dataset: Dataset, found: Audit) -> dict[str, Bitmap]:
    """Every task has a receipt; those that have several are counted."""
    found.n_tasks = sum(map(len, plan.passes.values()))
    try:
        done, again = _count_receipts(plan, dataset.ledger, found)
    except InputError as error:
        found.find("damaged parts of the ledger", f"the ledger cannot be read: {error}")
        return Progress(plan).done
    n_codes = len(_codes(dataset.ledger))
    if n_codes > 1:
        found.remarks.append(
            f"{n_codes} versions of the package's code made these results: the same version numbers of its stages say "
            "that they fit together, nothing else does"
        )
    for name, each in plan.passes.items():
        found.n_repeated += again[name].count
        if done[name].count < len(each):
            first = next(task for task in each.tasks() if task not in done[name])
            n_missing = len(each) - done[name].count
            found.find(
                "passes with tasks undone",
                f"{n_missing:,} tasks of {name} have no receipt; the first is {first}: run the workflow again to go on",
            )
    return done


def _codes(ledger: Ledger) -> set[str]:
    """Return the fingerprints of the code that made what still stands."""
    code, codes = "", dict[str, set[str]]()
    for record in ledger.legible_records():
        if record["kind"] == "session":
            code = record["code"]
        elif record["kind"] == "receipt":
            codes.setdefault(record["stage"], set()).add(code)
        elif record["kind"] == "reset":
            struck = frozenset().union(*(members_of(name) for name in record["stages"]))
            codes = {name: made for name, made in codes.items() if not members_of(name) & struck}
    return set[str]().union(*codes.values())


def _count_receipts(plan: Plan, ledger: Ledger, found: Audit) -> tuple[dict[str, Bitmap], dict[str, Bitmap]]:
    """Return the tasks with a receipt, and those with several; a snapshot stands for damaged parts, as in a run."""
    try:
        return _replay(plan, ledger.records(), Progress(plan).done)
    except InputError as error:
        covered, progress, _ = snapshots.restore(ledger, plan)
        counted = _replay(plan, ledger.records(after=covered), progress.done)
        found.remarks.append(f"a snapshot alone tells what is done up to part {covered} of the ledger: {error}")
        return counted


def _replay(
    plan: Plan, records: Iterable[dict[str, Any]], done: dict[str, Bitmap]
) -> tuple[dict[str, Bitmap], dict[str, Bitmap]]:
    """Go on from what is `done`; return it with the tasks that were done again."""
    again = Progress(plan).done
    for record in records:
        if record["kind"] == "reset":
            struck = frozenset().union(*(members_of(name) for name in record["stages"]))
            for name in (each for each in plan.passes if members_of(each) & struck):
                done[name], again[name] = Bitmap(plan.passes[name]), Bitmap(plan.passes[name])
        elif record["kind"] == "receipt" and record["stage"] in plan.passes:
            name = record["stage"]
            for number in receipt_of(record).numbers:
                if number < len(plan.passes[name]):
                    (again if done[name].has_number(number) else done)[name].add_number(number)
    return done, again


def _check_volume(dataset: Dataset, name: str, artifact: VolumeArtifact, found: Audit) -> None:
    """Every shard of every level is there, and nothing else."""
    url = dataset.volume_url(name)
    try:
        volume = Volume.open(url)
        expected: dict[str, Callable[[], set[str]]] = {}
        for level in range(volume.n_levels):
            shape, unit = volume.level_box(level).shape, volume.level_write_shape(level)
            nz, ny, nx = (-(-n // step) for n, step in zip(shape, unit, strict=True))
            head = f"{level}/c/" + ("0/" if artifact.n_channels else "")
            for z in range(nz):
                expected[f"{head}{z}/"] = _keys(head, z, (ny, nx), "/", "")
        for word, key in compare_keys(url, expected):
            if word == "missing":
                found.find("missing shards", f"{url}/{key} is missing: run the workflow again without that volume")
            elif key.rpartition("/")[2] != "zarr.json":
                found.find("keys too many in volumes", f"{url}/{key} belongs to no block: delete it")
    except InputError as error:
        found.find("volumes that cannot be opened", str(error))


def _check_table(dataset: Dataset, each: Pass, artifact: TableArtifact, found: Audit) -> None:
    """Every part is there and can be read, and there is nothing else."""
    table = dataset.table(artifact.name, artifact.columns)
    required = _stepped_parts(each, artifact.name)
    expected: dict[str, Callable[[], set[str]]] = {}
    for level in range(each.top_level + 1):
        nz, ny, nx = each.tree.shape(level)
        if isinstance(each.stage, TreeStage) and artifact.name in each.stage.stepped:
            break
        for z in range(nz):
            expected[f"{level}/{z}_"] = _keys(f"{level}/", z, (ny, nx), "_", ".parquet")
    for level in range(each.top_level + 1, each.n_levels):
        expected[f"{level}/"] = lambda level=level: {_key(part) for part in required if part.level == level}  # type: ignore[misc]
    for word, key in compare_keys(table.url, expected):
        if word == "missing":
            found.find("missing parts of tables", f"{table.url}/{key} is missing: {_again(dataset, each, key)}")
        elif not _is_step(each, key):
            found.find("keys too many in tables", f"{table.url}/{key} belongs to no task: delete it")
    for task in (*_tasks_of(each, artifact), *required):
        try:
            table.read_part(task.level, task.index)
            found.n_parts += 1
        except (*STORE_ERRORS, KeyError) as error:
            if "is missing" not in str(error):
                where, again = table.part_path(task.level, task.index), _again(dataset, each, _key(task))
                found.find("damaged parts of tables", f"{where} cannot be read ({error}): {again}")


def _again(dataset: Dataset, each: Pass, key: str) -> str:
    """Say what makes a part of a table again, to the same bytes."""
    level, _, name = key.removesuffix(".parquet").partition("/")
    z, y, x = (int(i) for i in name.split("_"))
    return audit_voxels.made_again(dataset, Task(each.name, int(level), (z, y, x)))


def _tasks_of(each: Pass, artifact: TableArtifact) -> Iterator[Task]:
    """Yield the tasks that write a part of a table, but for the steps of a root in parts."""
    if isinstance(each.stage, TreeStage) and artifact.name in each.stage.stepped:
        return
    yield from (task for task in each.tasks() if task.level <= each.top_level)


def _stepped_parts(each: Pass, table: str) -> list[Task]:
    """Return the parts that the steps of a root in parts read; what else they write is not needed."""
    if each.steps is None or each.kind != "reduce":
        return []
    parts = {
        Task(each.name, part.level, part.position)
        for task in each.tasks()
        if task.level > each.top_level
        for part in each.steps.reads(task.level, task.index)
        if part.table == table and part.level > each.top_level
    }
    return sorted(parts)


def _is_step(each: Pass, key: str) -> bool:
    level = key.partition("/")[0]
    return level.isdigit() and each.top_level < int(level) < each.n_levels


def _key(part: Task) -> str:
    return f"{part.level}/{'_'.join(map(str, part.index))}.parquet"


def _keys(prefix: str, plane: int, shape: tuple[int, int], separator: str, ending: str) -> Callable[[], set[str]]:
    return lambda: keys_of_grid(prefix, plane, shape, separator, ending)
