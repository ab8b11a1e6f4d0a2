"""`python -m benchmarks.estimate`: what a volume 8 times larger takes, predicted from a small run and then measured.

Runs a phantom workflow at a size, predicts the size with all three axes doubled from its receipts, and runs that
too. The clock of a machine that does other work is unreliable: costs are also compared with processor seconds in
the place of held time (`processor_usd`). Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import commit, hardware
from connectome.runtime.estimate import PastRun
from connectome.runtime.estimate import estimate as estimate_run
from connectome.runtime.prepare import plan_workflow
from connectome.runtime.prices import Prices
from connectome.runtime.run import run
from connectome.workflow.workflow import Workflow

WANTED = 0.2
"""The error that is allowed."""


def workflow(folder: Path, size: int, block: int) -> Workflow:
    """Return a workflow from a synthetic image of `size` voxels along z to a segmentation; its tiles are blocks."""
    return Workflow.parse(
        {
            "dataset": {"url": str(folder / f"phantom-{size}")},
            "grid": {"block": (block, 2 * block, 2 * block)},
            "stages": [
                {"stage": "phantom", "shape": (size, 2 * size, 2 * size), "voxel_size_nm": (10, 10, 10), "seed": 0},
                {"stage": "affinities", "network": "phantom"},
                {
                    "stage": "fragments",
                    "flavour": "distance",
                    "boundary_threshold": 0.6,
                    "cap_nm": 100,
                    "smoothing": 1,
                },
                {"stage": "edges"},
                {"stage": "agglomeration", "threshold": 0.6},
                {"stage": "segmentation"},
            ],
        }
    )


def measure(folder: Path, size: int, block: int, workers: int) -> PastRun:
    """Run a phantom of a size, and read what it took."""
    outcome = run(workflow(folder, size, block), n_workers=workers)
    if not outcome.is_complete:
        raise SystemExit(f"{outcome.dataset.url} did not end: {outcome.ended.quarantined}")
    return PastRun.read(outcome.dataset.url)


def figures(run_: PastRun, prices: Prices) -> dict[str, float]:
    """Return what a run cost, and its seconds."""
    return costs(run_.accounts.bill(run_.plan.domain.n_voxels, prices), prices)


def costs(bill: dict[str, Any], prices: Prices) -> dict[str, float]:
    """Return what is compared: costs by the clock, and with processor seconds in the place of held time."""
    cpu_seconds = sum(stage["cpu_seconds"] for stage in bill["stages"].values())
    return {
        "processor_usd": cpu_seconds / 3600 * prices.pool("cpu").usd() + bill["store"]["usd"],
        "usd": bill["usd"],
        "workers_usd": bill["usd"] - bill["store"]["usd"],
        "core_hours": bill["core_hours"],
        "busy_seconds": sum(stage["busy_seconds"] for stage in bill["stages"].values()),
        "cpu_seconds": cpu_seconds,
    }


def main() -> int:
    """Predict, measure and compare; print one line of JSON; 1 where the cost is further off than allowed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimate", description=__doc__)
    parser.add_argument(
        "--size", type=int, default=128, help="voxels of the small volume along z; along y and x it has twice as many"
    )
    parser.add_argument("--block", type=int, default=64, help="voxels of a block along z; 64 is the network's tile")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    prices = Prices.load()
    with tempfile.TemporaryDirectory(prefix="connectome-estimate-") as name:
        folder = Path(name)
        measure(folder, arguments.block, arguments.block, arguments.workers)  # compiles what is not compiled yet
        load = [os.getloadavg()[0]]
        small = measure(folder, arguments.size, arguments.block, arguments.workers)
        load.append(os.getloadavg()[0])
        plan = plan_workflow(workflow(folder, 2 * arguments.size, arguments.block))
        predicted = costs(estimate_run(plan, {"cpu": arguments.workers}, [small], prices), prices)
        measured = figures(measure(folder, 2 * arguments.size, arguments.block, arguments.workers), prices)
        load.append(os.getloadavg()[0])
    errors = {key: round(predicted[key] / measured[key] - 1, 4) for key in measured}
    record = {
        "small": figures(small, prices),
        "predicted": predicted,
        "measured": measured,
        "errors": errors,
        "is_within_20_percent": {key: abs(error) <= WANTED for key, error in errors.items()},
        "voxels": [4 * arguments.size**3, 4 * (2 * arguments.size) ** 3],
        "workers": arguments.workers,
        "load_average": [round(each, 1) for each in load],
        "hardware": hardware(),
        "commit": commit(),
    }
    sys.stdout.write(json.dumps(record) + "\n")
    return 0 if all(abs(errors[key]) <= WANTED for key in ("usd", "workers_usd")) else 1


if __name__ == "__main__":
    sys.exit(main())
