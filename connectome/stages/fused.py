"""Stages that run in one task: what one writes the next gets from memory, and need not be stored.

A stage whose value at a voxel is the same from every block (`BlockStage.is_local`) computes what the next ones
read around the block as well; the overlap is computed again by each neighbour. What another stage writes
around the block is read from the store, where it was written by blocks with lower indices: so a fused stage waits
for its own lower neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from connectome.geometry import Block, Box, Halo, Triple
from connectome.stages.stage import Artifact, BlockStage, Stage, VolumeArtifact, VoxelSize

JOINT = "+"
"""Between the names of stages that are fused."""


class FusedStage(BlockStage):
    """Block stages in the order of the data, which share their tasks."""

    stages: tuple[BlockStage, ...]
    stored: frozenset[str]
    """Artifacts that somebody else reads, or that are kept."""

    @property
    def name(self) -> str:
        return JOINT.join(stage.name for stage in self.stages)

    @property
    def resident_bytes(self) -> int:  # type: ignore[override]
        return max(stage.resident_bytes for stage in self.stages)

    @property
    def pool(self) -> str:
        return next((stage.pool for stage in self.stages if stage.resources), "cpu")

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """What comes from the store: also what lower neighbours wrote."""
        outside = dict.fromkeys(n for s in self.stages for n in s.inputs if n not in self._writers)
        return (*outside, *(name for name in self._writers if self._is_read_around(name)))

    @property
    def outputs(self) -> tuple[Artifact, ...]:  # type: ignore[override]
        made = (artifact for stage in self.stages for artifact in stage.outputs)
        return tuple(a for a in made if not isinstance(a, VolumeArtifact) or a.name in self.stored)

    def halo(self, name: str, voxel_size_nm: VoxelSize) -> Halo:
        """Sum the halos along each way from the input to the block, and return the largest."""
        around = self._halos_around(voxel_size_nm)
        halos = [s.halo(name, voxel_size_nm) for s in self.stages if name in s.inputs]
        reading = [a for s, a in zip(self.stages, around, strict=True) if name in s.inputs]
        return _largest([_sum(h, a) for h, a in zip(halos, reading, strict=True)])

    def read_box(self, name: str, block: Block) -> Box:
        read = [
            s.read_box(name, own) for s, own in zip(self.stages, self._blocks(block), strict=True) if name in s.inputs
        ]
        return _hull(read)

    def check(self, domain: Box, voxel_size_nm: VoxelSize) -> None:
        for stage in self.stages:
            stage.check(domain, voxel_size_nm)

    def recomputed(self, block: Block) -> dict[str, float]:
        """Return voxels that each stage computes for one block, by those of the block."""
        own = block.write_box.n_voxels
        return {s.name: b.write_box.n_voxels / own for s, b in zip(self.stages, self._blocks(block), strict=True)}

    def process(self, block: Block, **inputs: Any) -> dict[str, Any]:
        """Run the stages one after the other; an input that they write themselves holds the neighbours' part."""
        made: dict[str, Any] = {}
        boxes: dict[str, Box] = {name: self.read_box(name, block) for name in self.inputs}
        for stage, own in zip(self.stages, self._blocks(block), strict=True):
            given = {}
            for name in stage.inputs:
                array = inputs[name] if name in inputs else made[name]
                if isinstance(array, np.ndarray):
                    wanted = stage.read_box(name, own)
                    array = np.ascontiguousarray(array[(..., *wanted.relative_to(boxes[name].start).slices)])
                given[name] = array
            for name, value in stage.process(own, **given).items():
                made[name] = value
                if isinstance(value, np.ndarray):
                    if name in inputs:
                        inputs[name][own.write_box.relative_to(boxes[name].start).slices] = value
                    else:
                        boxes[name] = own.write_box
        return {a.name: self._cut(made[a.name], a, boxes, block) for a in self.outputs}

    def peak_bytes(self, block: Block) -> int:
        arrays, peak = 0, 0
        for stage, own in zip(self.stages, self._blocks(block), strict=True):
            # What is read around the block is an input and an output: that counts it already.
            inside = [a for a in stage.outputs if isinstance(a, VolumeArtifact) and a.name not in self.inputs]
            peak = max(peak, stage.peak_bytes(own))
            arrays += sum(2 * own.write_box.n_voxels * a.bytes_per_voxel() for a in inside)
        return arrays + peak

    @staticmethod
    def _cut(value: Any, artifact: Artifact, boxes: dict[str, Box], block: Block) -> Any:
        if not isinstance(artifact, VolumeArtifact) or artifact.name not in boxes:
            return value
        start = boxes[artifact.name].start
        if value.shape[-3:] == block.write_box.shape:
            return value
        return np.ascontiguousarray(value[(..., *block.write_box.relative_to(start).slices)])

    @cached_property
    def _writers(self) -> dict[str, BlockStage]:
        return {artifact.name: stage for stage in self.stages for artifact in stage.outputs}

    def _is_read_around(self, name: str) -> bool:
        """Tell whether a stage reads around the block what another one of these writes, and cannot compute there."""
        writer = self._writers[name]
        halos = [s.halo(name, (1.0, 1.0, 1.0)) for s in self.stages if name in s.inputs]
        is_volume = any(a.name == name and isinstance(a, VolumeArtifact) for a in writer.outputs)
        return is_volume and not writer.is_local and any(halo != Halo() for halo in halos)

    def _blocks(self, block: Block) -> list[Block]:
        """Return the block that each stage computes: larger where a later one reads around it."""
        blocks: list[Block] = []
        for place in range(len(self.stages) - 1, -1, -1):
            stage, box = self.stages[place], block.write_box
            if stage.is_local:
                written = {artifact.name for artifact in stage.outputs}
                later = zip(self.stages[place + 1 :], blocks, strict=True)
                box = _hull([box, *(s.read_box(n, b) for s, b in later for n in s.inputs if n in written)])
            blocks.insert(0, Block(box, block.domain, block.voxel_size_nm))
        return blocks

    def _halos_around(self, voxel_size_nm: VoxelSize) -> list[Halo]:
        """Return how far beyond the block each stage computes."""
        around: list[Halo] = []
        for place in range(len(self.stages) - 1, -1, -1):
            stage, halos = self.stages[place], [Halo()]
            if stage.is_local:
                written = {artifact.name for artifact in stage.outputs}
                for later, beyond in zip(self.stages[place + 1 :], around, strict=True):
                    halos += [_sum(later.halo(n, voxel_size_nm), beyond) for n in later.inputs if n in written]
            around.insert(0, _largest(halos))
        return around


def fused(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Join each stage that asks for it with the next one.

    Raises
    ------
    ValueError
        Where a stage cannot be fused; the message says why and what to do.
    """
    result: list[Stage] = []
    for group in _groups(stages):
        if len(group) == 1:
            result.append(group[0])
            continue
        blocks = [stage for stage in group if isinstance(stage, BlockStage)]
        outside = {name for stage in stages if stage not in group for name in stage.inputs}
        joint = FusedStage(stages=tuple(blocks), stored=_stored(blocks, outside))
        _check(joint, group)
        result.append(joint)
    return tuple(result)


def members_of(pass_name: str) -> frozenset[str]:
    """Return the stages whose work a pass does."""
    return frozenset(pass_name.partition(".")[0].split(JOINT))


def _groups(stages: Sequence[Stage]) -> Iterator[list[Stage]]:
    group: list[Stage] = []
    for stage in stages:
        group.append(stage)
        if not stage.fuse:
            yield group
            group = []
    if group:
        raise ValueError(f"stage {group[-1].name} has fuse: true, and no stage follows it: leave that out")


def _stored(stages: Sequence[BlockStage], outside: set[str]) -> frozenset[str]:
    kept = {a.name for stage in stages for a in stage.outputs if stage.keep or a.name in outside}
    probe = FusedStage(stages=tuple(stages), stored=frozenset())
    return frozenset(kept | {name for name in probe._writers if probe._is_read_around(name)})


def _check(joint: FusedStage, group: Sequence[Stage]) -> None:
    for stage, following in pairwise(group):
        if not isinstance(following, BlockStage):
            raise ValueError(  # noqa: TRY004
                f"stage {stage.name} has fuse: true, but {following.name} follows, which works on tables of the whole "
                "volume: leave fuse out"
            )
        if not {artifact.name for artifact in stage.outputs} & set(following.inputs):
            raise ValueError(
                f"stage {stage.name} has fuse: true, but {following.name}, which follows, reads nothing of it: leave "
                "fuse out"
            )
    pools = {stage.pool for stage in joint.stages if stage.resources}
    if len(pools) > 1:
        raise ValueError(f"fused stages {joint.name} ask for {' and '.join(sorted(pools))}: give them one resource")
    for name in joint._writers:
        halo = _largest([Halo(), *(s.halo(name, (1.0, 1.0, 1.0)) for s in joint.stages if name in s.inputs)])
        if joint._is_read_around(name) and halo.high != (0, 0, 0):
            raise ValueError(f"{joint.name} cannot be fused: {name} of blocks that come later is read: leave fuse out")


def _hull(boxes: Sequence[Box]) -> Box:
    starts, stops = [box.start for box in boxes], [box.stop for box in boxes]
    return Box(_each(min, starts), _each(max, stops))


def _largest(halos: Sequence[Halo]) -> Halo:
    return Halo(_each(max, [halo.low for halo in halos]), _each(max, [halo.high for halo in halos]))


def _sum(one: Halo, two: Halo) -> Halo:
    return Halo(_each(math.fsum, [one.low, two.low]), _each(math.fsum, [one.high, two.high]))


def _each(function: Any, triples: Sequence[Triple]) -> Triple:
    z, y, x = (int(function(values)) for values in zip(*triples, strict=True))
    return z, y, x
