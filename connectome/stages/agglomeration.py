"""Agglomeration of fragments into segments: mean linkage, exact over an octree of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from connectome.geometry import Box
from connectome.kernels.agglomeration import SCORE_ONE, Linkage
from connectome.kernels.edges import BlockGraph
from connectome.kernels.merge_tree import expand_names, reduce_node
from connectome.stages.edges import PAIR
from connectome.stages.stage import Artifact, Columns, TableArtifact, TreeStage

NAMES = {"old": "uint64", "new": "uint64"}


class Agglomeration(TreeStage):
    """Merge fragments, the best mean affinity first, until no edge acts."""

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

    stage: Literal["agglomeration"] = "agglomeration"
    threshold: float = Field(default=0.6, ge=0, le=1)
    """Clusters merge while the mean affinity between them is at least this."""
    small_size: int = Field(default=0, ge=0)
    """Size rule: a pair with one side below this many voxels merges already at `small_threshold`; 0: off."""
    small_threshold: float | None = Field(default=None, ge=0, le=1)
    """Threshold of the size rule; the same as `threshold` where it is not given."""

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> Self:
        if self.small_threshold is not None and self.small_threshold > self.threshold:
            raise ValueError(
                f"small_threshold is {self.small_threshold:g}, above threshold {self.threshold:g}: small pairs merge "
                "more easily, so lower it"
            )
        return self

    @property
    def linkage(self) -> Linkage:
        small = self.threshold if self.small_threshold is None else self.small_threshold
        return Linkage(_score(self.threshold), _score(small), self.small_size)

    def reduce(
        self, box: Box, children: Sequence[tuple[Box, Mapping[str, Columns]]], domain: Box
    ) -> dict[str, Columns]:
        graphs = [(child, BlockGraph(*(tables[name] for name in self.inputs))) for child, tables in children]
        node = reduce_node(box, graphs, domain, self.linkage)
        return {
            "node_clusters": node.graph.clusters,
            "node_edges": node.graph.edges,
            "node_seam": node.graph.seam,
            "node_alias": node.graph.alias,
            "node_names": node.names,
            "merges": node.merges,
            "archive": node.archive,
        }

    def expand(
        self, box: Box, own: Mapping[str, Columns], above: Mapping[str, Columns] | None, domain: Box
    ) -> dict[str, Columns]:
        names: dict[str, Any] = own["node_names"]
        return {"names": names if above is None else expand_names(names, above["names"], box, domain)}


def _score(threshold: float) -> int:
    return round(threshold * 255 * SCORE_ONE)
