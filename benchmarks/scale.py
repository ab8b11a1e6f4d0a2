"""`python -m benchmarks.scale`: blocks that do nothing, through a real local cluster: what the engine itself takes.

Ends with one line of JSON: tasks per second with and without superblocks, early and late, and how memory grew.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from typing import Any, ClassVar, Literal

import psutil
from distributed import Worker
from distributed.diagnostics.plugin import WorkerPlugin

from connectome.geometry import Block, Box, Triple
from connectome.runtime import engine
from connectome.runtime.cluster import Cluster
from connectome.runtime.dask import DaskRunner
from connectome.runtime.engine import execute
from connectome.runtime.events import Event, TasksDone
from connectome.runtime.prepare import prepare
from connectome.runtime.recorder import Recorder, recall
from connectome.stages import BlockStage, registry
from connectome.stages.stage import VoxelSize
from connectome.workflow.workflow import Workflow

MOST_GROWTH_MB, LEAST_TOGETHER, LEAST_ALONE, SLOWER = 150, 1500, 300, 0.9
"""What the run must show; a tenth is the noise of a shared machine."""


class Nothing(BlockStage):
    """Does nothing, to many blocks."""

    stage: Literal["nothing"] = "nothing"
    shape: Triple
    """Blocks along each axis; a block is one voxel."""
    version: ClassVar[int] = 1

    def domain(self) -> tuple[Box, VoxelSize] | None:
        return Box.of_shape(self.shape), (1.0, 1.0, 1.0)

    def process(self, block: Block) -> dict[str, Any]:  # noqa: ARG002
        return {}

    def peak_bytes(self, block: Block) -> int:  # noqa: ARG002
        return 0


class KnowsNothing(WorkerPlugin):  # type: ignore[misc]
    """Registers the stage in a worker."""

    name = "knows-nothing"

    def setup(self, worker: Worker) -> None:  # noqa: ARG002
        registry()["nothing"] = Nothing


class _Watch:
    """Takes the time and this process's memory while tasks go by."""

    def __init__(self, every: int) -> None:
        self._every, self.n, self.points = every, 0, list[tuple[int, float, int]]()

    def __call__(self, event: Event) -> None:
        if isinstance(event, TasksDone):
            self.n += event.receipt.n_tasks
            if not self.points or self.n >= self.points[-1][0] + self._every:
                self.points.append((self.n, time.monotonic(), psutil.Process().memory_info().rss))


def measure(n_blocks: int, address: str, pids: list[int]) -> dict[str, Any]:
    """Run a stage of about `n_blocks` blocks, and say how fast it began and ended, and what memory it took."""
    edge = round(n_blocks ** (1 / 3))
    shape = (edge, edge, -(-n_blocks // edge**2))
    with tempfile.TemporaryDirectory(prefix="connectome-scale-") as folder:
        content = {
            "dataset": {"url": f"{folder}/run"},
            "grid": {"block": (1, 1, 1)},
            "stages": [{"stage": "nothing", "shape": shape}],
        }
        plan, dataset = prepare(Workflow.parse(content))
        progress, accounts = recall(dataset, plan)
        watch = _Watch(every=max(1, min(10_000, n_blocks // 20)))
        runner = DaskRunner(dataset, address=address)
        try:
            ended = execute(plan, runner, progress, [Recorder(dataset, accounts), watch])
        finally:
            runner.close()
    rates = [(b[0] - a[0]) / (b[1] - a[1]) for a, b in zip(watch.points, watch.points[1:], strict=False)]
    tenth = max(1, len(rates) // 10)
    early, last = watch.points[min(1, len(watch.points) - 1)][2], watch.points[-1][2]
    return {
        "blocks": watch.n,
        "seconds": round(ended.seconds, 1),
        "blocks_per_s": round(watch.n / ended.seconds),
        "blocks_per_s_first_tenth": round(sum(rates[:tenth]) / tenth),
        "blocks_per_s_last_tenth": round(sum(rates[-tenth:]) / tenth),
        "driver_and_scheduler_mb_after_10000": round(early / 1e6, 1),
        "driver_and_scheduler_mb_at_end": round(last / 1e6, 1),
        "driver_and_scheduler_mb_growth": round((last - early) / 1e6, 1),
        "workers_mb": [round(psutil.Process(pid).memory_info().rss / 1e6, 1) for pid in pids if psutil.pid_exists(pid)],
    }


def main() -> int:
    """Measure, and print one line of JSON; 1 where something of it is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--blocks", type=int, default=1_000_000, help="blocks that travel together as superblocks")
    parser.add_argument("--alone", type=int, default=20_000, help="blocks that travel one by one")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    registry()["nothing"] = Nothing
    with Cluster({"cpu": arguments.workers}) as cluster:
        cluster.register(KnowsNothing())
        pids = [child.pid for child in psutil.Process().children(recursive=True)]
        together = measure(arguments.blocks, cluster.address, pids)
        superblock, engine.MOST_TASKS = engine.MOST_TASKS, 1
        alone = measure(arguments.alone, cluster.address, pids)
        engine.MOST_TASKS = superblock
    verdicts = {
        "memory_grew_below_150_mb": together["driver_and_scheduler_mb_growth"] < MOST_GROWTH_MB,
        "no_slower_at_the_end": together["blocks_per_s_last_tenth"] >= SLOWER * together["blocks_per_s_first_tenth"],
        "superblocks_1500_per_s": together["blocks_per_s"] >= LEAST_TOGETHER,
        "alone_300_per_s": alone["blocks_per_s"] >= LEAST_ALONE,
    }
    figures = {
        "workers": arguments.workers,
        "load_average": round(os.getloadavg()[0], 1),
        "driver_and_scheduler": "one process, as in every local run: its memory is that of both",
        "superblocks": together,
        "alone": alone,
        "verdicts": verdicts,
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0 if all(verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
