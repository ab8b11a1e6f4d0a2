"""Compiles every kernel into numba's cache, so that a worker that starts from it compiles nothing.

No list of signatures: small volumes go through the stages in every flavour as on a worker, and through the
kernels that commands call. What a kernel is compiled for is what it is given here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args, get_origin

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.geometry import Block, Box, Grid
from connectome.kernels import cache
from connectome.kernels.cache import can_write, compilations, folders
from connectome.kernels.components import consensus
from connectome.kernels.contacts import contacts, pool_contacts
from connectome.kernels.contingency import contingency
from connectome.kernels.downsample import downsample_mean, downsample_mode
from connectome.kernels.label_numbers import number_labels
from connectome.kernels.mutex_tree import MutexChannels, expand_mutex_names, mutex_block, reduce_mutexes
from connectome.kernels.mutex_watershed import mutex_watershed
from connectome.kernels.relabel import relabel, relabel_pyramid
from connectome.kernels.shape_descriptors import shape_descriptors
from connectome.models.subvolumes import Subvolumes, name_objects
from connectome.runtime.run import run
from connectome.stages import Stage, registry
from connectome.stages.reconciliation import Reconciliation
from connectome.stages.unscored_edges import UnscoredEdges
from connectome.store.dataset import Dataset
from connectome.store.volume import Volume
from connectome.workflow.workflow import Workflow

SHAPE, BLOCK = (32, 32, 80), (16, 16, 40)
"""Eight blocks, so that there are seams and a tree; one axis is long enough for a pyramid."""
VOXEL_SIZE_NM = (19.0, 20.0, 21.0)
"""Without a common divisor, so that squared distances outgrow 16 bits within a small block."""
SEGMENTING = ("fragments", "edges", "agglomeration", "segmentation")
PARAMETERS: dict[str, Any] = {"small_size": 20, "small_threshold": 0.3, "dust_size": 10}
NUMBERS: tuple[dict[str, Any], ...] = (
    {"cap_nm": 200.0},
    {"cap_nm": 10.0},
    {"cap_nm": 10.0, "smoothing": 2},
    {"flavour": "affinity", "high": 200},
    {"cells": [32, 32, 40]},
    {"root_level": 1},
)
"""Numbers that lead to other kernels, or to wider or narrower types, than the defaults."""
N_PAIRS = 1 << 16
OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (-2, 0, 0), (0, -3, 0), (0, 0, -3))


def warm() -> list[str]:
    """Call every kernel with every type that runs and commands give it.

    Returns
    -------
    list of str
        Names of the functions that were compiled, once for each list of types; none if all were kept already.

    Raises
    ------
    InputError
        If code was compiled that no folder takes.

    Notes
    -----
    A minute and a half of one core where nothing is kept yet, else ten seconds.
    """
    with compilations() as compiled:
        _call_all()
    if compiled and not any(can_write(folder) for folder in folders(cache.__file__)):
        places = ", ".join(map(str, folders(cache.__file__)))
        raise InputError(
            f"{len(compiled)} kernels were compiled but can be kept in none of {places}: set NUMBA_CACHE_DIR to a "
            "folder that can be written to"
        )
    return compiled


def _call_all() -> None:
    with TemporaryDirectory(prefix="connectome-warm-") as folder:
        truth, affinities = _tissue(Path(folder))
        for n, stages in enumerate(segmentations()):
            dataset = {"url": f"{folder}/{n}", "affinities": affinities, "truth": truth}
            _run({"dataset": dataset, "grid": {"block": BLOCK}, "stages": stages})
        labels = Volume.open(truth).read(Box.of_shape(SHAPE))
        channels = np.repeat(Volume.open(affinities).read(Box.of_shape(SHAPE)), 2, axis=0)
    _pool()
    _measure(labels)
    shape_descriptors(labels, (1.0, 1.0, 1.0))
    _segment_by_mutexes(channels)
    _join_objects(labels)


def _run(content: dict[str, Any]) -> None:
    outcome = run(Workflow.parse(content), runner="serial")
    if not outcome.is_complete:
        raise RuntimeError(f"a small run did not end: {outcome.summary()['quarantined']}")


def _tissue(folder: Path) -> tuple[str, str]:
    """Make a small phantom by its stage; return where its truth and affinities from it lie."""
    phantom = {"stage": "phantom", "shape": SHAPE, "voxel_size_nm": VOXEL_SIZE_NM}
    _run({"dataset": {"url": f"{folder}/phantom"}, "grid": {"block": BLOCK}, "stages": [phantom]})
    truth = Dataset.at(f"{folder}/phantom").volume_url("truth")
    labels = Volume.open(truth).read(Box.of_shape(SHAPE))
    random = np.random.default_rng(0)
    values = [np.where(labels == np.roll(labels, 1, axis), 200, 60) for axis in range(3)]
    affinities = (np.array(values) + random.integers(-50, 51, (3, *SHAPE))).astype(np.uint8)
    volume = Volume.create(
        f"{folder}/affinities.zarr",
        box=Box.of_shape(SHAPE),
        dtype="uint8",
        voxel_size_nm=VOXEL_SIZE_NM,
        n_channels=3,
        write_shape=SHAPE,
    )
    volume.write(Box.of_shape(SHAPE), affinities)
    return truth, volume.url


def segmentations() -> Iterator[list[dict[str, Any]]]:
    """Yield the segmenting stages as they are, and once for each other value of every choice that they offer.

    Stages that have a parameter of one name, such as the linkage, get it together.
    """
    # How a stage is run, which every stage can be told, changes no kernel.
    shared = Stage.model_fields
    fields = {
        name: {key: field for key, field in registry()[name].model_fields.items() if key not in shared}
        for name in SEGMENTING
    }
    changes: list[dict[str, Any]] = [{}, *NUMBERS]
    for key, field in {key: field for each in fields.values() for key, field in each.items()}.items():
        values = (False, True) if field.annotation is bool else get_args(field.annotation)
        if field.annotation is bool or get_origin(field.annotation) is Literal:
            changes += [{key: value} for value in values if value != field.default]
    for change in changes:
        given = {**PARAMETERS, **change}
        yield [{"stage": name, **{k: v for k, v in given.items() if k in fields[name]}} for name in SEGMENTING]


def _join_objects(labels: npt.NDArray[np.uint64]) -> None:
    """Join labels cut by subvolumes as if flood filling had found them; then cut them to what they agree on."""
    domain, subvolumes = Box.of_shape(SHAPE), Subvolumes(BLOCK, (2, 2, 2), (1, 1, 1))
    _, _, numbers = number_labels(labels)
    objects = np.zeros(SHAPE, np.uint64)
    tables = []
    for number in subvolumes.numbers_meeting(domain, domain):
        box = subvolumes.box(number, domain)
        filled = subvolumes.filled_box(box, domain)
        objects[box.slices], *named = name_objects(numbers[filled.slices], number, subvolumes, domain)
        tables.append(named)
    pieces, overlaps = (
        {name: np.concatenate([table[name] for table in parts]) for name in parts[0]}
        for parts in zip(*tables, strict=True)
    )
    block = Block(domain, domain, VOXEL_SIZE_NM)
    joined = Reconciliation(subvolume=BLOCK, depth=(1, 1, 1)).process(
        block, objects=objects, pieces=pieces, overlaps=overlaps
    )
    UnscoredEdges().process(block, fragments=joined["fragments"], face_links=joined["face_links"])
    consensus(labels, objects)


def _pool() -> None:
    """Pool volumes of all types that can be brought in, exported and viewed."""
    for name in ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64"):
        array = np.ones((3, 3, 3), name)
        downsample_mean(array, (2, 2, 2))
        if array.dtype.kind != "f":
            downsample_mode(array, (2, 2, 2))


def _measure(labels: Any) -> None:
    """Rename labels that lie far apart, measure their contacts, and count more pairs than a table begins with."""
    names = np.unique(labels)
    different = np.arange(N_PAIRS, dtype=np.uint64)
    contingency(different, different)
    relabel(labels, names, names)
    relabel(labels.copy(), names, names, in_place=True)
    relabel_pyramid(labels, names, names, [(2, 2, 2)] * 2)
    pool_contacts([contacts(labels), contacts((labels % 1000).astype(np.uint32))])


def _segment_by_mutexes(affinities: Any) -> None:
    """Segment by mutex watershed, whole and block by block."""
    mutex_watershed(affinities, OFFSETS)
    domain, channels = Box.of_shape(SHAPE), MutexChannels(OFFSETS)
    grid, children = Grid(domain, BLOCK), []
    for index in grid.indices():
        block = Block(grid.box_at(index), domain, VOXEL_SIZE_NM)
        read_box = block.write_box.grow(channels.halo).intersect(domain)
        part = np.ascontiguousarray(affinities[(slice(None), *read_box.slices)])
        children.append((block.write_box, mutex_block(part, read_box, block.write_box, domain, channels)[1]))
    root = reduce_mutexes(domain, children, domain, channels)
    expand_mutex_names(root.names, root.names)
