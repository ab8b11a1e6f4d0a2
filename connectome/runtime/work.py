"""One task: read, call the stage, check, write, and say what it took. Runs on workers."""

from __future__ import annotations

import math
import os
import resource
import socket
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from connectome.errors import DiskFullError, InputError
from connectome.geometry import Box
from connectome.models.gpu_time import gpu_seconds
from connectome.stages import BlockStage, TreeStage
from connectome.stages.stage import Columns, TableArtifact, VolumeArtifact
from connectome.store.dataset import Dataset
from connectome.store.ledger import Receipt, joined
from connectome.store.mips import pooling_steps, write_levels, write_pooled
from connectome.store.table import read_parts, write_parts
from connectome.store.traffic import snapshot
from connectome.store.volume import Volume
from connectome.workflow.plan import Pass, Plan, Task

HOST = socket.gethostname()
SPOT = "CONNECTOME_SPOT"
"""Environment variable that a machine sets to 1 that can be taken away."""
_YES, _NO = ("1", "true", "yes"), ("", "0", "false", "no")


@dataclass(frozen=True)
class Failure:
    """A try that failed: the message, and the worker's traceback for the first one of a report."""

    task: Task
    error: str
    traceback: str
    stops_run: bool = False


@dataclass(frozen=True)
class Report:
    """What a worker has to say of the tasks that it was sent together.

    Attributes
    ----------
    receipt : Receipt or None
        Of those that are done; None where none is.
    failures : tuple of Failure
    returned : tuple of Task
        Handed back untouched, because the worker has to go.
    """

    receipt: Receipt | None
    failures: tuple[Failure, ...] = ()
    returned: tuple[Task, ...] = ()


def is_spot_machine() -> bool:
    """Say whether this machine can be taken away, by its environment."""
    text = os.environ.get(SPOT, "").strip().lower()
    if text not in (*_YES, *_NO):
        raise InputError(f"{SPOT} is {text!r}; wanted is 1 on a machine that can be taken away, else 0 or nothing")
    return text in _YES


def perform_all(
    plan: Plan,
    dataset: Dataset,
    tasks: Sequence[tuple[Task, int]],
    pool: str = "cpu",
    is_leaving: Callable[[], bool] = lambda: False,
) -> Report:
    """Run tasks of one pass one after the other; never raise, so that no exception has to cross processes.

    Parameters
    ----------
    plan, dataset : Plan, Dataset
    tasks : sequence of (task, number of the try)
    pool : str
        The pool that the worker belongs to.
    is_leaving : callable
        Asked before each task: whether the worker has to go, and hands the rest back.
    """
    receipts: list[Receipt] = []
    failures: list[Failure] = []
    for place, (task, number) in enumerate(tasks):
        if is_leaving():
            returned = tuple(rest for rest, _ in tasks[place:])
            return Report(joined(receipts) if receipts else None, tuple(failures), returned)
        try:
            receipts.append(perform(plan, dataset, task, number, pool))
        except Exception as error:
            text = f"{type(error).__name__}: {error}" if not isinstance(error, InputError) else str(error)
            # One of them tells why: the report of a long batch would else be thousands of times a receipt.
            trace = "" if failures else traceback.format_exc()[-8000:]
            failures.append(Failure(task, text[:2000], trace, isinstance(error, DiskFullError)))
    return Report(joined(receipts) if receipts else None, tuple(failures))


def perform(plan: Plan, dataset: Dataset, task: Task, number: int = 1, pool: str = "cpu") -> Receipt:
    """Run a task and return its receipt.

    Parameters
    ----------
    plan, dataset : Plan, Dataset
    task : Task
    number : int
        Which try this is.
    pool : str
        The pool that the worker belongs to.
    """
    _forget_peak()
    started, wall, cpu, gpu = time.time(), time.perf_counter(), time.process_time(), gpu_seconds()
    traffic = snapshot()
    each, is_empty = plan.passes[task.stage], False
    if each.kind == "block":
        is_empty = _run_block(plan, dataset, each, task)
    elif each.kind == "reduce":
        _run_reduce(plan, dataset, each, task)
    else:
        _run_expand(plan, dataset, each, task)
    place, used = each.number(task), snapshot() - traffic
    return Receipt(
        stage=task.stage,
        runs=((place, place + 1),),
        tries=number,
        voxels=each.box(task).n_voxels if task.level == 0 else 0,
        started_s=round(started, 3),
        wall_s=round(time.perf_counter() - wall, 6),
        cpu_s=round(time.process_time() - cpu, 6),
        read_bytes=used.bytes_read,
        written_bytes=used.bytes_written,
        peak_bytes=_peak(),
        host=HOST,
        gpu_s=round(gpu_seconds() - gpu, 6),
        read_requests=used.requests_read,
        written_requests=used.requests_written,
        pool=pool,
        is_spot=is_spot_machine(),
        empty=((place, place + 1),) if is_empty else (),
    )


def _run_block(plan: Plan, dataset: Dataset, each: Pass, task: Task) -> bool:
    """Run a block and tell whether it is empty: it has volumes, and they hold zeros alone."""
    stage, block = each.stage, plan.block(task)
    assert isinstance(stage, BlockStage)
    written = [plan.writers[name][1] for name in stage.inputs if name in plan.writers]
    inputs: dict[str, Any] = {**_read_tables(dataset, [a for a in written if isinstance(a, TableArtifact)], 0, task)}
    for name in stage.inputs:
        if name in inputs:
            continue
        # A chunk of ours that is missing is an error; a foreign volume may leave out empty ones.
        volume = _open(plan.external.get(name) or dataset.volume_url(name))
        box, writer = stage.read_box(name, block), plan.writers.get(name)
        if writer is not None and writer[0] is each:
            array = _read_beside(volume, box, block.write_box)
        else:
            array = volume.read(box, must_exist=name not in plan.external)
        inputs[name] = array[:3] if array.ndim == 4 else array
    volumes = {a.name: _open(dataset.volume_url(a.name)) for a in stage.outputs if isinstance(a, VolumeArtifact)}
    if stage.process_levels is None:
        outputs = stage.process(block, **inputs)
    else:
        (volume,) = volumes.values()
        outputs = stage.process_levels(block, list(chain.from_iterable(pooling_steps(volume))), **inputs)
    dataset.check_held()
    is_empty = bool(volumes)
    _write_tables(dataset, [a for a in stage.outputs if isinstance(a, TableArtifact)], task, outputs)
    for artifact in stage.outputs:
        if isinstance(artifact, TableArtifact):
            continue
        volume, made = volumes[artifact.name], outputs[artifact.name]
        if isinstance(made, list):
            array = _checked(artifact, made[0], block.write_box)
            write_pooled(volume, block.write_box, made)
        else:
            array = _checked(artifact, made, block.write_box)
            write_levels(volume, block.write_box, array, is_labels=artifact.pyramid == "mode")
        is_empty = is_empty and not array.any()
    return is_empty


def _read_beside(volume: Volume, box: Box, own: Box) -> np.ndarray[Any, Any]:
    """Read what lies in `box` below `own`; the rest is empty, and not there yet."""
    array = np.zeros(box.shape, volume.dtype)
    rest = box
    for axis in range(3):
        stop = own.start[axis]
        below, rest = rest.cut(axis, stop)
        if not below.is_empty:
            array[below.relative_to(box.start).slices] = volume.read(below, must_exist=True)
    return array


def _run_reduce(plan: Plan, dataset: Dataset, each: Pass, task: Task) -> None:
    stage = each.stage
    assert isinstance(stage, TreeStage)
    declared = {artifact.name: artifact for artifact in stage.outputs if isinstance(artifact, TableArtifact)}
    if each.steps and task.level > each.top_level:
        _run_step(dataset, each, task)
        return
    children: list[tuple[Box, Mapping[str, Columns]]] = []
    if task.level == 0:
        given = Dataset(plan.edges_url) if plan.edges_url else dataset
        children.append((each.box(task), _read_tables(given, [plan.table(name) for name in stage.inputs], 0, task)))
    else:
        below = [Task(task.stage, task.level - 1, index) for index in each.children(task.level, task.index)]
        carried = [(name, declared[table]) for name, table in zip(stage.inputs, stage.carried, strict=True)]
        found = iter(_read_parts(dataset, [(table, child) for child in below for _, table in carried]))
        children = [(each.box(child), {name: next(found) for name, _ in carried}) for child in below]
    outputs = stage.reduce(each.box(task), children, plan.domain)
    dataset.check_held()
    made = [table for name, table in declared.items() if name not in stage.expanded and name not in stage.stepped]
    _write_tables(dataset, made, task, outputs)


def _run_step(dataset: Dataset, each: Pass, task: Task) -> None:
    stage, steps = each.stage, each.steps
    assert isinstance(stage, TreeStage)
    assert steps is not None
    declared = {artifact.name: artifact for artifact in stage.outputs if isinstance(artifact, TableArtifact)}
    parts = list(steps.reads(task.level, task.index))
    sources = [(declared[part.table], Task(task.stage, part.level, part.position)) for part in parts]
    inputs: dict[str, list[Columns]] = {}
    for part, columns in zip(parts, _read_parts(dataset, sources), strict=True):
        inputs.setdefault(part.table, []).append(columns)
    shard = (steps.number(task.index), math.prod(steps.shape))
    made = stage.step(steps.phase(task.level), steps.round_of(task.level), shard, inputs)
    dataset.check_held()
    _write_tables(dataset, [declared[name] for name in made], task, made)


def _run_expand(plan: Plan, dataset: Dataset, each: Pass, task: Task) -> None:
    stage = each.stage
    assert isinstance(stage, TreeStage)
    declared = {artifact.name: artifact for artifact in stage.outputs if isinstance(artifact, TableArtifact)}
    own = _read_tables(dataset, [declared[name] for name in stage.kept], task.level, task)
    above = None
    if task.level < each.top_level:
        parent = each.parent(task)
        above = _read_tables(dataset, [declared[name] for name in stage.expanded], parent.level, parent)
    elif each.steps:
        (last,) = _read_parts(dataset, [(declared[stage.stepped[0]], replace(task, level=each.steps.last_level))])
        above = dict.fromkeys(stage.expanded, last)
    outputs = stage.expand(each.box(task), own, above, plan.domain)
    dataset.check_held()
    _write_tables(dataset, [declared[name] for name in stage.expanded], task, outputs)


def _read_tables(dataset: Dataset, tables: Sequence[TableArtifact], level: int, task: Task) -> dict[str, Columns]:
    """Read a task's parts of several tables at a level, by the tables' names."""
    at = replace(task, level=level)
    return dict(zip((each.name for each in tables), _read_parts(dataset, [(t, at) for t in tables]), strict=True))


def _read_parts(dataset: Dataset, parts: Sequence[tuple[TableArtifact, Task]]) -> list[Columns]:
    return read_parts([(dataset.table(each.name, each.columns), task.level, task.index) for each, task in parts])


def _write_tables(dataset: Dataset, tables: Sequence[TableArtifact], task: Task, outputs: Mapping[str, Any]) -> None:
    for each in tables:
        columns = outputs[each.name]
        if set(columns) != set(each.columns):
            raise RuntimeError(f"{task} wrote columns {sorted(columns)} to {each.name}, not {sorted(each.columns)}")
    write_parts(
        [(dataset.table(each.name, each.columns), task.level, task.index, outputs[each.name]) for each in tables]
    )


def _checked(artifact: VolumeArtifact, array: np.ndarray[Any, Any], box: Box) -> np.ndarray[Any, Any]:
    wanted = (*((artifact.n_channels,) if artifact.n_channels else ()), *box.shape)
    if array.shape != wanted or array.dtype != artifact.dtype:
        raise RuntimeError(
            f"a stage made {artifact.name} of shape {array.shape} and dtype {array.dtype}; declared are {wanted} "
            f"and {artifact.dtype}"
        )
    return array


@lru_cache(maxsize=64)
def _open(url: str) -> Volume:
    return Volume.open(url, even_unfinished=True)


def forget_volumes() -> None:
    """Drop open handles: artifacts may have been deleted and made anew."""
    _open.cache_clear()


def _forget_peak() -> None:
    """Ask Linux to count this process's peak memory from now on; elsewhere the peak is the process's."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak() -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        status = ""
    _, found, rest = status.partition("VmHWM:")
    if found:
        return int(rest.split(maxsplit=1)[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
