"""The demo's voxels per core-hour, by stage and in all: `python -m benchmarks.demo`, one JSON record per call.

Runs `workflows/demo.yaml` several times into fresh datasets and appends medians and spread to
`benchmarks/results/demo.jsonl`. Figures compare only within one `hardware`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, commit, hardware

RESULTS = ROOT / "benchmarks" / "results" / "demo.jsonl"
COMMAND = Path(sys.executable).parent / "connectome"


def main() -> None:
    """Run the demo and append a record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    run_demo(arguments.workers)  # compiles what is not compiled yet; not counted
    runs = [run_demo(arguments.workers) for _ in range(arguments.repeats)]
    record = {
        "case": "demo",
        "input": f"phantom, {runs[0]['voxels']} voxels",
        "workers": arguments.workers,
        "repeats": arguments.repeats,
        "hardware": hardware(),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "prices": runs[0]["prices"],
        "overall": spread(runs),
        "stages": {name: spread([run["stages"][name] for run in runs]) for name in runs[0]["stages"]},
        "agreement": runs[0]["agreement"],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(record) + "\n")
    print(json.dumps(record, indent=1))


def run_demo(workers: int) -> dict[str, Any]:
    """Run the demo into a dataset of its own; return its summary."""
    with tempfile.TemporaryDirectory(prefix="connectome-bench-") as folder:
        arguments = ["run", "workflows/demo.yaml", "--set", f"dataset.url={folder}/demo", "--workers", str(workers)]
        done = subprocess.run([COMMAND, *arguments, "--json"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return summary


def spread(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return median, least and most of the figures that matter."""
    figures = ("voxels_per_core_hour", "core_hours_per_teravoxel", "usd_per_teravoxel")
    values = {figure: [run[figure] for run in runs] for figure in figures}
    return {
        figure: {"median": statistics.median(numbers), "min": min(numbers), "max": max(numbers)}
        for figure, numbers in values.items()
    }


if __name__ == "__main__":
    main()
