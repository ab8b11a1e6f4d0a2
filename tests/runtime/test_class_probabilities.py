"""A network of several heads in a workflow: affinities and classes from one image, as many channels as classes."""

import json

import numpy as np
import pytest

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.models import load_network
from connectome.models.inference import predict
from connectome.runtime.changes import forget
from connectome.runtime.run import run
from connectome.store.checksum import checksum
from connectome.web.report import write_report
from connectome.workflow.workflow import Workflow
from tests.models.small_networks import class_network_file, toy
from tests.tissue import write_volume

VOXEL_SIZE_NM = (10.0, 10.0, 10.0)


def workflow(folder, block, network=None):
    image = folder / "image.zarr"
    if not image.exists():
        write_volume(image, toy()["toy#image"], voxel_size_nm=VOXEL_SIZE_NM)
    stages = [
        {"stage": name, "network": network or class_network_file()} for name in ("affinities", "class_probabilities")
    ]
    dataset = {"url": str(folder / f"run{block[0]}"), "image": str(image)}
    return Workflow.parse({"dataset": dataset, "grid": {"block": list(block)}, "stages": stages})


def test_classes_are_channels_and_blocks_change_nothing(tmp_path):
    outcomes = [run(workflow(tmp_path, block), runner="serial") for block in ((24, 28, 32), (11, 16, 13))]
    volumes = [outcome.dataset.volume("class_probabilities") for outcome in outcomes]
    assert [(volume.n_channels, volume.dtype) for volume in volumes] == [(2, np.uint8)] * 2
    assert checksum(volumes[0]) == checksum(volumes[1])
    domain = Box.of_shape(toy()["toy#image"].shape)
    network = load_network(class_network_file())
    for name, head in (("affinities", "affinities"), ("class_probabilities", "classes")):
        whole = predict(network, toy()["toy#image"], domain, domain, domain, head=head)
        np.testing.assert_array_equal(outcomes[0].dataset.volume(name).read(domain), whole)
    write_report(outcomes[0].dataset, outcomes[0].plan, outcomes[0].summary())
    json.dumps(outcomes[0].summary())
    forget(outcomes[0].dataset, {"class_probabilities"})
    kept = tmp_path / "run24" / "volumes" / "class_probabilities"
    assert not [path for path in kept.rglob("*") if path.is_file()]


def test_a_network_without_classes_is_refused(tmp_path):
    with pytest.raises(InputError, match="predicts no classes, but affinities"):
        run(workflow(tmp_path, (24, 28, 32), network="fib25"), runner="serial")
