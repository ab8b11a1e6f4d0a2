"""`python -m benchmarks.gigavoxels`: four gigavoxels, twice, on two workers that cannot have more than 4 GiB each.

Affinities of mirrored tissue (`benchmarks.mirrored_tissue`) are made, cut into fragments and measured in one task a
block, agglomerated up the tree and written as a segmentation; then the same with blocks of another shape. Prints a
table of the tree by level: rows, and the worker's greatest memory beside what `connectome plan` says. Ends with one
line of JSON, and exit code 1 where something is not as it must be.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from distributed import Worker
from distributed.diagnostics.plugin import WorkerPlugin

from benchmarks.machine import commit, hardware
from benchmarks.mirrored_tissue import MirroredTissue, write_tile
from benchmarks.tree_figures import Figures, digest_of_merges, levels, passes, root
from connectome.geometry import Triple, as_triple
from connectome.runtime.cluster import Cluster
from connectome.runtime.run import run
from connectome.stages import registry
from connectome.store.checksum import checksum
from connectome.workflow.workflow import Workflow

SHAPE: Triple = (1600, 1600, 1600)
BLOCKS: tuple[Triple, ...] = ((256, 256, 256), (200, 320, 256))
MEMORY_GB, LIMIT_BYTES = 4.0, 4 << 30
"""What the plan checks itself against, and what the system lets a worker have."""
MOST_OFF = 1.5
"""How far the plan's memory of a pass may be from what was measured."""


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
