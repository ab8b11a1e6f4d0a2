"""`python -m benchmarks.gigavoxels`: four gigavoxels, twice, on two workers that cannot have more than 4 GiB each.

Affinities of mirrored tissue (`benchmarks.mirrored_tissue`) are made, cut into fragments and measured in one task a
block, agglomerated up the tree and written as a segmentation; then the same with blocks of another shape. Prints a
table of the tree by level: rows, and the worker's greatest memory beside what `connectome plan` says. Ends with one
line of JSON, and exit code 1 where something is not as it must be.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import resource
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from distributed import Worker
from distributed.diagnostics.plugin import WorkerPlugin

from benchmarks.machine import commit, hardware
from benchmarks.mirrored_tissue import MirroredTissue, write_tile
from connectome.geometry import Box, Grid, Triple, as_triple
from connectome.runtime.cluster import Cluster
from connectome.runtime.run import Outcome, run
from connectome.stages import registry
from connectome.stages.agglomeration import Agglomeration
from connectome.store.checksum import checksum
from connectome.store.ledger import receipt_of
from connectome.workflow.estimates import estimate
from connectome.workflow.memory import PROCESS_BYTES, node_bytes
from connectome.workflow.plan import Pass
from connectome.workflow.workflow import Workflow

SHAPE: Triple = (1600, 1600, 1600)
BLOCKS: tuple[Triple, ...] = ((256, 256, 256), (200, 320, 256))
MEMORY_GB, LIMIT_BYTES = 4.0, 4 << 30
"""What the plan checks itself against, and what the system lets a worker have."""
MOST_OFF = 1.5
"""How far the plan's memory of a pass may be from what was measured."""
RECIPE = {"clusters": 0.6, "acting_edges": 1.5}
"""What waits at the top per 1,000 voxels, by the recipe of exact segmentation (section 5), measured on FIB-25."""
ROWS = Agglomeration.inputs
Figures = dict[str, Any]


class Limited(WorkerPlugin):  # type: ignore[misc]
    """Limits a worker's private memory, resident or not, and registers the stage.

    Address space would be the wrong thing to limit: half of it is code and what allocators set aside.
    """

    name = "limited"

    def setup(self, worker: Worker) -> None:  # noqa: ARG002
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
        registry()["mirrored_tissue"] = MirroredTissue


def workflow(folder: Path, shape: Triple, block: Triple) -> Workflow:
    """Return the workflow, with the parameters of ``workflows/fib25.yaml``; affinities are never stored."""
    return Workflow.parse(
        {
            "dataset": {"url": str(folder / "x".join(map(str, block)))},
            "grid": {"block": block, "memory_gb": MEMORY_GB},
            "stages": [
                {
                    "stage": "mirrored_tissue",
                    "tile": str(folder / "tile.npy"),
                    "shape": shape,
                    "fuse": True,
                    "keep": False,
                },
                {"stage": "fragments", "boundary_threshold": 0.6, "cap_nm": 100, "smoothing": 2, "fuse": True},
                {"stage": "edges"},
                {"stage": "agglomeration", "threshold": 0.65, "small_size": 1000, "small_threshold": 0.3},
                {"stage": "segmentation"},
            ],
        }
    )


def measure(folder: Path, shape: Triple, block: Triple, n_workers: int) -> Figures:
    """Segment with blocks of a shape, say what that took, and delete it."""
    with Cluster({"cpu": n_workers}) as cluster:
        cluster.register(Limited())
        outcome = run(workflow(folder, shape, block), runner=cluster.address)
    found: Figures = {
        "block": block,
        "is_complete": outcome.is_complete,
        "seconds": round(outcome.ended.seconds, 1),
        "utilisation": outcome.summary()["utilisation"],
        "passes": passes(outcome),
    }
    if outcome.is_complete:
        found["checksums"] = {
            "segmentation": checksum(outcome.dataset.volume("segmentation")),
            "merges": digest_of_merges(outcome),
        }
        found["levels"], found["root"] = levels(outcome), root(outcome)
    shutil.rmtree(outcome.dataset.url)
    return found


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
    """Count the clusters and the acting edges that reach the root, per 1,000 voxels."""
    each, dataset = outcome.plan.passes["agglomeration.reduce"], outcome.dataset
    assert isinstance(each.stage, Agglomeration)
    rule, declared = each.stage.rule(), {name: outcome.plan.table(name) for name in each.stage.carried[:2]}
    n_clusters = n_edges = n_acting = 0
    for index in _nodes(each, each.top_level - 1):
        clusters, edges = (
            dataset.table(name, table.columns).read_part(each.top_level - 1, index) for name, table in declared.items()
        )
        sizes = [clusters["size"][np.searchsorted(clusters["id"], edges[end])] for end in ("a", "b")]
        is_small = np.minimum(*sizes) < rule.small_size
        wanted = np.where(is_small, rule.small_threshold, rule.threshold)
        n_clusters, n_edges = n_clusters + clusters["id"].size, n_edges + edges["sum"].size
        n_acting += int(np.count_nonzero(edges["sum"] >= wanted * edges["count"]))
    thousands = outcome.plan.domain.n_voxels / 1000
    counts = {"clusters": n_clusters, "acting_edges": n_acting, "edges": n_edges}
    return {
        **{f"{name}_per_1000_voxels": round(n / thousands, 4) for name, n in counts.items()},
        "recipe_per_1000_voxels": RECIPE,
    }


def _receipts(outcome: Outcome) -> Iterator[Any]:
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


def verdicts(runs: Sequence[Figures]) -> dict[str, bool]:
    """Judge what must be so."""
    peaks = [row for found in runs for row in found["passes"].values()]
    return {
        "all_complete": all(found["is_complete"] for found in runs),
        "same_bytes": len({json.dumps(found.get("checksums"), sort_keys=True) for found in runs}) == 1,
        "peaks_below_4_gib": all(row["peak_mb"] < LIMIT_BYTES / 1e6 for row in peaks),
        "plan_within_1.5": all(1 / MOST_OFF < row["measured_by_planned"] < MOST_OFF for row in peaks),
    }


def table(runs: Sequence[Figures]) -> Iterator[str]:
    """Yield the lines of a table for people."""
    yield "| blocks | level | nodes | rows in | rows out | largest node | median | planned |"
    yield "|---|---|---|---|---|---|---|---|"
    for found in runs:
        for row in found.get("levels", ()):
            sums = [f"{sum(row[way].values()) / 1e6:.1f} M" for way in ("rows_in", "rows_out")]
            peaks = [f"{row[name] / 1000:.2f} GB" for name in ("peak_mb", "median_mb", "planned_mb")]
            cells = [found["block"], row["level"], row["nodes"], *sums, *peaks]
            yield f"| {' | '.join(map(str, cells))} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table and one line of JSON; 1 where something of it is not as it must be."""

    def triple(text: str) -> Triple:
        return as_triple([int(number) for number in text.split(",")])

    parser = argparse.ArgumentParser(prog="python -m benchmarks.gigavoxels", description=__doc__)
    parser.add_argument("--shape", type=triple, default=SHAPE, help="voxels, z,y,x")
    parser.add_argument("--block", type=triple, action="append", help="blocks, z,y,x; give two")
    parser.add_argument("--tile", type=int, default=400, help="edge of the cube of cells that is mirrored")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(arguments)
    registry()["mirrored_tissue"] = MirroredTissue
    # Arrow's own allocator takes a gigabyte that it does not use, which would count against the limit.
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory(prefix="connectome-gigavoxels-") as folder:
        write_tile(Path(folder) / "tile.npy", given.tile)
        runs = []
        for block in given.block or BLOCKS:
            runs.append(measure(Path(folder), given.shape, block, given.workers))
            sys.stderr.write(json.dumps(runs[-1]) + "\n")
    load.append(os.getloadavg()[0])
    judged = verdicts(runs)
    figures = {
        "voxels": math.prod(given.shape),
        "workers": given.workers,
        "limit_of_a_worker": f"RLIMIT_DATA {LIMIT_BYTES} bytes",
        "runs": runs,
        "verdicts": judged,
        "load_average": [round(each, 1) for each in load],
        "hardware": hardware(),
        "commit": commit(),
    }
    sys.stdout.write("\n".join(table(runs)) + "\n" + json.dumps(figures) + "\n")
    return 0 if all(judged.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
