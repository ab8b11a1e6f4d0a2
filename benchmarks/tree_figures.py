"""What a run of the tree took, from its ledger and tables: memory and rows by level, and what waited at the root."""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from connectome.geometry import Box, Grid, Triple
from connectome.runtime.run import Outcome
from connectome.stages.agglomeration import Agglomeration
from connectome.store.ledger import Receipt, receipt_of
from connectome.workflow.estimates import estimate
from connectome.workflow.memory import PROCESS_BYTES, node_bytes
from connectome.workflow.plan import Pass

RECIPE = {"clusters": 0.6, "acting_edges": 1.5}
"""What waits at the top per 1,000 voxels, by the recipe of exact segmentation (section 5), measured on FIB-25."""
ROWS = Agglomeration.inputs
Figures = dict[str, Any]


def digest_of_merges(outcome: Outcome) -> str:
    """Return a SHA-256 of all merges, whatever the node that did them.

    A fragment is one end of its first merge, under its own id, or a segment by itself: where merges and segments
    are the same, fragments are. Their volume names pieces of fragments, which blocks cut.
    """
    merges = outcome.dataset.table("merges", outcome.plan.table("merges").columns).read()
    order = np.lexsort([merges[name] for name in ("score", "b", "a")])
    return hashlib.sha256(b"".join(merges[name][order].tobytes() for name in ("a", "b", "score"))).hexdigest()


def passes(outcome: Outcome) -> dict[str, Figures]:
    """Say what each pass took, and the greatest memory of a task beside the plan's."""
    found: dict[str, Figures] = {}
    for row in estimate(outcome.plan):
        receipts = [receipt for receipt in _receipts(outcome) if receipt.stage == row.name]
        peak = max((receipt.peak_bytes for receipt in receipts), default=0)
        found[row.name] = {
            "tasks": row.n_tasks,
            "busy_seconds": round(sum(receipt.wall_s for receipt in receipts), 1),
            "cpu_seconds": round(sum(receipt.cpu_s for receipt in receipts), 1),
            "peak_mb": round(peak / 1e6),
            "planned_mb": round(row.peak_bytes / 1e6),
            "measured_by_planned": round(peak / row.peak_bytes, 2),
        }
    return found


def levels(outcome: Outcome) -> list[Figures]:
    """Say of each level of the tree how many rows go in and out, and what memory a node takes."""
    each = outcome.plan.passes["agglomeration.reduce"]
    level_of = {each.number(task): task.level for task in each.tasks()}
    peaks: defaultdict[int, list[int]] = defaultdict(list)
    for receipt in _receipts(outcome):
        if receipt.stage == each.name:
            for number in receipt.numbers:
                peaks[level_of[number]].append(receipt.peak_bytes)  # of tasks that travelled together, the greatest
    below, found = _rows(outcome, ROWS, each, 0), []
    for level in range(each.n_levels):
        above = _rows(outcome, Agglomeration.carried, each, level)
        planned = PROCESS_BYTES + max(node_bytes(each.tree, level, index) for index in _nodes(each, level))
        found.append(
            {
                "level": level,
                "nodes": len(peaks[level]),
                "rows_in": below,
                "rows_out": above,
                "peak_mb": round(max(peaks[level]) / 1e6),
                "median_mb": round(statistics.median(peaks[level]) / 1e6),
                "planned_mb": round(planned / 1e6),
            }
        )
        below = above
    return found


def root(outcome: Outcome) -> Figures:
    """Count the clusters that reach the root, those of them on faces, and edges, per 1,000 voxels."""
    each, dataset = outcome.plan.passes["agglomeration.reduce"], outcome.dataset
    assert isinstance(each.stage, Agglomeration)
    rule, counts = each.stage.rule(), Counter[str]()
    declared = {name: outcome.plan.table(table) for name, table in zip(ROWS, each.stage.carried, strict=True)}
    for index in _nodes(each, each.top_level - 1):
        clusters, edges, alias = (
            dataset.table(declared[name].name, declared[name].columns).read_part(each.top_level - 1, index)
            for name in ("clusters", "edges", "alias")
        )
        sizes = [clusters["size"][np.searchsorted(clusters["id"], edges[end])] for end in ("a", "b")]
        wanted = np.where(np.minimum(*sizes) < rule.small_size, rule.small_threshold, rule.threshold)
        counts["clusters"] += clusters["id"].size
        counts["clusters_on_faces"] += np.unique(alias["id"]).size
        counts["edges"] += edges["sum"].size
        counts["acting_edges"] += int(np.count_nonzero(edges["sum"] >= wanted * edges["count"]))
    thousands = outcome.plan.domain.n_voxels / 1000
    return {
        **{f"{name}_per_1000_voxels": round(n / thousands, 4) for name, n in counts.items()},
        "recipe_per_1000_voxels": RECIPE,
    }


def _receipts(outcome: Outcome) -> Iterator[Receipt]:
    records = outcome.dataset.ledger.records()
    return (receipt_of(record) for record in records if record["kind"] == "receipt")


def _nodes(each: Pass, level: int) -> Iterator[Triple]:
    return Grid(Box.of_shape(each.tree.shape(level)), (1, 1, 1)).indices()


def _rows(outcome: Outcome, tables: Sequence[str], each: Pass, level: int) -> dict[str, int]:
    """Count the rows of all parts of a level, from the parts' footers."""
    counts = {}
    for name, table in zip(ROWS, tables, strict=True):
        parts = outcome.dataset.table(table, outcome.plan.table(table).columns)
        paths = [parts.part_path(level, index) for index in _nodes(each, level)]
        counts[name] = sum(pq.read_metadata(path).num_rows for path in paths)
    return counts
