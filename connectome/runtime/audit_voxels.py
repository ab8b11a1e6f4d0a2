"""The part of the audit that reads voxels: they decode, faces agree, and names give the segmentation."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Halo, as_triple
from connectome.stages import BlockStage
from connectome.stages.stage import TableArtifact, VolumeArtifact
from connectome.store.dataset import Dataset
from connectome.store.locations import STORE_ERRORS
from connectome.store.mips import pooling_steps
from connectome.store.volume import Volume
from connectome.workflow.plan import Plan, Task

SAMPLE = 64
"""Blocks whose segmentation is computed again where not all are asked for."""

Labels = npt.NDArray[np.uint64]
IsDone = Mapping[str, Callable[[Task], bool]]


class Findings(Protocol):
    """Where findings go."""

    n_blocks: int
    n_recomputed: int
    remarks: list[str]

    def find(self, kind: str, sentence: str) -> None: ...


def check(plan: Plan, dataset: Dataset, found: Findings, is_done: IsDone, *, every: bool) -> None:
    """Read every block that is done.

    Parameters
    ----------
    plan, dataset : Plan, Dataset
    found : Findings
    is_done : mapping of str to callable
        Of each pass, whether a task of it is done.
    every : bool
        Compute all blocks of the segmentation again, not `SAMPLE` of them.
    """
    volumes = _volumes(plan, dataset, found)
    if "segmentation" in volumes and "fragments" in plan.temporary - volumes.keys():
        found.remarks.append(
            "the segmentation cannot be compared with its fragments, which were not kept (keep: false): no block was "
            "computed again, and no face was looked at"
        )
    n_blocks = len(plan.grid)
    step = 1 if every else max(1, n_blocks // SAMPLE)
    for number, index in enumerate(plan.grid.indices()):
        found.n_blocks += 1
        damaged = set()
        for name, volume in volumes.items():
            task = Task(plan.writers[name][0].name, 0, index)
            if is_done[task.stage](task) and not _decodes(dataset, volume, plan.block(task).write_box, task, found):
                damaged.add(name)
        if "segmentation" not in volumes or damaged:
            continue
        task = Task(plan.writers["segmentation"][0].name, 0, index)
        if not is_done[task.stage](task):
            continue
        try:
            if "fragments" in volumes:
                _check_faces(plan, dataset, volumes, task, found)
            if number % step == 0:
                _compute_again(plan, dataset, volumes["segmentation"], task, found)
        except (*STORE_ERRORS, KeyError):
            continue  # what cannot be read was found before


def _volumes(plan: Plan, dataset: Dataset, found: Findings) -> dict[str, Volume]:  # noqa: ARG001
    volumes = {}
    for name, (_, artifact) in plan.writers.items():
        if isinstance(artifact, VolumeArtifact):
            try:
                volumes[name] = Volume.open(dataset.volume_url(name), even_unfinished=True)
            except STORE_ERRORS:
                continue  # told by who looks at keys
    return volumes


def made_again(dataset: Dataset, task: Task) -> str:
    """Say what makes a task's results again, to the same bytes."""
    return f"connectome replay {shlex.quote(dataset.url)} {task} makes it again"


def _decodes(dataset: Dataset, volume: Volume, box: Box, task: Task, found: Findings) -> bool:
    """Tell whether all levels of a block can be read; a key that is missing is told elsewhere."""
    for level in range(volume.n_levels):
        try:
            volume.read(level_box(volume, box, level), level, must_exist=True)
        except STORE_ERRORS as error:
            if "missing" not in str(error):
                what = f"level {level} of {task} cannot be read from {volume.url} ({error})"
                found.find("damaged blocks", f"{what}: {made_again(dataset, task)}")
            return False
    return True


def level_box(volume: Volume, box: Box, level: int) -> Box:
    """Return the voxels of `level` that a block of level 0 wrote."""
    inside, factor, whole = box.relative_to(volume.box.start), volume.level_factor(level), volume.level_box(level)
    start = as_triple([a // f for a, f in zip(inside.start, factor, strict=True)])
    stop = as_triple([-(-b // f) for b, f in zip(inside.stop, factor, strict=True)])
    return Box(start, stop).shift(whole.start).intersect(whole)


def _check_faces(plan: Plan, dataset: Dataset, volumes: Mapping[str, Volume], task: Task, found: Findings) -> None:
    """Over the block's low faces, what is one fragment or linked is one segment."""
    box = plan.block(task).write_box
    grown = box.grow(Halo(low=(1, 1, 1))).intersect(plan.domain)
    margin = [a - g for a, g in zip(box.start, grown.start, strict=True)]
    fragments = volumes["fragments"].read(grown, must_exist=True)
    segments = volumes["segmentation"].read(grown, must_exist=True)
    links = _links(plan, dataset, task, box)
    for axis in range(3):
        if not margin[axis]:
            continue
        here, there = _planes(fragments, margin, axis)
        one, other = _planes(segments, margin, axis)
        linked = links[axis]
        n_loose = int(np.count_nonzero(linked & ((here == 0) | (there == 0))))
        n_apart = int(np.count_nonzero((linked | ((here == there) & (here > 0))) & (one != other)))
        where = f"the low {'zyx'[axis]} face of block {','.join(map(str, task.index))}"
        if n_loose:
            found.find("faces with loose links", f"over {where} {n_loose} links lead to background: fragments disagree")
        if n_apart:
            found.find(
                "faces that disagree",
                f"over {where} {n_apart} voxels of one fragment lie in two segments: names or segmentation disagree",
            )


def _links(plan: Plan, dataset: Dataset, task: Task, box: Box) -> list[npt.NDArray[np.bool_]]:
    """Return the links over the low z, y and x face; none where the dataset has no such table."""
    nz, ny, nx = box.shape
    shapes = ((ny, nx), (nz, nx), (nz, ny))
    written = plan.writers.get("face_links")
    if written is None or not isinstance(written[1], TableArtifact):
        return [np.zeros(shape, np.bool_) for shape in shapes]
    linked = dataset.table("face_links", written[1].columns).read_part(0, task.index)["linked"].astype(np.bool_)
    faces = np.split(linked, np.cumsum([ny * nx, nz * nx]))
    return [face.reshape(shape) for face, shape in zip(faces, shapes, strict=True)]


def _planes(labels: Labels, margin: list[int], axis: int) -> tuple[Labels, Labels]:
    """Return the block's first plane along an axis, and the one below it, both without the halo of other axes."""
    inner = labels[tuple(slice(m if other != axis else 0, None) for other, m in enumerate(margin))]
    return np.take(inner, 1, axis), np.take(inner, 0, axis)


def _compute_again(plan: Plan, dataset: Dataset, volume: Volume, task: Task, found: Findings) -> None:
    """Compare the stored levels with what fragments and names give."""
    stage, block = plan.passes[task.stage].stage, plan.block(task)
    if not isinstance(stage, BlockStage) or stage.process_levels is None:
        return  # fused with stages before it, whose voxels are not kept
    inputs: dict[str, Any] = {}
    for name in stage.inputs:
        artifact = plan.writers[name][1] if name in plan.writers else None
        if isinstance(artifact, TableArtifact):
            inputs[name] = dataset.table(name, artifact.columns).read_part(0, task.index)
        else:
            source = Volume.open(plan.external.get(name) or dataset.volume_url(name), even_unfinished=True)
            inputs[name] = source.read(stage.read_box(name, block), must_exist=name not in plan.external)
    steps = pooling_steps(volume)
    made, last = stage.process_levels(block, list(chain.from_iterable(steps)), **inputs)["segmentation"], 0
    found.n_recomputed += 1
    for level in range(volume.n_levels):
        last += len(steps[level - 1]) if level else 0
        stored = volume.read(level_box(volume, block.write_box, level), level, must_exist=True)
        if not np.array_equal(stored, made[last]):
            found.find(
                "blocks that differ",
                f"level {level} of {task} is not what its fragments and names give: compute it again",
            )
