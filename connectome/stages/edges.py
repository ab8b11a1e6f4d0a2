"""Edges between touching fragments, with the integer sums that the linkage needs."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from connectome.geometry import Block, Halo
from connectome.kernels.edges import BlockGraph, block_graph
from connectome.kernels.linkage import LinkageName
from connectome.stages.stage import Artifact, BlockStage, Columns, TableArtifact, VoxelSize

PAIR = {"a": "uint64", "b": "uint64", "level": "uint8", "sum": "int64", "count": "uint32"}
"""Columns of edge tables: one row per pair (with level 0), or for a quantile one per pair and level (with sum 0)."""


class Edges(BlockStage):
    """Measure all contacts inside blocks and over their faces."""

    inputs: ClassVar[tuple[str, ...]] = ("fragments", "affinities", "face_links")
    outputs: ClassVar[tuple[Artifact, ...]] = (
        TableArtifact("clusters", {"id": "uint64", "size": "int64"}),
        TableArtifact("edges", PAIR),
        TableArtifact("seam", {**PAIR, "linked": "bool"}),
        TableArtifact("alias", {"raw": "uint64", "id": "uint64", "faces": "uint8"}),
    )

    version: ClassVar[int] = 3

    stage: Literal["edges"] = "edges"
    linkage: LinkageName = "mean"
    """What agglomeration needs to know of a pair: ``mean``, ``maximum`` or ``quantile`` of its affinities."""
    bins: int = Field(default=16, ge=2, le=256)
    """Quantile linkage: bins of the histogram of affinities."""

    def halo(self, name: str, voxel_size_nm: VoxelSize) -> Halo:  # noqa: ARG002
        return Halo(low=(1, 1, 1)) if name == "fragments" else Halo()

    def process(
        self,
        block: Block,
        *,
        fragments: npt.NDArray[np.uint64],
        affinities: npt.NDArray[np.uint8],
        face_links: Columns,
    ) -> dict[str, Any]:
        read_box = self.read_box("fragments", block)
        linked = face_links["linked"].astype(np.bool_)
        boxes = (read_box, block.write_box, block.domain)
        graph = block_graph(fragments, affinities, linked, *boxes, linkage=self.linkage, bins=self.bins)
        return tables_of(graph)

    def peak_bytes(self, block: Block) -> int:
        return 24 * block.write_box.n_voxels


def tables_of(graph: BlockGraph) -> dict[str, Columns]:
    """Return a block's graph as the tables that agglomeration reads."""
    return {
        "clusters": graph.clusters,
        "edges": with_all_columns(graph.edges),
        "seam": with_all_columns(graph.seam),
        "alias": graph.alias,
    }


def with_all_columns(columns: Columns) -> Columns:
    """Return an edge table with the column that its linkage does not need."""
    n = columns["a"].size
    return {"level": np.zeros(n, np.uint8), "sum": np.zeros(n, np.int64), **columns}


def without_idle_column(columns: Columns, linkage: LinkageName) -> Columns:
    """Return a table without the column that its linkage does not need."""
    idle = "sum" if linkage == "quantile" else "level"
    return {name: values for name, values in columns.items() if name != idle}
