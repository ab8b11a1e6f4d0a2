"""Objects of neighbouring subvolumes become one where both saw the same in the slab that they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from connectome.geometry import Block, Box, Halo, Triple
from connectome.kernels.components import first_voxels, ids_of_voxels
from connectome.kernels.contingency import contingency
from connectome.kernels.label_numbers import number_labels
from connectome.kernels.merge_tree import unite_pairs
from connectome.metrics.seams import SEAMS, overlap_ratios
from connectome.models.subvolumes import Subvolumes, slab_objects
from connectome.stages.flood_filling import FloodFilling
from connectome.stages.stage import Artifact, BlockStage, Columns, Stage, TableArtifact, VolumeArtifact, VoxelSize

Labels = npt.NDArray[np.uint64]
Pairs = set[tuple[int, int]]


class Reconciliation(BlockStage):
    """Join the objects of subvolumes over their faces, and measure how well neighbours agree."""

    inputs: ClassVar[tuple[str, ...]] = ("objects", "pieces", "overlaps")
    outputs: ClassVar[tuple[Artifact, ...]] = (
        VolumeArtifact("fragments", "uint64"),
        TableArtifact("face_links", {"linked": "bool"}),
        TableArtifact("seams", SEAMS),
    )

    stage: Literal["reconciliation"] = "reconciliation"
    subvolume: Triple = (128, 128, 128)
    """Voxels (z, y, x) of a subvolume; the same as of `flood_filling`."""
    depth: Triple = (16, 16, 16)
    """Voxels (z, y, x) of the slabs that neighbours share: margin less half the field of view of `flood_filling`."""
    min_agreement: float = Field(default=0.5, ge=0.5, le=1)
    """Objects of two neighbours are one if their common voxels in the slab are at least this share of their union."""

    @property
    def subvolumes(self) -> Subvolumes:
        return Subvolumes(self.subvolume, self.depth, self.depth)

    def check_beside(self, stages: Sequence[Stage]) -> None:
        for filling in stages:
            if isinstance(filling, FloodFilling):
                wanted, found = (filling.subvolume, filling.subvolumes.depth), (self.subvolume, self.depth)
                if wanted != found:
                    raise ValueError(
                        f"reconciliation.subvolume and depth are {found}, but flood_filling gives {wanted}: they are "
                        "of one grid, so set them to these"
                    )

    def halo(self, name: str, voxel_size_nm: VoxelSize) -> Halo:  # noqa: ARG002
        return Halo(low=self.depth)

    def read_box(self, name: str, block: Block) -> Box:  # noqa: ARG002
        return self.subvolumes.read_box(block.write_box, block.domain, filled=False)

    def process(self, block: Block, *, objects: Labels, pieces: Columns, overlaps: Columns) -> dict[str, Any]:
        read_box = self.read_box("objects", block)
        joined, seams = self._compare(block, objects, read_box, overlaps)
        owner = dict(zip(pieces["piece"].tolist(), pieces["object"].tolist(), strict=True))
        inside = np.ascontiguousarray(objects[block.write_box.relative_to(read_box.start).slices])
        ids, _, numbers = number_labels(inside)
        ends = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for here, below in self._faces_inside(block, inside):
            pairs = _joined(here, below, joined, owner)
            for k, end in enumerate(ends):
                end.append(np.searchsorted(ids, pairs[:, k]) + 1)
        united = unite_pairs(ids.size + 1, np.concatenate(ends[0]), np.concatenate(ends[1]))
        first = first_voxels(united[numbers])
        fragments = ids_of_voxels(first, block.write_box, block.domain)[united[numbers]]
        linked = [self._links(block, axis, objects, read_box, joined, owner).reshape(-1) for axis in range(3)]
        return {"fragments": fragments, "face_links": {"linked": np.concatenate(linked)}, "seams": seams}

    def _compare(self, block: Block, objects: Labels, read_box: Box, overlaps: Columns) -> tuple[Pairs, Columns]:
        """Return the pairs (object, piece below) that are one, and the table of what meets in the slabs."""
        joined: Pairs = set()
        rows: list[Columns] = []
        for number in self.subvolumes.numbers_meeting(block.write_box, block.domain):
            box = self.subvolumes.box(number, block.domain)
            for axis in range(3):
                slab = self.subvolumes.slab(box, axis, block.domain)
                mine = slab_objects(overlaps, number, axis, slab)
                pairs, counts = contingency(mine, objects[slab.relative_to(read_box.start).slices])
                is_one = overlap_ratios(pairs, counts) >= self.min_agreement
                joined |= {(int(a), int(b)) for a, b in pairs[is_one]}
                # A subvolume that several blocks cut is counted by the one that has its first voxel.
                if block.write_box.contains(Box(box.start, tuple(s + 1 for s in box.start))):  # type: ignore[arg-type]
                    rows.append(_seam_rows(number, axis, pairs, counts, is_one))
        empty = {name: np.zeros(0, dtype) for name, dtype in SEAMS.items()}
        return joined, {name: np.concatenate([part[name] for part in [empty, *rows]]) for name in SEAMS}

    def _faces_inside(self, block: Block, inside: Labels) -> Iterator[tuple[Labels, Labels]]:
        """Yield the planes of labels on both sides of every face of subvolumes inside the block."""
        for axis in range(3):
            start, stop = block.write_box.start[axis], block.write_box.stop[axis]
            for plane in range(start + 1, stop):
                if (plane - block.domain.start[axis]) % self.subvolume[axis] == 0:
                    yield np.take(inside, plane - start, axis), np.take(inside, plane - start - 1, axis)

    def _links(
        self, block: Block, axis: int, objects: Labels, read_box: Box, joined: Pairs, owner: dict[int, int]
    ) -> npt.NDArray[np.bool_]:
        """Tell for each voxel at the block's low face of `axis` whether it is linked with the one below."""
        box, start = block.write_box, block.write_box.start[axis]
        if start == block.domain.start[axis]:
            return np.zeros([n for k, n in enumerate(box.shape) if k != axis], np.bool_)
        planes = list(box.relative_to(read_box.start).slices)
        planes[axis] = slice(start - read_box.start[axis] - 1, start - read_box.start[axis] + 1)
        below, here = (np.take(objects[tuple(planes)], side, axis) for side in (0, 1))
        if (start - block.domain.start[axis]) % self.subvolume[axis]:
            return np.asarray((here == below) & (here != 0))
        linked = np.zeros(here.shape, np.bool_)
        for a, b in _joined(here, below, joined, owner):
            linked |= (here == a) & (below == b)
        return linked

    def peak_bytes(self, block: Block) -> int:
        slab = max(self.subvolume[k] * self.subvolume[k - 1] * self.depth[k - 2] for k in range(3))
        return 40 * block.write_box.n_voxels + 24 * slab


def _joined(here: Labels, below: Labels, joined: Pairs, owner: dict[int, int]) -> Labels:
    """Return the pairs of pieces, shape (n, 2), that touch over a face and are one."""
    pairs, _ = contingency(here, below)
    kept = [(owner.get(int(a), 0), int(b)) in joined for a, b in pairs]
    return pairs[np.array(kept, np.bool_)]


def _seam_rows(
    number: int, axis: int, pairs: Labels, counts: npt.NDArray[np.int64], is_one: npt.NDArray[np.bool_]
) -> Columns:
    whose: Columns = {"subvolume": np.full(counts.size, number, np.int64), "axis": np.full(counts.size, axis, np.uint8)}
    return {**whose, "a": pairs[:, 0], "b": pairs[:, 1], "count": counts, "joined": is_one}
