"""All folds of a cross-validation: `python -m benchmarks.cross_validation CONFIG [--folder F]`, a line of JSON.

CONFIG is a training with `cross_validation` and `classes` whose folds were trained (one `connectome train` for each
`cross_validation.held_out`). Every part is predicted by the network that did not learn from it. Its thresholds are
those that were best, on average, on the parts of the other folds, so that no part chooses for itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from benchmarks import machine

THRESHOLDS = [round(0.05 * step, 2) for step in range(2, 20)]


def main() -> int:
    """Predict, choose and print."""
    machine.take_one_core()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cross_validation", description=__doc__)
    parser.add_argument("config", help="the training's YAML file")
    parser.add_argument("--folder", help="where the folds' networks are; the training's folder if not given")
    parser.add_argument("--mirrored", action="store_true", help="average the predictions of the mirrored tiles")
    arguments = parser.parse_args()
    from connectome.errors import InputError

    try:
        print(json.dumps(measure(arguments.config, arguments.folder, arguments.mirrored)))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def measure(path: str, folder: str | None, mirrored: bool) -> dict[str, Any]:
    """Return what is printed: for every class the scores of each fold and their means, with the thresholds chosen."""
    from connectome.errors import InputError
    from connectome.models import Training
    from connectome.models.engine import available_engine
    from connectome.runtime.training import load_training

    config = load_training(path, [])
    if not isinstance(config, Training) or config.cross_validation is None or not config.classes:
        raise InputError(f"{path} has no cross_validation or no classes: give a training that has both")
    folds = [
        load_training(path, [f"cross_validation.held_out={k}", *([f"folder={folder}"] if folder else [])])
        for k in range(config.cross_validation.n_folds)
    ]
    tables = [scores_of(fold, mirrored) for fold in folds]
    return {
        "config": path,
        "mirrored": mirrored,
        "engine": str(available_engine()),
        "hardware": machine.hardware(),
        "commit": machine.commit(),
        "classes": {name: over_folds([table[name] for table in tables]) for name in tables[0]},
    }


def scores_of(config: Any, mirrored: bool) -> dict[str, dict[float, dict[str, float]]]:
    """Return the scores of one fold's network on what it did not learn from, by class and threshold."""
    from connectome.models.sources import load_source
    from connectome.runtime.training import read_volume
    from connectome.runtime.validation import class_scores, predict_volume

    network = network_of(config)
    (held_out,) = config.divided()[1]
    volume = load_source(held_out, config, read_volume, None)
    probabilities = predict_volume(network, volume, "classes", mirrored=mirrored)
    return {
        name: {
            each: class_scores(config.class_head(name), [(volume.masks[number], probabilities[number])], each)
            for each in THRESHOLDS
        }
        for number, name in enumerate(config.architecture.classes)
    }


def network_of(config: Any) -> Any:
    """Return the network of one fold."""
    from pathlib import Path

    from connectome.models import load_network

    return load_network(str(Path(config.folder) / f"{config.network_name}.yaml"))


def over_folds(tables: list[dict[float, dict[str, float]]]) -> dict[str, Any]:
    """Return each fold's scores at the threshold that the other folds chose, at 0.5, and the means of both."""
    found: dict[str, Any] = {}
    for score in tables[0][THRESHOLDS[0]]:
        chosen = []
        for fold, _ in enumerate(tables):
            others = [table for number, table in enumerate(tables) if number != fold]
            chosen.append(max(THRESHOLDS, key=lambda each: sum(table[each][score] for table in others)))
        values = [table[each][score] for table, each in zip(tables, chosen, strict=True)]
        halves = [table[0.5][score] for table in tables]
        found[score] = {
            "thresholds": chosen,
            "folds": [round(value, 4) for value in values],
            "mean": round(sum(values) / len(values), 4),
            "folds_at_half": [round(value, 4) for value in halves],
            "mean_at_half": round(sum(halves) / len(halves), 4),
        }
    return found


if __name__ == "__main__":
    sys.exit(main())
