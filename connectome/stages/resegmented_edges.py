"""Edges between objects of flood filling, scored by filling them anew where they touch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from connectome.geometry import Block, Box, Halo, Triple, as_triple
from connectome.kernels.contact_faces import contact_faces
from connectome.kernels.edges import block_graph
from connectome.models.flood_filling import FillOptions
from connectome.models.resegmentation import PairScores, resegment_pair
from connectome.models.subvolumes import Subvolumes
from connectome.stages.agglomeration import Agglomeration
from connectome.stages.edges import Edges, tables_of
from connectome.stages.filling_stage import FillingStage
from connectome.stages.flood_filling import FloodFilling
from connectome.stages.stage import Artifact, Columns, Stage, TableArtifact, VoxelSize

Labels = npt.NDArray[np.uint64]
RESEGMENTATIONS = {
    **dict.fromkeys(("a", "b"), "uint64"),
    **dict.fromkeys(("z", "y", "x"), "int64"),
    **dict.fromkeys(asdict(PairScores()), "float32"),
    "affinity": "uint8",
}
"""One row for each pair that was filled anew: the pieces, the voxel around which, and what came of it."""


class ResegmentedEdges(FillingStage):
    """Write what `edges` writes, with the affinity of every pair of pieces from fills of both around their contact."""

    inputs: ClassVar[tuple[str, ...]] = ("image", "objects", "fragments", "face_links")
    outputs: ClassVar[tuple[Artifact, ...]] = (*Edges.outputs, TableArtifact("resegmentations", RESEGMENTATIONS))

    stage: Literal["resegmented_edges"] = "resegmented_edges"
    radius: Triple = (40, 40, 40)
    """Voxels (z, y, x) around the middle of a contact that are filled anew."""
    min_overlap: float = Field(default=0.8, ge=0, le=1)
    """Pairs whose two fills have a smaller intersection over union have affinity 0."""
    max_deleted: float = Field(default=0.02, ge=0)
    """Pairs of which a fill took back a larger share of its voxels have affinity 0."""
    min_contact: int = Field(default=1, ge=1)
    """Pairs that touch at fewer faces have affinity 0 and are not filled anew."""

    @model_validator(mode="after")
    def _radius_goes_beyond_the_field_of_view(self) -> Self:
        reach = [size // 2 for size in self.field_of_view]
        if min(self.subvolume) < 1 or any(r <= n for r, n in zip(self.radius, reach, strict=True)):
            raise ValueError(
                f"subvolume is {self.subvolume} and radius {self.radius}: subvolumes must have voxels, and the radius "
                f"be more than half the field of view {self.field_of_view}, which could not move"
            )
        return self

    def check_beside(self, stages: Sequence[Stage]) -> None:
        for stage in stages:
            if isinstance(stage, FloodFilling) and stage.subvolume != self.subvolume:
                raise ValueError(
                    f"resegmented_edges.subvolume is {self.subvolume}, but that of flood_filling {stage.subvolume}: "
                    "they are of one grid, so set them to one of them"
                )
            if isinstance(stage, Agglomeration) and stage.linkage != "mean":
                raise ValueError(
                    f"agglomeration.linkage is {stage.linkage!r}, but resegmented_edges gives means: set it to 'mean'"
                )

    @property
    def subvolumes(self) -> Subvolumes:
        """The grid of subvolumes; the margin is the reach of a pair whose contact lies at a low face."""
        z, y, x = (r + 1 for r in self.radius)
        return Subvolumes(self.subvolume, (z, y, x), (1, 1, 1))

    def halo(self, name: str, voxel_size_nm: VoxelSize) -> Halo:  # noqa: ARG002
        return Halo(low=(1, 1, 1)) if name == "fragments" else Halo.symmetric(self.subvolumes.margin)

    def read_box(self, name: str, block: Block) -> Box:
        if name == "fragments":
            return super().read_box(name, block)
        return self.subvolumes.read_box(block.write_box, block.domain, filled=True)

    def process(
        self,
        block: Block,
        *,
        image: npt.NDArray[np.uint8],
        objects: Labels,
        fragments: Labels,
        face_links: Columns,
    ) -> dict[str, Any]:
        linked = face_links["linked"].astype(np.bool_)
        # All contacts of the subvolumes that the block meets, so that the middle of each is that of the whole.
        seen = self.subvolumes.read_box(block.write_box, block.domain, filled=False)
        read_box = self.read_box("objects", block)
        faces = contact_faces(objects[seen.relative_to(read_box.start).slices])
        voxels = faces.voxel + np.array(seen.start)
        middles = faces.central_voxels() + np.array(seen.start)
        is_ours = self._are_apart(block, faces.axis, voxels, fragments, linked)
        n_faces = np.bincount(faces.pair, minlength=len(faces.pairs))
        affinity_of = np.zeros(len(faces.pairs), np.uint8)
        rows = []
        for number in np.unique(faces.pair[is_ours & (n_faces[faces.pair] >= self.min_contact)]):
            a, b = (int(piece) for piece in faces.pairs[number])
            middle = as_triple([int(place) for place in middles[number]])
            row = self._resegment(block, read_box, image, objects, (a, b), middle)
            affinity_of[number] = row["affinity"]
            if block.write_box.contains(_voxel(middle)):
                rows.append(row)
        affinities = np.zeros((3, *block.write_box.shape), np.uint8)
        places = (voxels - np.array(block.write_box.start))[is_ours]
        affinities[(faces.axis[is_ours], *places.T)] = affinity_of[faces.pair[is_ours]]
        boxes = (self.read_box("fragments", block), block.write_box, block.domain)
        tables = tables_of(block_graph(fragments, affinities, linked, *boxes))
        columns = {name: np.array([row[name] for row in rows], dtype) for name, dtype in RESEGMENTATIONS.items()}
        return {**tables, "resegmentations": columns}

    def _are_apart(
        self,
        block: Block,
        axis: npt.NDArray[np.int64],
        voxels: npt.NDArray[np.int64],
        fragments: Labels,
        linked: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.bool_]:
        """Tell which faces the block owns whose sides reconciliation has not joined."""
        start, shape = np.array(block.write_box.start), np.array(block.write_box.shape)
        apart: npt.NDArray[np.bool_] = np.all((voxels >= start) & (voxels < start + shape), axis=1)
        origin = self.read_box("fragments", block).start
        first = 0
        for k in range(3):
            rows = np.flatnonzero(apart & (axis == k))
            here = voxels[rows] - origin
            below = here - np.eye(3, dtype=np.int64)[k]
            apart[rows] = fragments[tuple(here.T)] != fragments[tuple(below.T)]
            plane = np.delete(shape, k)
            at_face = rows[voxels[rows, k] == start[k]]
            place = np.ravel_multi_index(tuple(np.delete(voxels[at_face] - start, k, axis=1).T), tuple(plane))
            apart[at_face] &= ~linked[first + place]
            first += int(plane.prod())
        return apart

    def _resegment(
        self,
        block: Block,
        read_box: Box,
        image: npt.NDArray[np.uint8],
        objects: Labels,
        pair: tuple[int, int],
        middle: Triple,
    ) -> dict[str, Any]:
        """Return the row of a pair: a function of image and pieces around the middle of its contact alone."""
        box = _voxel(middle).grow(Halo.symmetric(self.radius)).intersect(block.domain)
        place = box.relative_to(read_box.start).slices
        labels = objects[place]
        own = np.zeros(labels.shape, np.bool_)
        for piece in pair:
            # Pieces of other subvolumes are no obstacles: reconciliation may have made them parts of the pair.
            subvolume = self._subvolume_of(piece, block.domain).intersect(box)
            own[subvolume.relative_to(box.start).slices] = True
        masks = labels == pair[0], labels == pair[1]
        obstacles = own & (labels != 0) & ~masks[0] & ~masks[1]
        found = resegment_pair(self.network, image[place], masks, obstacles, self.options, block.voxel_size_nm)
        is_one = found.overlap >= self.min_overlap and found.deleted <= self.max_deleted
        place_columns = dict(zip("zyx", middle, strict=True))
        affinity = round(255 * found.recovered) if is_one else 0
        return {"a": pair[0], "b": pair[1], **place_columns, **asdict(found), "affinity": affinity}

    def _subvolume_of(self, piece: int, domain: Box) -> Box:
        """Return the box of the subvolume that a piece lies in: its id is that of its first voxel."""
        place = np.unravel_index(piece - 1, domain.shape)
        first = _voxel(as_triple([int(n) + a for n, a in zip(place, domain.start, strict=True)]))
        return self.subvolumes.box(self.subvolumes.numbers_meeting(first, domain)[0], domain)

    @property
    def options(self) -> FillOptions:
        """Options as flood filling takes them."""
        return FillOptions(move_threshold=self.move_threshold, segment_threshold=self.segment_threshold)

    def peak_bytes(self, block: Block) -> int:
        seen = self.subvolumes.read_box(block.write_box, block.domain, filled=False).n_voxels
        filled = Box.of_shape(as_triple([2 * r + 1 for r in self.radius])).n_voxels
        return 30 * seen + 27 * block.write_box.n_voxels + 60 * filled + 2 * self.network.field_bytes


def _voxel(place: Triple) -> Box:
    return Box(place, as_triple([n + 1 for n in place]))
