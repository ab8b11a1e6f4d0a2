"""Memory of the tree's tasks, estimated before anything runs, against what a worker has.

What a node hands up is a part per voxel (what waits for neurites that go on) and a part per voxel of its
faces (pieces and contacts there). The constants are measured by ``python -m benchmarks.root``.
"""

from __future__ import annotations

import math
import os

from connectome.errors import InputError
from connectome.geometry import Box, Triple, as_triple
from connectome.workflow.root_steps import RootSteps
from connectome.workflow.tree import Tree

PROCESS_BYTES = 350_000_000
"""A worker with its libraries, before it holds any voxel (measured)."""
BYTES_PER_VOXEL, BYTES_PER_FACE_VOXEL = 0.058, 26.6
"""Rows that a node hands up: per voxel, and per voxel of its faces that are not the volume's."""
TABLE_BYTES_PER_VOXEL = 0.2
"""Rows that a block of FIB-25 leaves: about 1 fragment and 6 edges per 1,000 voxels."""
BYTES_PER_BYTE = 4.2
"""Memory of reducing a node by bytes of its children's rows."""
EXPAND_PART = 8
"""Reducing a node takes so many times what expanding it takes, which reads and writes names alone: 9 to 12 times with
four gigavoxels under the root (``python -m benchmarks.gigavoxels``)."""
LINK_BYTES_PER_FACE_VOXEL, LINK_BYTES_PER_EDGE_VOXEL = 38, 4800
"""Memory of the task of a root in parts that unites what is linked where faces of top nodes meet: fragments reach
some 30 voxels to both sides of the edges there (37 linked pairs per voxel on FIB-25), and no farther than faces."""


def worker_memory(memory_gb: float | None, n_workers: int) -> int:
    """Return a worker's memory: as stated, or its share of this machine's."""
    if memory_gb is not None:
        return int(memory_gb * 1e9)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // n_workers


def readable_bytes(number: float) -> str:
    """Return a number of bytes in the largest unit that leaves 1 or more."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            return f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError


def refuse_larger(task: str, peak_bytes: int, memory_bytes: int, advice: str) -> None:
    """Refuse a task that needs more memory than a worker has; `advice` says what to do."""
    if peak_bytes > memory_bytes:
        raise InputError(
            f"{task} takes about {readable_bytes(peak_bytes)} in one task, but a worker has "
            f"{readable_bytes(memory_bytes)}: {advice}"
        )


def face_voxels(box: Box, domain: Box) -> int:
    """Voxels of the box's faces that are not faces of the domain."""
    total = 0
    for axis, n in enumerate(box.shape):
        n_inner = (box.start[axis] > domain.start[axis]) + (box.stop[axis] < domain.stop[axis])
        total += n_inner * box.n_voxels // n
    return total


def rows_up(tree: Tree, level: int, index: Triple) -> float:
    """Estimate the bytes of rows that a node hands up."""
    box = tree.box(level, index)
    at_faces = BYTES_PER_FACE_VOXEL * face_voxels(box, tree.grid.box)
    # In cells nothing waits for what touches a face, but what touches it itself.
    is_joined = tree.cells is not None and level >= tree.cell_level
    return at_faces if is_joined else at_faces + BYTES_PER_VOXEL * box.n_voxels


def rows_in(tree: Tree, level: int, index: Triple) -> float:
    """Estimate the bytes of rows that a node reads."""
    if level == 0:
        box = tree.box(0, index)
        return TABLE_BYTES_PER_VOXEL * box.n_voxels + BYTES_PER_FACE_VOXEL * face_voxels(box, tree.grid.box)
    return sum(rows_up(tree, level - 1, child) for child in tree.children(level, index))


def node_bytes(tree: Tree, level: int, index: Triple) -> float:
    """Estimate the memory of reducing a node beside its process."""
    return BYTES_PER_BYTE * rows_in(tree, level, index)


def tree_bytes(tree: Tree, steps: RootSteps | None = None) -> int:
    """Estimate the memory of the tree's largest task beside its process; O(levels) whatever the volume."""
    top_level = tree.n_levels - 1 if steps is None else steps.top_level
    middles = [as_triple([(n - 1) // 2 for n in tree.shape(level)]) for level in range(top_level + 1)]
    largest = max(node_bytes(tree, level, index) for level, index in enumerate(middles))
    if steps is not None:
        domain, top = tree.grid.box, tree.box(top_level, middles[top_level])
        opened = BYTES_PER_VOXEL * top.n_voxels + 2 * BYTES_PER_FACE_VOXEL * face_voxels(top, domain)
        largest = max(largest, BYTES_PER_BYTE * opened, _link_bytes(domain, steps.shape))
    return int(largest)


def _link_bytes(domain: Box, n_nodes: Triple) -> float:
    z, y, x = (n - 1 for n in n_nodes)
    length_z, length_y, length_x = domain.shape
    faces = z * length_y * length_x + y * length_z * length_x + x * length_z * length_y
    edges = y * x * length_z + z * x * length_y + z * y * length_x
    return min(LINK_BYTES_PER_FACE_VOXEL * faces, LINK_BYTES_PER_EDGE_VOXEL * edges)


def propose(tree: Tree, memory_bytes: int) -> str:
    """Say how the tree would fit: the fewest top nodes that share the root, or the largest cells."""
    room, tried = memory_bytes - PROCESS_BYTES, {}
    for level in range(tree.n_levels - 2, -1, -1):
        if tree.cells is None:
            tried[level] = tree_bytes(tree, RootSteps(tree.shape(level), level, 1))
            if tried[level] <= room:
                return f"set agglomeration.root_level to {level}, which gives the same result"
    for level in range(max(tree.grid.shape).bit_length(), -1, -1):
        cells = as_triple([n << level for n in tree.grid.block_shape])
        if tree_bytes(Tree(tree.grid, cells)) <= room:
            return (
                f"set agglomeration.cells to {','.join(map(str, cells))}, which is another result, or give more memory"
            )
    if not tried:
        return "give workers more memory, or segment parts of the volume"
    best = min(tried, key=lambda level: tried[level])
    least = (PROCESS_BYTES + tried[best]) / 1e9
    return (
        f"give workers {math.ceil(10 * least) / 10:.1f} GB and set agglomeration.root_level to {best}, which gives the "
        "same result, or segment parts of the volume"
    )
