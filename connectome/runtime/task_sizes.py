"""How large tasks are: what their time depends on, for single tasks and for whole passes of any volume.

A block is as large as its own voxels and the voxels that it reads, halo included and cut at the volume's
faces. A node of a tree is as large as its voxels and the faces over which clusters wait: those of what it
joins, as far as they do not lie on the volume's faces. Both are sums of products over the three axes, so
that a pass of any number of tasks takes as long as its longest axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectome.geometry import Block, Triple
from connectome.stages import BlockStage
from connectome.stages.stage import TableArtifact
from connectome.workflow.plan import Pass, Plan

Numbers = npt.NDArray[np.float64]
Axes = tuple[Numbers, Numbers, Numbers]
"""One value for every position along z, y and x."""
N_SIZES = 3
"""One per task, its own voxels, and what it reads or what waits for it."""


@dataclass(frozen=True)
class Level:
    """Tasks of one level of a pass.

    Attributes
    ----------
    kind : str
        Tasks of one kind take time alike: ``block``, ``leaf``, ``node``, or the phase of a root in parts.
    first : int
        Number in the pass of its first task.
    shape : (z, y, x)
        Tasks along each axis.
    lengths : per axis
        Voxels along the axis.
    products : sequence of per axis
        Third size of a task: the sum, over these, of the product over the axes.
    """

    kind: str
    first: int
    shape: Triple
    lengths: Axes
    products: tuple[Axes, ...]

    @property
    def n_tasks(self) -> int:
        return math.prod(self.shape)

    def sizes(self, numbers: npt.NDArray[np.int64]) -> Numbers:
        """Return the sizes of tasks by their numbers in the pass, a row for each."""
        positions = np.unravel_index(numbers - self.first, self.shape)
        return np.stack(
            [
                np.ones(len(numbers)),
                _at(self.lengths, positions),
                np.sum([_at(each, positions) for each in self.products], axis=0) + np.zeros(len(numbers)),
            ],
            axis=1,
        )

    def total(self) -> Numbers:
        """Return the sum of the sizes of all tasks."""
        third = sum(_product(each) for each in self.products)
        return np.array([self.n_tasks, _product(self.lengths), third], dtype=np.float64)


def levels(plan: Plan, each: Pass) -> Iterator[Level]:
    """Yield the levels of a pass, in the order of their numbers."""
    if each.kind == "block":
        yield _blocks(plan, each)
        return
    first = 0
    below: Level | None = None
    for number in range(each.top_level + 1):
        level = _nodes(each, number, first, below)
        yield level
        below, first = level, first + level.n_tasks
    steps = each.steps
    if each.kind == "reduce" and steps is not None:
        assert below is not None
        top = below
        for number in range(each.top_level + 1, each.n_levels):
            shape = steps.shape_at(number)
            alone = shape != top.shape
            lengths = _summed(top.lengths) if alone else top.lengths
            products = tuple(_summed(axes) for axes in top.products) if alone else top.products
            level = Level(steps.phase(number), first, shape, lengths, products)
            yield level
            first += level.n_tasks


def _blocks(plan: Plan, each: Pass) -> Level:
    stage, shape = each.stage, each.grid.shape
    assert isinstance(stage, BlockStage)
    volumes = [
        name
        for name in stage.inputs
        if name not in plan.writers or not isinstance(plan.writers[name][1], TableArtifact)
    ]
    own: list[list[int]] = [[], [], []]
    read: list[list[list[int]]] = [[[], [], []] for _ in volumes]
    for axis in range(3):
        for place in range(shape[axis]):
            block = Block(each.grid.box_at(_place(axis, place)), plan.domain, plan.voxel_size_nm)
            own[axis].append(block.write_box.shape[axis])
            for n, name in enumerate(volumes):
                read[n][axis].append(stage.read_box(name, block).shape[axis])
    return Level("block", 0, shape, _axes(own), tuple(_axes(each_read) for each_read in read))


def _nodes(each: Pass, number: int, first: int, below: Level | None) -> Level:
    """Return a level of a tree: what waits in a node is what its children left at their faces."""
    tree, shape = each.tree, each.tree.shape(number)
    lengths: list[list[int]] = [[], [], []]
    faces: list[list[int]] = [[], [], []]
    for axis in range(3):
        for place in range(shape[axis]):
            lengths[axis].append(tree.box(number, _place(axis, place)).shape[axis])
            if number == 0:
                joined, n_below = {place}, shape[axis]
            else:
                joined = {child[axis] for child in tree.children(number, _place(axis, place))}
                n_below = tree.shape(number - 1)[axis]
            faces[axis].append(sum((at > 0) + (at < n_below - 1) for at in joined))
    own, waits = _axes(lengths), _axes(faces)
    products = tuple(_replaced(own, axis, waits[axis]) for axis in range(3))
    return Level("leaf" if below is None else "node", first, shape, own, products)


def _place(axis: int, place: int) -> Triple:
    z, y, x = (place if n == axis else 0 for n in range(3))
    return z, y, x


def _axes(values: list[list[int]]) -> Axes:
    z, y, x = (np.array(along, dtype=np.float64) for along in values)
    return z, y, x


def _replaced(axes: Axes, axis: int, values: Numbers) -> Axes:
    z, y, x = (values if n == axis else along for n, along in enumerate(axes))
    return z, y, x


def _summed(axes: Axes) -> Axes:
    z, y, x = (np.array([along.sum()]) for along in axes)
    return z, y, x


def _product(axes: Axes) -> float:
    return math.prod(float(along.sum()) for along in axes)


def _at(axes: Axes, positions: tuple[npt.NDArray[np.intp], ...]) -> Numbers:
    z, y, x = (along[place] for along, place in zip(axes, positions, strict=True))
    return np.asarray(z * y * x)
