"""A worker that starts anew, for `test_warm`: does what runs and commands do, and prints what it compiled.

Only the first folder that code is looked for in counts, so that what other tests left beside the sources helps nobody.
"""

import itertools
import sys
from pathlib import Path

from connectome.kernels import cache

places = cache.folders
cache.folders = lambda source: places(source)[:1]

import numpy as np  # noqa: E402

from connectome.export.precomputed import export_precomputed  # noqa: E402
from connectome.geometry import Box  # noqa: E402
from connectome.kernels.components import consensus  # noqa: E402
from connectome.kernels.contacts import contacts  # noqa: E402
from connectome.kernels.mutex_watershed import mutex_watershed  # noqa: E402
from connectome.runtime.accuracy import measure_accuracy  # noqa: E402
from connectome.runtime.evaluation import evaluate  # noqa: E402
from connectome.runtime.recut import cut, measure  # noqa: E402
from connectome.runtime.run import run  # noqa: E402
from connectome.store.ingest import ingest  # noqa: E402
from connectome.store.volume import Volume  # noqa: E402
from connectome.web.accuracy import write_accuracy  # noqa: E402
from connectome.web.report import write_report  # noqa: E402
from connectome.web.sample import segment_sizes  # noqa: E402
from connectome.workflow.workflow import Workflow  # noqa: E402
from tests.stages.test_flood_filling import SETTINGS  # noqa: E402
from tests.tissue import noisy_affinities, write_volume  # noqa: E402

SHAPE, BLOCK = (20, 44, 70), (20, 22, 36)


def segment(folder, affinities, truth, flavour, linkage):
    """Run, cut again, score, look and export."""
    content = {
        "dataset": {"url": str(folder), "affinities": affinities, "truth": truth},
        "grid": {"block": BLOCK},
        "stages": [
            {"stage": "fragments", "flavour": flavour, "cap_nm": 90},
            {"stage": "edges", "linkage": linkage},
            {"stage": "agglomeration", "linkage": linkage, "small_size": 30, "small_threshold": 0.4, "dust_size": 5},
            {"stage": "segmentation"},
        ],
    }
    outcome = run(Workflow.parse(content), runner="serial")
    assert outcome.is_complete
    write_report(outcome.dataset, outcome.plan, outcome.summary())
    cuts = cut(str(folder), [0.5, 0.7], write=True)
    found = measure_accuracy(str(folder), truth, thresholds=[0.5, 0.7], spacing_nm=100.0, n_worst=2)
    assert len([measure(each) for each in cuts]) == len(found.scored) == 2
    write_accuracy(folder / "accuracy.html", str(folder), truth, found)
    result = Volume.open(outcome.dataset.volume_url("segmentation"))
    evaluate(result.url, truth, mask_url=truth)
    segment_sizes(result, 1000)
    export_precomputed(result, f"{folder}/precomputed", kind="segmentation")
    contacts(result.read(Box.of_shape(SHAPE)))


def fill(folder, image):
    """Fill by a hand-made network, and cut what was found to what it agrees on with itself."""
    stages = [
        {"stage": "flood_filling", **SETTINGS},
        {"stage": "reconciliation", "subvolume": SETTINGS["subvolume"], "depth": (4, 4, 4)},
        *({"stage": name} for name in ("unscored_edges", "agglomeration", "segmentation")),
    ]
    np.save(folder / "filled.npy", image)
    dataset = {"url": f"{folder}/filled", "image": f"{folder}/filled.npy", "voxel_size_nm": (10, 10, 10)}
    outcome = run(Workflow.parse({"dataset": dataset, "grid": {"block": BLOCK}, "stages": stages}), runner="serial")
    assert outcome.is_complete
    objects = Volume.open(outcome.dataset.volume_url("objects")).read(Box.of_shape(image.shape))
    consensus(objects, objects)


def main(folder):
    phantom = {"stage": "phantom", "shape": (20, 30, 80), "voxel_size_nm": (10, 10, 10)}
    content = {"dataset": {"url": f"{folder}/phantom"}, "grid": {"block": (20, 30, 40)}, "stages": [phantom]}
    assert run(Workflow.parse(content), runner="serial").is_complete
    affinities, truth = noisy_affinities(SHAPE)
    urls = write_volume(folder / "affinities.zarr", affinities), write_volume(folder / "truth.zarr", truth, SHAPE)
    for flavour, linkage in itertools.product(("distance", "affinity"), ("mean", "maximum", "quantile")):
        segment(folder / f"{flavour}-{linkage}", *urls, flavour, linkage)
    np.save(folder / "image.npy", affinities[0].astype(np.uint16))
    ingest(str(folder / "image.npy"), f"{folder}/image.zarr", voxel_size_nm=(8, 8, 8), block=(20, 22, 40))
    fill(folder, affinities[0, :20, :24, :40])
    mutex_watershed(np.concatenate([affinities, affinities]), [(-1, 0, 0), (0, -1, 0), (0, 0, -1)] * 2)


if __name__ == "__main__":
    with cache.compilations() as compiled:
        main(Path(sys.argv[1]))
    sys.stdout.write("\n".join(compiled))
