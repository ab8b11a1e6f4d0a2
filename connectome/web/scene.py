"""What there is to look at behind a URL: the layers of a dataset, or one volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.stages.stage import VolumeArtifact
from connectome.store.array_volume import ArrayVolume
from connectome.store.dataset import Dataset
from connectome.store.layout import VoxelSize, is_label_type
from connectome.store.locations import Location
from connectome.store.sources import open_volume
from connectome.store.volume import Volume, is_volume
from connectome.workflow.plan import Plan
from connectome.workflow.workflow import VOLUME_INPUTS

Kind = Literal["image", "labels", "channels"]
AnyVolume = Volume | ArrayVolume

ORDER = ("image", "affinities", "fragments", "segmentation", "truth")
"""Artifacts from the bottom layer to the top one; others follow."""
LABEL_NAMES = ("fragments", "segmentation", "truth")
UNKNOWN_SIZE: VoxelSize = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Layer:
    """One volume and how it is drawn: grey, one colour per label, or channels as red, green and blue."""

    name: str
    kind: Kind
    volume: AnyVolume


@dataclass(frozen=True)
class Scene:
    """Layers that lie in one space, bottom first.

    Attributes
    ----------
    url : str
    layers : tuple of Layer
    box : Box
        Where to look, in voxels of `voxel_size_nm`.
    voxel_size_nm : (z, y, x)
    notes : tuple of str
        What could not be opened, and why; what is assumed.
    """

    url: str
    layers: tuple[Layer, ...]
    box: Box
    voxel_size_nm: VoxelSize
    notes: tuple[str, ...] = ()

    def layer(self, name: str) -> Layer | None:
        """Return the layer called `name`, if there is one."""
        return next((layer for layer in self.layers if layer.name == name), None)


def open_scene(url: str) -> Scene:
    """Open a dataset with all its volumes, or a single volume of any kind."""
    location = Location.parse(url)
    dataset = Dataset(location.container)
    record = dataset.read_record() if location.name is None else None
    if record is None:
        return _single(url, location)
    return dataset_scene(dataset, Plan.from_record(record["plan"]))


def dataset_scene(dataset: Dataset, plan: Plan) -> Scene:
    """Open what a plan reads and writes; what is missing or unreadable becomes a note."""
    # Named under ``dataset`` but read by no stage: truth, and the image of stored affinities.
    given = {name: url for name in VOLUME_INPUTS if (url := getattr(plan.workflow.dataset, name)) is not None}
    written = _written(dataset, plan)
    urls = given | written | plan.external
    layers, notes = [], []
    for name in sorted(urls, key=lambda each: (ORDER.index(each) if each in ORDER else len(ORDER), each)):
        try:
            volume, is_finished = _open(urls[name], plan.voxel_size_nm, name in written)
        except (InputError, OSError) as error:
            notes.append(f"{name} cannot be shown: {error}")
            continue
        if volume.box.shape != plan.domain.shape:
            notes.append(f"{name} cannot be shown: its shape is {volume.box.shape}, not {plan.domain.shape}")
            continue
        if not is_finished:
            notes.append(f"{name}: not finished yet, missing blocks are blank")
        layers.append(Layer(name, _kind(name, volume), volume))
    return Scene(dataset.url, tuple(layers), plan.domain, plan.voxel_size_nm, tuple(notes))


def _open(url: str, voxel_size_nm: VoxelSize, is_ours: bool) -> tuple[AnyVolume, bool]:
    """Open a volume, and say whether it is finished: what a run is writing may be looked at."""
    if is_ours and is_volume(url, even_unfinished=True) and not is_volume(url):
        return Volume.open(url, voxel_size_nm=voxel_size_nm, even_unfinished=True), False
    return open_volume(url, voxel_size_nm), True


def _written(dataset: Dataset, plan: Plan) -> dict[str, str]:
    return {
        name: dataset.volume_url(name)
        for name, (_, artifact) in plan.writers.items()
        if isinstance(artifact, VolumeArtifact)
    }


def _single(url: str, location: Location) -> Scene:
    volume = open_volume(url)
    name = location.name or location.container.rpartition("/")[2]
    name = name.rpartition("/")[2]
    layers, size = (Layer(name, _kind(name, volume), volume),), volume.stated_voxel_size_nm
    if size is None:
        note = f"{location} does not state its voxel size: 1 nm is assumed"
        return Scene(str(location), layers, volume.box, UNKNOWN_SIZE, (note,))
    return Scene(str(location), layers, volume.box, size)


def _kind(name: str, volume: AnyVolume) -> Kind:
    if volume.n_channels is not None:
        return "channels"
    named = name in LABEL_NAMES and np.dtype(volume.dtype).kind in "iub"
    return "labels" if named or is_label_type(volume.dtype) else "image"
