"""The root's memory, estimated against measured: `python -m benchmarks.root`, a table for docs/running.md.

Segments growing crops of FIB-25 (affinities predicted by the shipped network) and of phantoms (affinities
derived from their truth) up to the root of the tree. Measured are the bytes of the rows that the root reads,
and these with what reducing it takes at most; estimated is what `connectome plan` says, without the worker's
process.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.derivation import Appearance, derive_affinities
from benchmarks.inputs import SOURCES, UnavailableError
from benchmarks.machine import peak_of
from connectome.geometry import Block, Box, Grid, Triple
from connectome.phantom import generate
from connectome.stages.agglomeration import Agglomeration
from connectome.stages.edges import Edges
from connectome.stages.fragments import Fragments
from connectome.stages.stage import Columns
from connectome.workflow.memory import rows_in, tree_bytes
from connectome.workflow.tree import Tree

BLOCK: Triple = (32, 32, 32)
VOXEL_SIZE_NM = (10.0, 10.0, 10.0)
FRAGMENTS, EDGES = Fragments(smoothing=2), Edges()
AGGLOMERATION = Agglomeration(threshold=0.65, small_size=1000, small_threshold=0.3)
Tables = dict[str, Columns]


@dataclass(frozen=True)
class RootMemory:
    """Bytes of the rows that a root reads, and of all that it takes at most."""

    estimated_rows: int
    rows: int
    estimated_peak: int
    peak: int | None


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="96,128,160,192,224,250", help="edges of the crops in voxels")
    sizes = [int(size) for size in parser.parse_args().sizes.split(",")]
    print("| input | rows, estimated | measured | root's memory, estimated | measured |\n|---|---|---|---|---|")
    for name, affinities in inputs(sizes):
        found = measure_root(affinities)
        numbers = (found.estimated_rows, found.rows, found.estimated_peak, found.peak)
        cells = ["not known here" if number is None else f"{number / 1e6:.1f} MB" for number in numbers]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def inputs(sizes: list[int]) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """Yield crops of both kinds."""
    try:
        cube = SOURCES[0].make()
        for size in sizes:
            yield f"FIB-25 {size}^3", np.ascontiguousarray(cube[:, :size, :size, :size])
    except UnavailableError as error:
        print(f"| FIB-25: {error} | | | | |")
    for size in sizes:
        yield f"phantom {size}^3", phantom(size)


def phantom(size: int) -> npt.NDArray[np.uint8]:
    """Derive affinities of synthetic tissue."""
    _, truth = generate(Box.of_shape((size, size, size)), seed=0, voxel_size_nm=VOXEL_SIZE_NM)
    return derive_affinities(truth, Appearance())


def measure_root(affinities: npt.NDArray[np.uint8]) -> RootMemory:
    """Segment up to the root, block by block, and measure what that takes."""
    grid = Grid(Box.of_shape(affinities.shape[1:]), BLOCK)
    tree, below = Tree(grid), block_tables(affinities, grid)
    top = tree.n_levels - 1
    for level in range(top):
        indices = Grid(Box.of_shape(tree.shape(level)), (1, 1, 1)).indices()
        below = {index: reduce(tree, level, index, below) for index in indices}
    root: Triple = (0, 0, 0)
    rows = sum(values.nbytes for tables in below.values() for table in tables.values() for values in table.values())
    _, peak = peak_of(lambda: reduce(tree, top, root, below))
    return RootMemory(int(rows_in(tree, top, root)), rows, tree_bytes(tree), None if peak is None else rows + peak)


def reduce(tree: Tree, level: int, index: Triple, below: dict[Triple, Tables]) -> Tables:
    """Reduce a node of the tables of the level below, or of the block's own; return what it hands up."""
    children = [(tree.box(level - 1, child), below[child]) for child in tree.children(level, index)]
    box = tree.box(level, index)
    made = AGGLOMERATION.reduce(box, children or [(box, below[index])], tree.grid.box)
    return {name: made[kept] for name, kept in zip(AGGLOMERATION.inputs, AGGLOMERATION.carried, strict=True)}


def block_tables(affinities: npt.NDArray[np.uint8], grid: Grid) -> dict[Triple, Tables]:
    """Cut fragments and measure edges in every block."""
    labels, links, tables = np.zeros(grid.box.shape, np.uint64), {}, {}
    blocks = {index: Block(grid.box_at(index), grid.box, VOXEL_SIZE_NM) for index in grid.indices()}
    for index, block in blocks.items():
        seen = affinities[(slice(None), *FRAGMENTS.read_box("affinities", block).slices)]
        made = FRAGMENTS.process(block, affinities=np.ascontiguousarray(seen))
        labels[block.write_box.slices], links[index] = made["fragments"], made["face_links"]
    for index, block in blocks.items():
        tables[index] = EDGES.process(
            block,
            fragments=np.ascontiguousarray(labels[EDGES.read_box("fragments", block).slices]),
            affinities=np.ascontiguousarray(affinities[(slice(None), *block.write_box.slices)]),
            face_links=links[index],
        )
    return tables


if __name__ == "__main__":
    main()
