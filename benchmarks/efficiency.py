"""`python -m benchmarks.efficiency`: what a second worker brings, and what 1,000 workers wait for the scheduler.

First, stages that need no accelerator run from stored affinities (of mirrored tissue, in blocks of 128^3 as the
example workflows have them) with 1 and with 2 worker processes in turn, which have begun already; the best of several
repeats counts. Every worker is kept on a core of its own, as a pod with one processor is: a worker alone would take
some of a second core too, for threads that compress and write. Driver and scheduler may use what workers leave. Other
work on the machine takes from the second worker: `efficiency_processor` leaves it out, being the processor seconds of
the same work (1 to 2 workers) times the share of time that workers were busy.

Then 1,000 real Dask workers, a thread each in a few processes, get tasks that sleep from a real scheduler and the
real engine. The first task of each is cut short, evenly from nothing to the whole, as if workers had come one after
the other: else all would end at once, and wait for the few processes that they share. The overhead is the share of
time that workers wait for a task, from when all are busy until the last round begins. Each part ends with one line of
JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar, Literal

import dask
import numpy as np
import psutil
from distributed import Client, Worker

from benchmarks.machine import ROOT, commit, hardware
from benchmarks.mirrored_tissue import MirroredTissue, write_tile
from connectome.geometry import Block, Box
from connectome.runtime.cluster import SETTINGS, Cluster, one_cluster
from connectome.runtime.dask import DaskRunner
from connectome.runtime.engine import execute
from connectome.runtime.events import Event, Heartbeat, TasksDone
from connectome.runtime.prepare import prepare
from connectome.runtime.recorder import Recorder, recall
from connectome.runtime.run import Outcome, run
from connectome.stages import BlockStage, registry
from connectome.stages.stage import VoxelSize
from connectome.store.ledger import Receipt
from connectome.workflow.workflow import Workflow

CROWD = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
}
"""What a process of hundreds of workers would do hundreds of times over, and a worker of its own does once."""
LEAST_EFFICIENCY, MOST_OVERHEAD = 0.9, 0.02
"""What the two parts must show."""
SEGMENTING = (
    {"stage": "fragments", "flavour": "distance", "boundary_threshold": 0.6, "cap_nm": 100, "smoothing": 1},
    {"stage": "edges"},
    {"stage": "agglomeration", "threshold": 0.6},
    {"stage": "segmentation"},
)


class Sleep(BlockStage):
    """Takes time and nothing else."""

    stage: Literal["sleep"] = "sleep"
    n: int
    """Blocks."""
    seconds: float
    n_first: int = 0
    """The first blocks, which take an even share of `seconds`."""
    version: ClassVar[int] = 1

    def domain(self) -> tuple[Box, VoxelSize] | None:
        return Box.of_shape((1, 1, self.n)), (1.0, 1.0, 1.0)

    def process(self, block: Block) -> dict[str, Any]:
        number = block.write_box.start[2]
        time.sleep(self.seconds * (min(1.0, (number + 1) / self.n_first) if self.n_first else 1.0))
        return {}

    def peak_bytes(self, block: Block) -> int:  # noqa: ARG002
        return 0


def second_worker(folder: Path, size: int, repeats: int) -> dict[str, Any]:
    """Compare 1 with 2 worker processes on tissue of `size` voxels along each axis, in 64 blocks."""
    block, tile = size // 4, folder / "tile.npy"
    folder.mkdir(exist_ok=True)
    write_tile(tile, size // 2)
    registry()["mirrored_tissue"] = MirroredTissue
    _run(
        folder / "tissue",
        [{"stage": "mirrored_tissue", "tile": str(tile), "shape": (size,) * 3}],
        "serial",
        block,
    )
    affinities = str(folder / "tissue" / "volumes" / "affinities")
    taken: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    load = []
    with one_cluster("dask", 1) as one, one_cluster("dask", 2) as two:
        runners = {1: one, 2: two}
        for runner in runners.values():
            _keep_on_cores(runner)
        for n_workers, runner in runners.items():
            # What a worker does once: import, load kernels. Not counted.
            _run(folder / f"warm-{n_workers}", SEGMENTING, runner, block, affinities=affinities)
        for number in range(repeats):
            for n_workers in (1, 2) if number % 2 == 0 else (2, 1):
                load.append(os.getloadavg()[0])
                place = folder / f"{number}-{n_workers}"
                outcome = _run(place, SEGMENTING, runners[n_workers], block, affinities=affinities)
                taken[n_workers].append(_taken(outcome))
    best = {n: min(each["seconds"] for each in runs) for n, runs in taken.items()}
    cpu = {n: min(each["cpu"] for each in runs) for n, runs in taken.items()}
    used = {n: max(each["utilisation"] for each in runs) for n, runs in taken.items()}
    return {
        "case": "1 to 2 workers",
        "voxels": size**3,
        "repeats": repeats,
        "seconds": {n: round(seconds, 2) for n, seconds in best.items()},
        "cpu_seconds": {n: round(seconds, 2) for n, seconds in cpu.items()},
        "utilisation": used,
        "share_of_busy_time_on_a_core": {
            n: round(max(each["cpu_share"] for each in runs), 3) for n, runs in taken.items()
        },
        "efficiency_clock": round(best[1] / 2 / best[2], 3),
        "efficiency_processor": round(cpu[1] / cpu[2] * used[2] / used[1], 3),
        "load_average": [round(each, 1) for each in load],
    }


def _keep_on_cores(address: str) -> None:
    """Keep each worker of a cluster, with all its threads, on a core of its own."""
    cores = sorted(os.sched_getaffinity(0))
    with Client(address, set_as_default=False) as client:
        processes = sorted(client.run(os.getpid).values())
    if len(processes) > len(cores):
        raise SystemExit(f"{len(processes)} workers want a core each, and there are {len(cores)} cores")
    for process, core in zip(processes, cores, strict=False):
        for thread in psutil.Process(process).threads():
            os.sched_setaffinity(thread.id, {core})


def _taken(outcome: Outcome) -> dict[str, float]:
    summary = outcome.summary()
    cpu = sum(stage["cpu_seconds"] for stage in summary["stages"].values())
    busy = sum(stage["busy_seconds"] for stage in summary["stages"].values())
    return {
        "seconds": outcome.ended.seconds,
        "cpu": cpu,
        "utilisation": summary["utilisation"],
        "cpu_share": cpu / busy,
    }


def _run(folder: Path, stages: Any, runner: str, block: int, **given: str) -> Outcome:
    content = {
        "dataset": {"url": str(folder), **given},
        "grid": {"block": (block,) * 3},
        "stages": list(stages),
    }
    outcome = run(Workflow.parse(content), runner=runner)
    if not outcome.is_complete:
        raise SystemExit(f"{folder} did not end: {outcome.ended.quarantined}")
    return outcome


class _Watch:
    """Keeps the receipts, and the most workers that were seen."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []
        self.workers = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, TasksDone):
            self.receipts.append(event.receipt)
        elif isinstance(event, Heartbeat):
            self.workers = max(self.workers, sum(event.workers.values()))


def crowd(folder: Path, n_workers: int, n_processes: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Let many workers sleep for some rounds, and say how long they waited in between."""
    registry()["sleep"] = Sleep
    content = {
        "dataset": {"url": str(folder / "crowd")},
        "grid": {"block": (1, 1, 1)},
        "stages": [{"stage": "sleep", "n": n_workers * rounds, "seconds": seconds, "n_first": n_workers}],
    }
    plan, dataset = prepare(Workflow.parse(content))
    progress, accounts = recall(dataset, plan)
    watch, load = _Watch(), [os.getloadavg()[0]]
    processes: list[subprocess.Popen[bytes]] = []
    with Cluster({}) as cluster:
        try:
            for n in range(n_processes):
                share = n_workers * (n + 1) // n_processes - n_workers * n // n_processes
                command = [sys.executable, "-m", "benchmarks.efficiency", "--serve", cluster.address, str(share)]
                processes.append(subprocess.Popen(command, cwd=ROOT))
            runner = DaskRunner(dataset, address=cluster.address)
            _await(runner, n_workers)
            driver, before = psutil.Process(), psutil.Process().cpu_times()
            began = time.monotonic()
            try:
                execute(plan, runner, progress, [Recorder(dataset, accounts), watch])
            finally:
                runner.close()
            elapsed, after = time.monotonic() - began, driver.cpu_times()
        finally:
            for process in processes:
                process.kill()  # SIGTERM is for one worker per process
            for process in processes:
                process.wait(60)
    load.append(os.getloadavg()[0])
    cpu = after.user + after.system - before.user - before.system
    return {
        "case": "scheduler overhead",
        "workers": n_workers,
        "worker_processes": n_processes,
        "seconds_per_task": seconds,
        "tasks": len(watch.receipts),
        **waiting(watch.receipts, n_workers),
        "elapsed_seconds": round(elapsed, 1),
        "share_lost_with_start_and_end": round(1 - seconds * rounds / elapsed, 4),
        "driver_and_scheduler_cpu_share": round(cpu / elapsed, 3),
        "memory_mb": round(driver.memory_info().rss / 1e6, 1),
        "load_average": [round(each, 1) for each in load],
    }


def waiting(receipts: list[Receipt], n_workers: int) -> dict[str, float]:
    """Return the share of time that workers wait, from when all have begun until the last round begins."""
    starts = np.sort(np.array([each.started_s for each in receipts]))
    low, high = starts[n_workers - 1], starts[-n_workers]
    begun = np.array([each.started_s for each in receipts])
    ended = begun + np.array([each.wall_s for each in receipts])
    busy = np.clip(np.minimum(ended, high) - np.maximum(begun, low), 0, None).sum()
    return {
        "window_seconds": round(float(high - low), 1),
        "overhead": round(1 - float(busy) / (n_workers * float(high - low)), 5),
    }


def _await(runner: DaskRunner, n_workers: int) -> None:
    until = time.monotonic() + 300
    while sum(runner.workers.values()) < n_workers:
        if time.monotonic() > until:
            raise SystemExit(f"of {n_workers} workers {dict(runner.workers)} came")
        time.sleep(0.5)


async def serve(address: str, n_workers: int) -> None:
    """Be many workers until told to go."""
    registry()["sleep"] = Sleep
    with tempfile.TemporaryDirectory(prefix="connectome-crowd-") as folder, dask.config.set({**SETTINGS, **CROWD}):
        workers = [
            Worker(
                address,
                nthreads=1,
                memory_limit=0,
                dashboard=False,
                resources={"cpu": 1},
                local_directory=folder,
                host="127.0.0.1",
            )
            for _ in range(n_workers)
        ]
        await asyncio.gather(*workers)
        await asyncio.gather(*(worker.finished() for worker in workers))


def main() -> int:
    """Measure, and print one line of JSON for each part; 1 where one is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.efficiency", description=__doc__)
    parser.add_argument("--size", type=int, default=512, help="voxels along each axis, in 64 blocks")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=4, help="that the simulated workers share")
    parser.add_argument("--seconds", type=float, default=30.0, help="of a task of a simulated worker")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["second-worker", "crowd"])
    parser.add_argument("--serve", nargs=2, metavar=("ADDRESS", "N"), help="be N workers; used by the crowd itself")
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.serve[0], int(arguments.serve[1])))
        return 0
    is_good = True
    setting = {"hardware": hardware(), "commit": commit()}
    with tempfile.TemporaryDirectory(prefix="connectome-efficiency-") as name:
        folder = Path(name)
        if arguments.only != "crowd":
            found = second_worker(folder, arguments.size, arguments.repeats)
            sys.stdout.write(json.dumps({**found, **setting}) + "\n")
            sys.stdout.flush()
            is_good = found["efficiency_clock"] >= LEAST_EFFICIENCY
        if arguments.only != "second-worker":
            found = crowd(folder, arguments.workers, arguments.processes, arguments.seconds, arguments.rounds)
            sys.stdout.write(json.dumps({**found, **setting}) + "\n")
            is_good = is_good and found["overhead"] < MOST_OVERHEAD
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
