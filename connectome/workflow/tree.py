"""The octree over the blocks of a grid, and with cells one octree in every cell and one over the cells.

Nothing is stored per node: boxes, children and parents are computed from levels and grid positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from connectome.geometry import Box, Grid, Triple, as_triple


@dataclass(frozen=True)
class Tree:
    """Nodes of up to 2 x 2 x 2 nodes of the level below, the blocks of `grid` being level 0.

    Attributes
    ----------
    grid : Grid
        The blocks.
    cells : (z, y, x), optional
        Shape of the cells in voxels, whole blocks along each axis or at least the grid's box. No node
        below the level of the cells reaches over a cell's face: numbers of blocks need not be powers of two.
    """

    grid: Grid
    cells: Triple | None = None

    @cached_property
    def _blocks_per_cell(self) -> Triple:
        if self.cells is None:
            return self.grid.shape
        sizes = zip(self.grid.shape, self.cells, self.grid.block_shape, strict=True)
        return as_triple([min(n, -(-cell // block)) for n, cell, block in sizes])

    @cached_property
    def cell_level(self) -> int:
        """Level whose nodes are the cells; without cells, the root's."""
        return (max(self._blocks_per_cell) - 1).bit_length()

    @cached_property
    def n_levels(self) -> int:
        return 1 + self.cell_level + (max(self.shape(self.cell_level)) - 1).bit_length()

    def shape(self, level: int) -> Triple:
        """Return the number of nodes along each axis."""
        sizes = []
        for n_blocks, per_cell in zip(self.grid.shape, self._blocks_per_cell, strict=True):
            n_whole, rest = divmod(n_blocks, per_cell)
            if level < self.cell_level:
                sizes.append(n_whole * _halved(per_cell, level) + _halved(rest, level))
            else:
                sizes.append(_halved(n_whole + (rest > 0), level - self.cell_level))
        return as_triple(sizes)

    def box(self, level: int, index: Triple) -> Box:
        """Return the box of a node."""
        start, stop = [], []
        axes = zip(index, self._blocks_per_cell, self.grid.box.start, self.grid.block_shape, strict=True)
        for i, per_cell, origin, block in axes:
            above = level - self.cell_level
            if above >= 0:
                low, high = (i << above) * per_cell, ((i + 1) << above) * per_cell
            else:
                cell, inner = divmod(i, _halved(per_cell, level))
                low = cell * per_cell + (inner << level)
                high = min(low + (1 << level), (cell + 1) * per_cell)
            start.append(origin + low * block)
            stop.append(origin + high * block)
        return Box(as_triple(start), as_triple(stop)).intersect(self.grid.box)

    def children(self, level: int, index: Triple) -> Iterator[Triple]:
        """Yield the grid positions of a node's children at the level below."""
        if level == 0:
            return
        ranges = []
        for i, n_below, per_cell in zip(index, self.shape(level - 1), self._blocks_per_cell, strict=True):
            if level > self.cell_level:
                ranges.append(range(2 * i, min(2 * i + 2, n_below)))
            else:
                cell, inner = divmod(i, _halved(per_cell, level))
                below = _halved(per_cell, level - 1)
                low = cell * below + 2 * inner
                ranges.append(range(low, min(low + 2, (cell + 1) * below, n_below)))
        for z in ranges[0]:
            for y in ranges[1]:
                for x in ranges[2]:
                    yield z, y, x

    def parent(self, level: int, index: Triple) -> Triple:
        """Return the grid position of the node's parent at the level above."""
        if level >= self.cell_level:
            return as_triple([i // 2 for i in index])
        parent = []
        for i, per_cell in zip(index, self._blocks_per_cell, strict=True):
            cell, inner = divmod(i, _halved(per_cell, level))
            parent.append(cell * _halved(per_cell, level + 1) + inner // 2)
        return as_triple(parent)


def _halved(n: int, times: int) -> int:
    """Return how many nodes cover n blocks after halving so many times."""
    return -(-n >> times)
