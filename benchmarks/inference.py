"""Inference beside MONAI: `python -m benchmarks.inference [--block 128 256] [--repeats 3]`, a line of JSON.

A block of random tissue inside a larger volume is predicted on one core, in turn by our tiles, by MONAI's
`sliding_window_inference` with the same network, halo and tile, by the same with windows of about `--window` voxels,
which is what its users commonly give, and by the bare network on one tile as large as `--bare`. MONAI expects windows
whose output is as large as their image, so its predictor pads the network's output and gives the padding no weight; it
writes no bytes, so sigmoid and rounding are applied to its whole result. Results of the same tiles are compared first.
Seconds are the processor's, and a ratio is of calls that followed one another.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import machine

SEED = 0
BARE = 128
WINDOW = 128


def main() -> int:
    """Predict, compare and print."""
    machine.take_one_core()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__)
    parser.add_argument("--network", default="fib25", help="a shipped network, or one of connectome train")
    parser.add_argument("--block", type=int, nargs="+", default=[128, 256], help="edges of blocks in voxels")
    parser.add_argument("--bare", type=int, default=BARE, help="edge of the bare network's tile in voxels")
    parser.add_argument("--window", type=int, default=WINDOW, help="edge of MONAI's customary window, halo included")
    parser.add_argument("--repeats", type=int, default=3, help="how often each is timed")
    arguments = parser.parse_args()
    try:
        import monai  # noqa: F401
    except ImportError:
        print("monai is not installed: pip install -c constraints.txt -e '.[bench]'", file=sys.stderr)
        return 1
    print(json.dumps(measure(arguments.network, arguments.block, arguments.bare, arguments.window, arguments.repeats)))
    return 0


def measure(name: str, blocks: list[int], bare: int, window: int, repeats: int) -> dict[str, Any]:
    """Return what is printed: rates in voxels per second, and ratios."""
    from connectome.models import TrainedNetwork, load_network
    from connectome.models.engine import available_engine

    network = load_network(name)
    assert isinstance(network, TrainedNetwork)
    return {
        "network": name,
        "tile": network.tile,
        "halo": network.halo.low,
        "hardware": machine.hardware(),
        "commit": machine.commit(),
        "engine": str(available_engine()),
        "bare_tile": bare,
        "monai_window": network.architecture.input_shape(customary_tile(network, window)),
        "repeats": repeats,
        "blocks": {str(edge): measure_block(network, edge, bare, window, repeats) for edge in blocks},
    }


def measure_block(network: Any, edge: int, bare: int, window: int, repeats: int) -> dict[str, Any]:
    """Time the four in turn on a block of `edge`^3 voxels that begins with a tile; first calls are not timed."""
    import numpy as np

    timed = calls(network, edge, bare, window)
    difference = np.abs(timed["ours"]().astype(np.int16) - timed["monai"]())
    timed["bare"]()
    seconds: dict[str, list[float]] = {which: [] for which in timed}
    for _ in range(repeats):
        for which, call in timed.items():
            start = time.process_time()
            call()
            seconds[which].append(time.process_time() - start)
    rates = {
        which: [(bare if which == "bare" else edge) ** 3 / each for each in times] for which, times in seconds.items()
    }
    return {
        "largest_difference": int(difference.max()),
        "share_of_bytes_that_differ": round(float((difference > 0).mean()), 6),
        **{f"{which}_voxels_per_s": spread(each, 0) for which, each in rates.items()},
        **{
            f"ours_to_{which}": spread([a / b for a, b in zip(rates["ours"], rates[which], strict=True)], 3)
            for which in timed
            if which != "ours"
        },
    }


def spread(values: list[float], digits: int) -> dict[str, float]:
    """Return median, least and greatest."""
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


def calls(network: Any, edge: int, bare: int, window: int) -> dict[str, Callable[[], Any]]:
    """Return what is timed: our tiles and MONAI's windows on one block, all to bytes, and the bare network."""
    import numpy as np

    from connectome.geometry import Box, Halo, as_triple
    from connectome.models.inference import forget_tiles, predict_affinities

    halo = network.halo
    start = as_triple([-(-low // n) * n for low, n in zip(halo.low, network.tile, strict=True)])
    block = Box.of_shape((edge,) * 3).shift(start)
    domain = Box((0, 0, 0), as_triple([n + margin for n, margin in zip(block.stop, halo.high, strict=True)]))
    read_box = block.grow(Halo(halo.low, halo.high))
    if any(edge % n for n in network.tile):
        raise ValueError(f"a block of {edge} voxels is no multiple of the tile {network.tile}: choose another --block")
    image = tissue(read_box.shape, SEED)

    def ours() -> Any:
        forget_tiles()
        return predict_affinities(network, image, read_box, domain, block)

    large = tissue(as_triple(network.architecture.input_shape((bare,) * 3)), SEED + 1)
    return {
        "ours": ours,
        "monai": windows(network, image, block.shape, network.tile),
        "monai_small": windows(network, image, block.shape, customary_tile(network, window)),
        "bare": alone(network, large[np.newaxis, np.newaxis]),
    }


def customary_tile(network: Any, window: int) -> tuple[int, int, int]:
    """Return the largest tile whose image, halo included, is no larger than a window; one stride at least."""
    spans = zip(network.halo.low, network.halo.high, network.stride, strict=True)
    z, y, x = (max(1, (window - low - high) // step) * step for low, high, step in spans)
    return z, y, x


def windows(network: Any, image: Any, shape: tuple[int, int, int], tile: tuple[int, int, int]) -> Callable[[], Any]:
    """Return MONAI's inference of a block from its image, halo included, by windows that give a tile each."""
    import torch
    from monai.inferers import sliding_window_inference
    from torch.nn import functional

    run, normalise = module_of(network), normalisation_of(network)
    low, high, window = network.halo.low, network.halo.high, network.architecture.input_shape(tile)
    padding = [n for margins in zip(reversed(low), reversed(high), strict=True) for n in margins]
    weight = functional.pad(torch.ones(1, 1, *tile), padding)
    # Half a voxel less than the halo: steps are rounded down to whole voxels.
    overlap = [(a + b - 0.5) / n for a, b, n in zip(low, high, window, strict=True)]

    def call() -> Any:
        with torch.inference_mode():
            values = sliding_window_inference(
                normalise(torch.from_numpy(image)[None, None]),
                window,
                1,
                lambda batch: functional.pad(run(batch), padding),
                overlap=overlap,
                process_fn=lambda outputs, *_: (outputs, weight),
            )
            z, y, x = (slice(a, a + n) for a, n in zip(low, shape, strict=True))
            return to_bytes(values[0, :, z, y, x])

    return call


def alone(network: Any, image: Any) -> Callable[[], Any]:
    """Return the bare network on one large tile, with what makes bytes of it."""
    import torch

    run, normalise = module_of(network), normalisation_of(network)

    def call() -> Any:
        with torch.inference_mode():
            return to_bytes(run(normalise(torch.from_numpy(image)))[0])

    return call


def module_of(network: Any) -> Callable[[Any], Any]:
    """Return the network as our engine loads it: its precision, layout and one thread."""
    import torch

    from connectome.models.engine import DTYPES, available_engine, load_module

    torch.set_num_threads(1)
    engine = available_engine()
    module = load_module(network, engine)

    def run(batch: Any) -> Any:
        batch = batch.to(engine.device, DTYPES[engine.precision])
        return module(batch.contiguous(memory_format=torch.channels_last_3d)).float().cpu()

    return run


def normalisation_of(network: Any) -> Callable[[Any], Any]:
    """Return what makes float32 of grey values."""
    constants = network.normalisation
    return lambda image: (image.float() - constants.mean) / constants.standard_deviation


def to_bytes(values: Any) -> Any:
    """Return logits as affinities."""
    import torch

    return torch.sigmoid(values).mul_(255.0).round_().to(torch.uint8).numpy()


def tissue(shape: tuple[int, int, int], seed: int) -> Any:
    """Return grey structures of a few voxels: no two tiles are alike, and none is blank."""
    import numpy as np

    random = np.random.default_rng(seed)
    coarse = random.integers(60, 220, [-(-n // 8) for n in shape], np.uint8)
    fine = coarse.repeat(8, 0).repeat(8, 1).repeat(8, 2)[tuple(map(slice, shape))]
    return np.ascontiguousarray(fine + random.integers(0, 32, shape, np.uint8))


if __name__ == "__main__":
    sys.exit(main())
