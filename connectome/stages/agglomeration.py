"""Agglomeration of fragments into segments, exact over an octree of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from connectome.geometry import Box, Triple
from connectome.kernels import root
from connectome.kernels.edges import BlockGraph
from connectome.kernels.linkage import QUANTILE_ONE, SCORE_ONE, Linkage, LinkageName
from connectome.kernels.merge_tree import expand_names, reduce_node
from connectome.stages.edges import PAIR, Edges, with_all_columns, without_idle_column
from connectome.stages.stage import Artifact, Columns, Stage, StepInputs, TableArtifact, TreeStage

NAMES = {"old": "uint64", "new": "uint64"}
SIZES = {"a_size": "int64", "b_size": "int64"}
N_ROUNDS, N_SMALL_ROUNDS = 8, 4
"""Rounds of a root in parts: on FIB-25 the largest component then has a few per cent of the edges (see running.md)."""


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
        TableArtifact("root_own", {**NAMES, "size": "int64"}),
        TableArtifact("root_rows", {**PAIR, **SIZES}),
        TableArtifact("root_pairs", {"a": "uint64", "b": "uint64", **SIZES}),
        TableArtifact("root_groups", {"id": "uint64", "component": "uint64", "group": "int64"}),
        TableArtifact("root_moved", {**PAIR, **SIZES, "group": "int64"}),
        TableArtifact("root_names", {**NAMES, "size": "int64"}),
        TableArtifact("names", NAMES),
    )
    stepped: ClassVar[tuple[str, ...]] = (
        "root_own",
        "root_rows",
        "root_pairs",
        "root_groups",
        "root_moved",
        "root_names",
    )

    version: ClassVar[int] = 3

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

    root_level: int | None = Field(default=None, ge=0)
    """Level of the tree whose nodes share the root's work; the result is the same. Not given: one root."""

    @field_validator("cells")
    @classmethod
    def _positive(cls, cells: Triple | None) -> Triple | None:
        if cells is not None and min(cells) < 1:
            raise ValueError(f"three positive numbers of voxels (z, y, x) are wanted, got {cells}")
        return cells

    @model_validator(mode="after")
    def _cells_or_root_level(self) -> Self:
        if self.cells is not None and self.root_level is not None:
            raise ValueError(
                f"cells is {self.cells} and root_level is {self.root_level}: cells bound the root already, so give one "
                "of them"
            )
        return self

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
        # Datasets made before there were such parameters have none. The root's level changes what tasks there are.
        late = ("cells", "root_level")
        return {key: value for key, value in super().identity().items() if key not in late or value is not None}

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
            (child, BlockGraph(*(without_idle_column(tables[name], self.linkage) for name in self.inputs)))
            for child, tables in children
        ]
        node = reduce_node(box, graphs, domain, self.rule(), self.cells)
        return {
            "node_clusters": node.graph.clusters,
            "node_edges": with_all_columns(node.graph.edges),
            "node_seam": with_all_columns(node.graph.seam),
            "node_alias": node.graph.alias,
            "node_names": node.names,
            "merges": node.merges,
            "archive": with_all_columns(node.archive),
        }

    def _rounds(self) -> list[Linkage]:
        return root.rounds(self.rule(), N_ROUNDS, N_SMALL_ROUNDS)

    @property
    def root_rounds(self) -> tuple[int, int] | None:
        return None if self.root_level is None else (self.root_level, len(self._rounds()))

    def step(self, phase: str, number: int, shard: tuple[int, int], inputs: StepInputs) -> dict[str, Columns]:
        rule, rounds = self.rule(), self._rounds()
        tables = {name: [without_idle_column(part, self.linkage) for part in parts] for name, parts in inputs.items()}
        merges = {name: np.zeros(0, np.uint64) for name in ("a", "b", "score")}
        made: dict[str, Columns] = {"merges": merges}
        if phase == "open":
            opened, names, pairs = root.open_shard(*self._top_nodes(tables), rule)
            made |= {"root_rows": opened.rows, "root_own": opened.own, "root_names": names, "root_pairs": pairs}
        elif phase == "link":
            made["root_names"] = root.link(tables["root_pairs"])
        elif phase == "group":
            made["root_groups"] = root.group(tables["root_pairs"], shard[1])
        elif phase == "move":
            made["root_moved"], made["root_rows"] = root.move(tables["root_rows"][0], tables["root_groups"][0])
        elif phase == "merge":
            merged = root.merge_group(tables["root_moved"], shard[0], rounds[number])
            made |= {"merges": merged.merges, "root_names": merged.names, "root_rows": merged.rows}
        else:
            updated = root.update(tables["root_rows"], tables["root_own"][0], tables["root_names"], rule)
            if number < len(rounds):
                made |= {"root_rows": updated.rows, "root_own": updated.own}
                made["root_pairs"] = root.acting_pairs(updated.rows, rounds[number])
            else:
                made["root_own"] = root.final_names(updated.own, rule.dust_size)
                made["archive"] = {name: values for name, values in updated.rows.items() if name not in SIZES}
        return {n: with_all_columns(t) if n in ("root_rows", "root_moved", "archive") else t for n, t in made.items()}

    def _top_nodes(self, tables: Mapping[str, Sequence[Columns]]) -> tuple[BlockGraph, list[BlockGraph]]:
        """Return a top node and its lower neighbours, of which edges and seams are not read."""
        edges, seam = tables["node_edges"][0], tables["node_seam"][0]
        met = zip(tables["node_clusters"], tables["node_alias"], strict=True)
        node, *below = [BlockGraph(clusters, edges, seam, alias) for clusters, alias in met]
        return node, below

    def expand(
        self, box: Box, own: Mapping[str, Columns], above: Mapping[str, Columns] | None, domain: Box
    ) -> dict[str, Columns]:
        names: dict[str, Any] = own["node_names"]
        return {"names": names if above is None else expand_names(names, above["names"], box, domain)}


def _score(threshold: float) -> int:
    return round(threshold * 255 * SCORE_ONE)
