"""The tables of agglomeration without affinities, for fragments that are only to be united over faces of blocks."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from connectome.geometry import Block, Halo
from connectome.kernels.edges import block_graph
from connectome.stages.edges import Edges, tables_of
from connectome.stages.stage import Artifact, BlockStage, Columns, VoxelSize


class UnscoredEdges(BlockStage):
    """Write what `edges` writes, every contact with affinity 0: agglomeration then unites what is linked alone."""

    inputs: ClassVar[tuple[str, ...]] = ("fragments", "face_links")
    outputs: ClassVar[tuple[Artifact, ...]] = Edges.outputs

    version: ClassVar[int] = 2

    stage: Literal["unscored_edges"] = "unscored_edges"

    def halo(self, name: str, voxel_size_nm: VoxelSize) -> Halo:  # noqa: ARG002
        return Halo(low=(1, 1, 1))

    def process(self, block: Block, *, fragments: npt.NDArray[np.uint64], face_links: Columns) -> dict[str, Any]:
        boxes = (self.read_box("fragments", block), block.write_box, block.domain)
        affinities = np.zeros((3, *block.write_box.shape), np.uint8)
        graph = block_graph(fragments, affinities, face_links["linked"].astype(np.bool_), *boxes)
        return tables_of(graph)

    def peak_bytes(self, block: Block) -> int:
        return 27 * block.write_box.n_voxels
