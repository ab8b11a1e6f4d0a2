"""What the passes of a plan cost: tasks, bytes, and the memory of the largest task, against what a worker has."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from connectome.errors import InputError
from connectome.geometry import Triple, as_triple
from connectome.stages import BlockStage
from connectome.stages.fused import FusedStage
from connectome.stages.stage import TableArtifact, VolumeArtifact
from connectome.workflow.memory import (
    BYTES_PER_BYTE,
    EXPAND_PART,
    PROCESS_BYTES,
    TABLE_BYTES_PER_VOXEL,
    propose,
    refuse_larger,
    tree_bytes,
)
from connectome.workflow.plan import Pass, Plan, Task


@dataclass(frozen=True)
class PassEstimate:
    """What a pass costs: tasks, and the bytes of its largest task, its worker process included.

    `process_bytes` of these a worker has before it holds any voxel: its libraries, and those that stay from earlier
    passes in the same pool. `recomputed` says of fused stages how many voxels each computes for one of a block.
    """

    name: str
    n_tasks: int
    read_bytes: int
    written_bytes: int
    peak_bytes: int
    process_bytes: int = PROCESS_BYTES
    recomputed: Mapping[str, float] = field(default_factory=dict)


def estimate(plan: Plan) -> list[PassEstimate]:
    """Estimate each pass from its largest task; O(passes x levels) whatever the volume."""
    middle = as_triple([(n - 1) // 2 for n in plan.grid.shape])
    resident: dict[str, int] = {}
    rows = []
    for each in plan.passes.values():
        pool = each.stage.pool
        rows.append(_estimate_pass(plan, each, middle, PROCESS_BYTES + resident.get(pool, 0)))
        resident[pool] = max(resident.get(pool, 0), each.stage.resident_bytes)
    return rows


def _estimate_pass(plan: Plan, each: Pass, middle: Triple, process: int) -> PassEstimate:
    if each.kind != "block":
        peak = tree_bytes(each.tree, each.steps)
        if each.kind == "expand":
            peak //= EXPAND_PART
        rows = int(peak / BYTES_PER_BYTE)
        return PassEstimate(each.name, len(each), rows, rows, process + peak, process)
    stage = each.stage
    assert isinstance(stage, BlockStage)
    block = plan.block(Task(each.name, 0, middle))
    read = 0
    for name in stage.inputs:
        voxels = stage.read_box(name, block).n_voxels
        if name not in plan.writers:
            read += voxels * {"affinities": 3, "fragments": 8}.get(name, 1)
        elif isinstance(artifact := plan.writers[name][1], VolumeArtifact):
            read += voxels * artifact.bytes_per_voxel()
    volumes = [a for a in stage.outputs if isinstance(a, VolumeArtifact)]
    written = sum(block.write_box.n_voxels * a.bytes_per_voxel() for a in volumes)
    pyramids = sum(block.write_box.n_voxels * a.bytes_per_voxel() for a in volumes if a.pyramid)
    # A write holds the array and its encoded shard; a pyramid one more copy, an eighth and less.
    peak = read + 2 * written + math.ceil(pyramids / 7) + stage.peak_bytes(block)
    if any(isinstance(a, TableArtifact) for a in stage.outputs):
        written += int(block.write_box.n_voxels * TABLE_BYTES_PER_VOXEL)
    recomputed = stage.recomputed(block) if isinstance(stage, FusedStage) else {}
    return PassEstimate(each.name, len(each), read, written, process + peak, process, recomputed)


def check_memory(plan: Plan, memory_bytes: int) -> None:
    """Refuse a plan of which one task does not fit a worker, and say what would: another block, root or cells.

    Raises
    ------
    InputError
        With the pass, what it takes, what there is, and the largest block (or root) that fits.
    """
    for each, row in zip(plan.passes.values(), estimate(plan), strict=True):
        if row.peak_bytes <= memory_bytes:
            continue
        if each.kind == "reduce":
            refuse_larger(
                each.name,
                row.peak_bytes,
                memory_bytes,
                propose(each.tree, memory_bytes - row.process_bytes + PROCESS_BYTES),
            )
        fitting = next((block for block in _smaller_blocks(plan) if _fits(plan, block, memory_bytes)), None)
        advice = (
            "give workers more memory, as no smaller block fits either"
            if fitting is None
            else f"set grid.block to {','.join(map(str, fitting))}, the largest of its kind that fits, or give workers "
            "more memory"
        )
        refuse_larger(f"{each.name} with grid.block {plan.workflow.grid.block}", row.peak_bytes, memory_bytes, advice)


def _smaller_blocks(plan: Plan) -> Iterator[Triple]:
    """Yield blocks of about the same proportions, the largest first, in steps of a sixteenth, whole multiples of 8."""
    block, seen = plan.workflow.grid.block, set[Triple]()
    for sixteenths in range(15, 0, -1):
        smaller = as_triple([max(min(n, 8), n * sixteenths // 16 // 8 * 8) for n in block])
        if smaller != block and smaller not in seen:
            seen.add(smaller)
            yield smaller


def _fits(plan: Plan, block: Triple, memory_bytes: int) -> bool:
    grid = plan.workflow.grid.model_copy(update={"block": block})
    try:
        smaller = replace(plan, workflow=plan.workflow.model_copy(update={"grid": grid}))
    except InputError:
        return False  # below a halo, or not a part of the cells
    rows = zip(smaller.passes.values(), estimate(smaller), strict=True)
    return all(row.peak_bytes <= memory_bytes for each, row in rows if each.kind == "block")
