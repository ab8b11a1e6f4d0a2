"""Flood filling of FIB-25: `python -m benchmarks.flood_filling [--size 128] [--subvolume z y x]`, a line of JSON.

A centred cube of `fib25_ts2` is filled with the published weights on one core, as one subvolume or as a grid of them
that is reconciled. The result is scored on the voxels that the published result labels: against truth, beside the
published result on the same voxels, and against the published result itself. Near the border of a cube no field of
view can be centred, which costs a small cube more than the whole one: under `centred` are the scores without it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import machine

DATA = machine.ROOT.parent / "shared" / "data"
WEIGHTS, CUBE = "ffn_fib25_weights.npz", "fib25_ts2.npz"
TOLD_EVERY_S = 30.0


def main() -> int:
    """Fill, score and print."""
    machine.take_one_core()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flood_filling", description=__doc__)
    parser.add_argument("--size", type=int, default=128, help="edge of the cube in voxels; 250 is all of it")
    parser.add_argument(
        "--subvolume", type=int, nargs=3, help="shape (z, y, x) of subvolumes; the cube is one if not given"
    )
    parser.add_argument("--at-once", type=int, default=1, help="objects that share a batch")
    parser.add_argument("--data", type=Path, default=DATA, help=f"folder of {WEIGHTS} and {CUBE}")
    arguments = parser.parse_args()
    missing = [name for name in (WEIGHTS, CUBE) if not (arguments.data / name).exists()]
    if missing:
        print(f"{', '.join(missing)} not in {arguments.data}: give --data", file=sys.stderr)
        return 1
    print(json.dumps(measure(arguments.data, arguments.size, arguments.subvolume, arguments.at_once)))
    return 0


def measure(data: Path, size: int, subvolume: list[int] | None, n_at_once: int) -> dict[str, Any]:
    """Return what is printed: counts, rates and scores."""
    from connectome.models.engine import available_engine
    from connectome.models.flood_filling_network import FloodFillingNetwork

    cube = centred(data / CUBE, size)
    network = FloodFillingNetwork(data / WEIGHTS)
    start = time.process_time()
    if subvolume is None:
        labels, counts = fill(network, cube["raw"], n_at_once)
    else:
        labels, counts = fill_grid(data / WEIGHTS, cube["raw"], subvolume, n_at_once)
    seconds = time.process_time() - start
    n_evaluated = counts["n_fields"] + counts["n_discarded_fields"]
    engine = available_engine()
    return {
        "size": size,
        "subvolume": subvolume,
        "n_at_once": n_at_once,
        "hardware": machine.hardware(),
        "commit": machine.commit(),
        "engine": str(engine),
        "cpu_s": round(seconds, 1),
        **counts,
        "fields_per_s": round(n_evaluated / seconds, 3),
        "gflop_per_field": round(network.flop / 1e9, 2),
        "gflop_per_s": round(n_evaluated * network.flop / seconds / 1e9, 1),
        "matmul_gflop_per_s": round(matmul_peak(engine.precision) / 1e9, 1),
        **scores(labels, cube),
        "centred": scores(*inside(labels, cube, network.reach)),
    }


def centred(path: Path, size: int) -> dict[str, Any]:
    """Return the arrays of the cube, cut to `size` voxels around its centre."""
    import numpy as np

    with np.load(path) as file:
        arrays = {name: file[name] for name in ("raw", "neurons", "ffn_published")}
    start = [(n - size) // 2 for n in arrays["raw"].shape]
    inside = tuple(slice(a, a + size) for a in start)
    return {name: np.ascontiguousarray(array[inside]) for name, array in arrays.items()}


def fill(network: Any, image: Any, n_at_once: int) -> tuple[Any, dict[str, Any]]:
    """Fill an image as one subvolume; tell now and then how it goes."""
    from connectome.models.flood_filling import FillOptions, FillStatistics, flood_fill

    told = time.monotonic()

    def progress(statistics: FillStatistics) -> None:
        nonlocal told
        if time.monotonic() - told > TOLD_EVERY_S:
            told = time.monotonic()
            print(f"{statistics.n_seeds_done} of {statistics.n_seeds} seeds, {statistics}", file=sys.stderr)

    labels, statistics = flood_fill(network, image, FillOptions(n_at_once=n_at_once), progress=progress)
    return labels, asdict(statistics)


def fill_grid(
    weights: Path, image: Any, subvolume: Sequence[int], n_at_once: int, **settings: Any
) -> tuple[Any, dict[str, Any]]:
    """Fill an image subvolume by subvolume and reconcile, in one block; also returns the errors of seams."""
    from connectome.geometry import Block, Box, as_triple
    from connectome.metrics.seams import seam_errors
    from connectome.stages.flood_filling import FloodFilling
    from connectome.stages.reconciliation import Reconciliation

    shape = as_triple(subvolume)
    filling = FloodFilling(weights=str(weights), subvolume=shape, n_at_once=n_at_once, **settings)
    domain = Box.of_shape(image.shape)
    block = Block(domain, domain, filling.trained_voxel_size_nm)
    made = filling.process(block, image=image)
    fills = made.pop("fills")
    reconciliation = Reconciliation(subvolume=shape, depth=filling.subvolumes.depth)
    joined = reconciliation.process(block, **made)
    counts = {name: int(values.sum()) for name, values in fills.items() if name != "subvolume"}
    return joined["fragments"], {**counts, "seams": asdict(seam_errors(joined["seams"]))}


def matmul_peak(precision: str, size: int = 2048, repeats: int = 5) -> float:
    """Return floating-point operations per second of the best of some matrix products in the engine's precision."""
    import torch

    from connectome.models.engine import DTYPES

    matrix = torch.randn(size, size).to(DTYPES[precision])
    times = []
    for _ in range(repeats):
        start = time.process_time()
        matrix @ matrix
        times.append(time.process_time() - start)
    return 2 * size**3 / min(times)


def scores(labels: Any, cube: dict[str, Any]) -> dict[str, Any]:
    """Score labels on the voxels that the published result labels, and on those that they label themselves."""
    published, truth = cube["ffn_published"], cube["neurons"]
    known, own = published > 0, labels > 0
    return {
        "labelled_share": round(float((labels[known] > 0).mean()), 4),
        "voi_to_truth": voi(truth[known], labels[known]),
        "voi_to_truth_where_filled": voi(truth[own], labels[own]),
        "published_voi_to_truth": voi(truth[known], published[known]),
        "voi_to_published": voi(published[known], labels[known]),
        "voi_to_published_where_filled": voi(published[known & own], labels[known & own]),
    }


def inside(labels: Any, cube: dict[str, Any], reach: Sequence[int]) -> tuple[Any, dict[str, Any]]:
    """Cut labels and cube to where a field of view can be centred, whatever the size of the cube."""
    part = tuple(slice(r, n - r) for r, n in zip(reach, labels.shape, strict=True))
    return labels[part], {name: array[part] for name, array in cube.items()}


def voi(truth: Any, labels: Any) -> dict[str, float]:
    """Return variation of information in bits, its parts and the adapted Rand error."""
    import numpy as np

    from connectome.kernels.contingency import contingency
    from connectome.metrics import agreement

    found = agreement(*contingency(truth.astype(np.uint64), labels.astype(np.uint64)))
    parts = {"split": found.voi_split, "merge": found.voi_merge, "sum": found.voi}
    return {name: round(value, 4) for name, value in {**parts, "adapted_rand_error": found.adapted_rand_error}.items()}


if __name__ == "__main__":
    sys.exit(main())
