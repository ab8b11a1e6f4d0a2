"""Agglomeration of fragments into segments, exact over an octree of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from connectome.geometry import Box, Triple
from connectome.kernels.edges import BlockGraph
from connectome.kernels.linkage import QUANTILE_ONE, SCORE_ONE, Linkage, LinkageName
from connectome.kernels.merge_tree import expand_names, reduce_node
from connectome.stages.edges import PAIR, Edges, with_level
from connectome.stages.stage import Artifact, Columns, Stage, TableArtifact, TreeStage

NAMES = {"old": "uint64", "new": "uint64"}


class Agglomeration(TreeStage):
    """Merge fragments, the best pair first, until no edge acts."""

    inputs: ClassVar[tuple[str, ...]] = ("clusters", "edges", "seam", "alias")
    carried: ClassVar[tuple[str, ...]] = ("node_clusters", "node_edges", "node_seam", "node_alias")
    kept: ClassVar[tuple[str, ...]] = ("node_names",)
    expanded: ClassVar[tuple[str, ...]] = ("names",)
    outputs: ClassVar[tuple[Artifact, ...]] = (
        TableArtifact("node_clusters", {"id": "uint64", "size": "int64"}),
        TableArtifact("node_edges", PAIR),
        TableArtifact("node_seam", {**PAIR, "linked": "bool"}),
        TableArtifact("node_alias", {"raw": "uint64", "id": "uint64", "faces": "uint8"}),
        TableArtifact("node_names", NAMES),
        TableArtifact("merges", {"a": "uint64", "b": "uint64", "score": "uint64"}),
        TableArtifact("archive", PAIR),
        TableArtifact("names", NAMES),
    )

    version: ClassVar[int] = 2

    stage: Literal["agglomeration"] = "agglomeration"
    linkage: LinkageName = "mean"
    """How good a pair is: the ``mean``, the ``maximum`` or a ``quantile`` of the affinities between its two sides."""
    quantile: float = Field(default=0.5, ge=1 / QUANTILE_ONE, le=1)
    """Quantile linkage: which one, by the lowest affinity of its bin; 0.5 is the median."""
    threshold: float = Field(default=0.6, ge=0, le=1)
    """Clusters merge while the affinity between them, as the linkage measures it, is at least this."""
    small_size: int = Field(default=0, ge=0)
    """Size rule: a pair with one side below this many voxels merges already at `small_threshold`; 0: off."""
    small_threshold: float | None = Field(default=None, ge=0, le=1)
    """Threshold of the size rule; the same as `threshold` where it is not given; 0: absorb at any affinity."""
    dust_size: int = Field(default=0, ge=0)
    """Segments that end below this many voxels become background; 0 keeps all."""
    cells: Triple | None = None
    """Cells (z, y, x) in voxels: what touches no face of a cell merges before cells are joined; part of the result."""

    @field_validator("cells")
    @classmethod
    def _positive(cls, cells: Triple | None) -> Triple | None:
        if cells is not None and min(cells) < 1:
            raise ValueError(f"three positive numbers of voxels (z, y, x) are wanted, got {cells}")
        return cells

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> Self:
        if self.small_threshold is not None and self.small_threshold > self.threshold:
            raise ValueError(
                f"small_threshold is {self.small_threshold:g}, above threshold {self.threshold:g}: small pairs merge "
                "more easily, so lower it"
            )
        return self

    def check_beside(self, stages: Sequence[Stage]) -> None:
        for edges in stages:
            if isinstance(edges, Edges) and edges.linkage != self.linkage:
                raise ValueError(
                    f"agglomeration.linkage is {self.linkage!r}, but edges.linkage is {edges.linkage!r}: edges measure "
                    "what agglomeration needs, so set both to one of them"
                )

    @property
    def cell_shape(self) -> Triple | None:
        return self.cells

    def identity(self) -> dict[str, Any]:
        # Datasets made before there were cells have none.
        return {key: value for key, value in super().identity().items() if key != "cells" or value is not None}

    def rule(self) -> Linkage:
        """Return the linkage as kernels take it, in whole numbers."""
        small = self.threshold if self.small_threshold is None else self.small_threshold
        return Linkage(
            _score(self.threshold),
            _score(small),
            self.small_size,
            self.linkage,
            round(self.quantile * QUANTILE_ONE),
            self.dust_size,
        )

    def reduce(
        self, box: Box, children: Sequence[tuple[Box, Mapping[str, Columns]]], domain: Box
    ) -> dict[str, Columns]:
        graphs = [
            (child, BlockGraph(*(self._columns(tables[name]) for name in self.inputs))) for child, tables in children
        ]
        node = reduce_node(box, graphs, domain, self.rule(), self.cells)
        return {
            "node_clusters": node.graph.clusters,
            "node_edges": with_level(node.graph.edges),
            "node_seam": with_level(node.graph.seam),
            "node_alias": node.graph.alias,
            "node_names": node.names,
            "merges": node.merges,
            "archive": with_level(node.archive),
        }

    def _columns(self, columns: Columns) -> Columns:
        """Columns that the kernels take: without the level where the linkage has none."""
        return {name: v for name, v in columns.items() if name != "level" or self.linkage == "quantile"}

    def expand(
        self, box: Box, own: Mapping[str, Columns], above: Mapping[str, Columns] | None, domain: Box
    ) -> dict[str, Columns]:
        names: dict[str, Any] = own["node_names"]
        return {"names": names if above is None else expand_names(names, above["names"], box, domain)}


def _score(threshold: float) -> int:
    return round(threshold * 255 * SCORE_ONE)
