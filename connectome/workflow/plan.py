"""A plan: tasks, boxes, dependencies and bytes of a workflow on a volume. A value; nothing runs.

Every stage becomes one pass over a grid, a tree stage two (``.reduce`` upward, ``.expand`` downward).
Nothing is stored per block: tasks, numbers and dependencies are computed from indices, so that a plan
of a petavoxel takes no more room than one of a crumb.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal

from connectome.errors import InputError
from connectome.geometry import Block, Box, Grid, Triple, as_triple
from connectome.stages import BlockStage, Stage, TreeStage, registry
from connectome.stages.fused import fused
from connectome.stages.stage import TableArtifact, VolumeArtifact, VoxelSize
from connectome.workflow.root_steps import RootSteps
from connectome.workflow.tree import Tree
from connectome.workflow.workflow import Workflow

Kind = Literal["block", "reduce", "expand"]


@dataclass(frozen=True, order=True)
class Task:
    """One task: a pass, a level of its tree (0 for blocks) and a grid position."""

    stage: str
    level: int
    index: Triple

    def __str__(self) -> str:
        level = f"@{self.level}" if self.level else ""
        return f"{self.stage}{level}:{','.join(map(str, self.index))}"

    @classmethod
    def parse(cls, text: str) -> Task:
        """Read a task written as ``str`` writes it."""
        try:
            name, _, index = text.rpartition(":")
            stage, _, level = name.partition("@")
            return cls(stage, int(level or 0), as_triple([int(n) for n in index.split(",")]))
        except ValueError as error:
            raise InputError(f"a task is written stage[@level]:z,y,x, got {text!r}") from error


@dataclass(frozen=True)
class Pass:
    """All tasks of one stage in one direction."""

    name: str
    kind: Kind
    stage: Stage
    grid: Grid

    @cached_property
    def tree(self) -> Tree:
        """The octree of nodes; of blocks, its lowest level alone is used."""
        return Tree(self.grid, self.stage.cell_shape if isinstance(self.stage, TreeStage) else None)

    @cached_property
    def steps(self) -> RootSteps | None:
        """What takes the place of the tree's upper levels, where the root is in parts."""
        rounds = self.stage.root_rounds if isinstance(self.stage, TreeStage) else None
        if rounds is None or rounds[0] >= self.tree.n_levels - 1:
            return None
        return RootSteps(self.tree.shape(rounds[0]), *rounds)

    @cached_property
    def top_level(self) -> int:
        """Level of the highest nodes: the root's, or of all of them where the root is in parts; 0 for blocks."""
        if self.kind == "block":
            return 0
        return self.tree.n_levels - 1 if self.steps is None else self.steps.top_level

    @cached_property
    def n_levels(self) -> int:
        """Levels of the tree, and upward the steps of a root in parts; 1 for blocks."""
        return 1 + (self.steps.last_level if self.kind == "reduce" and self.steps else self.top_level)

    @cached_property
    def _shapes(self) -> list[Triple]:
        """Tasks along each axis, by level; asked for with every task that the engine looks at."""
        nodes = [self.tree.shape(level) for level in range(self.top_level + 1)]
        return nodes + [self.steps.shape_at(level) for level in range(len(nodes), self.n_levels) if self.steps]

    @cached_property
    def _offsets(self) -> list[int]:
        return [0, *accumulate(map(math.prod, self._shapes))]

    def __len__(self) -> int:
        return self._offsets[-1]

    def has(self, task: Task) -> bool:
        """Tell whether `task` is one of this pass."""
        if not 0 <= task.level < self.n_levels:
            return False
        return all(0 <= i < n for i, n in zip(task.index, self._shapes[task.level], strict=True))

    def number(self, task: Task) -> int:
        """Return the position of `task` among the pass's tasks, for bitmaps."""
        _, ny, nx = self._shapes[task.level]
        z, y, x = task.index
        return self._offsets[task.level] + (z * ny + y) * nx + x

    def box(self, task: Task) -> Box:
        """Return the box that the task is for."""
        if self._shapes[task.level] == (1, 1, 1) and task.level > 0:
            return self.grid.box
        return self.tree.box(min(task.level, self.top_level), task.index)

    def tasks(self) -> Iterator[Task]:
        """Yield all tasks depth first: nodes after their children upward, before them downward."""
        if self.kind == "block":
            for index in self.grid.indices():
                yield Task(self.name, 0, index)
            return
        for index in Grid(Box.of_shape(self.tree.shape(self.top_level)), (1, 1, 1)).indices():
            yield from self._walk(self.top_level, index)
        for level in range(self.top_level + 1, self.n_levels):
            for index in Grid(Box.of_shape(self._shapes[level]), (1, 1, 1)).indices():
                yield Task(self.name, level, index)

    def _walk(self, level: int, index: Triple) -> Iterator[Task]:
        if self.kind == "expand":
            yield Task(self.name, level, index)
        for child in self.children(level, index):
            yield from self._walk(level - 1, child)
        if self.kind == "reduce":
            yield Task(self.name, level, index)

    def children(self, level: int, index: Triple) -> Iterator[Triple]:
        """Yield the grid positions of a node's children."""
        yield from self.tree.children(level, index)

    def parent(self, task: Task) -> Task:
        """Return the task of the node above."""
        return Task(task.stage, task.level + 1, self.tree.parent(task.level, task.index))


@dataclass(frozen=True)
class Plan:
    """A workflow on a volume.

    Attributes
    ----------
    workflow : Workflow
    domain : Box
        Box of the volume in global voxels.
    voxel_size_nm : (z, y, x)
    external : dict
        URLs of the volumes that come from outside, by artifact name.
    edges_url : str or None
        The dataset whose tables of edges are read, where they come from outside.
    """

    workflow: Workflow
    domain: Box
    voxel_size_nm: VoxelSize
    external: dict[str, str] = field(default_factory=dict)
    edges_url: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot run."""
        for stage in self.stages:
            stage.check(self.domain, self.voxel_size_nm)
            if isinstance(stage, BlockStage):
                self._check_halo(stage)
            elif isinstance(stage, TreeStage):
                self._check_cells(stage)

    def _check_cells(self, stage: TreeStage) -> None:
        cells, block = stage.cell_shape, self.workflow.grid.block
        if cells is None:
            return
        for axis, word in enumerate("zyx"):
            if cells[axis] % block[axis] and cells[axis] < self.domain.shape[axis]:
                above = -(-cells[axis] // block[axis]) * block[axis]
                raise InputError(
                    f"{stage.name}.cells is {cells}, but grid.block is {block}: along {word} a cell must be whole "
                    f"blocks, or cover the volume's {self.domain.shape[axis]} voxels, so set it to {above} "
                    "there or change grid.block"
                )

    def _check_halo(self, stage: BlockStage) -> None:
        block = self.workflow.grid.block
        for name in stage.inputs:
            halo = stage.halo(name, self.voxel_size_nm)
            for axis, word in enumerate("zyx"):
                margin = max(halo.low[axis], halo.high[axis])
                if block[axis] < margin and block[axis] < self.domain.shape[axis]:
                    raise InputError(
                        f"grid.block is {block}, but stage {stage.name} needs a halo of {margin} voxels along {word}: "
                        f"blocks must be at least that large there, so raise grid.block"
                    )

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Stages that run, those joined that share their tasks."""
        return fused(self.workflow.running_stages)

    @cached_property
    def grid(self) -> Grid:
        return Grid(self.domain, self.workflow.grid.block)

    @cached_property
    def passes(self) -> dict[str, Pass]:
        """All passes by name, in the order of the data."""
        passes = []
        for stage in self.stages:
            if isinstance(stage, TreeStage):
                passes.append(Pass(f"{stage.name}.reduce", "reduce", stage, self.grid))
                passes.append(Pass(f"{stage.name}.expand", "expand", stage, self.grid))
            else:
                passes.append(Pass(stage.name, "block", stage, self.grid))
        return {each.name: each for each in passes}

    @cached_property
    def writers(self) -> dict[str, tuple[Pass, VolumeArtifact | TableArtifact]]:
        """The pass and the declaration behind every artifact that the run writes."""
        writers: dict[str, tuple[Pass, VolumeArtifact | TableArtifact]] = {}
        for each in self.passes.values():
            for artifact in each.stage.outputs:
                expanded = isinstance(each.stage, TreeStage) and artifact.name in each.stage.expanded
                if each.kind == "block" or expanded == (each.kind == "expand"):
                    writers[artifact.name] = (each, artifact)
        return writers

    @cached_property
    def temporary(self) -> frozenset[str]:
        """Volumes that are deleted when all passes that read them are done."""
        passing = {a.name for stage in self.workflow.running_stages if not stage.keep for a in stage.outputs}
        return frozenset(
            name for name, (_, a) in self.writers.items() if name in passing and isinstance(a, VolumeArtifact)
        )

    def readers(self, name: str) -> list[Pass]:
        """Return the passes that read an artifact."""
        return [each for each in self.passes.values() if name in each.stage.inputs and each.kind != "expand"]

    def table(self, name: str) -> TableArtifact:
        """Return the declaration of a table, also of one that comes from outside."""
        declared = (artifact for stage in registry().values() for artifact in stage.outputs if artifact.name == name)
        table = self.writers[name][1] if name in self.writers else next(declared)
        assert isinstance(table, TableArtifact)
        return table

    def block(self, task: Task) -> Block:
        """Return the block of a block task."""
        return Block(self.grid.box_at(task.index), self.domain, self.voxel_size_nm)

    def dependencies(self, task: Task) -> Iterator[Task]:
        """Yield the tasks that must be done before `task`, derived from the boxes."""
        each = self.passes[task.stage]
        if each.kind == "block":
            yield from self._block_dependencies(each, task)
        elif each.kind == "reduce" and task.level == 0:
            for name in {self.writers[name][0].name for name in each.stage.inputs if name in self.writers}:
                yield Task(name, 0, task.index)
        elif each.kind == "reduce" and each.steps and task.level > each.top_level:
            parts = each.steps.reads(task.level, task.index)
            yield from sorted({Task(task.stage, part.level, part.position) for part in parts})
        elif each.kind == "reduce":
            for child in each.children(task.level, task.index):
                yield Task(task.stage, task.level - 1, child)
        else:
            yield Task(f"{each.stage.name}.reduce", task.level, task.index)
            if task.level < each.top_level:
                yield each.parent(task)
            elif each.steps:
                yield Task(f"{each.stage.name}.reduce", each.steps.last_level, task.index)

    def _block_dependencies(self, each: Pass, task: Task) -> Iterator[Task]:
        stage = each.stage
        assert isinstance(stage, BlockStage)
        block, wanted = self.block(task), set()
        for name in stage.inputs:
            if name in self.external:
                continue
            writer, artifact = self.writers[name]
            if isinstance(artifact, TableArtifact):
                wanted.add(Task(writer.name, 0, task.index))
            else:
                positions = self.grid.covering(stage.read_box(name, block))
                wanted |= {
                    Task(writer.name, 0, (z, y, x))
                    for z in range(positions.start[0], positions.stop[0])
                    for y in range(positions.start[1], positions.stop[1])
                    for x in range(positions.start[2], positions.stop[2])
                }
        wanted.discard(task)  # fused stages read what their own lower neighbours wrote
        yield from sorted(wanted)

    def record(self) -> dict[str, Any]:
        """Return the plan as plain values that `from_record` reads."""
        return {
            "workflow": self.workflow.plain(),
            "domain": [self.domain.start, self.domain.stop],
            "voxel_size_nm": self.voxel_size_nm,
            "external": self.external,
            "edges_url": self.edges_url,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Plan:
        """Read a plan back."""
        try:
            start, stop = record["domain"]
            domain = Box(as_triple(start), as_triple(stop))
            z, y, x = record["voxel_size_nm"]
        except (TypeError, ValueError) as error:
            raise InputError(
                f"a dataset's record says domain {record['domain']} and voxels of {record['voxel_size_nm']} nm, "
                "wanted are two corners and a size along z, y, x: restore its dataset.json"
            ) from error
        return cls(
            Workflow.parse(record["workflow"]),
            domain,
            (z, y, x),
            dict(record["external"]),
            record.get("edges_url"),
        )
