"""From a workflow to a dataset that is ready to run: inputs found, changes noticed, artifacts created.

Everything that can be refused is refused here, before anything is written.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.runtime.changes import External, forget, settle, state_of
from connectome.runtime.cleaning import is_read_up
from connectome.runtime.evaluation import refuse_image
from connectome.runtime.given_edges import GivenEdges, look_at_edges
from connectome.runtime.recorder import recall
from connectome.stages.fused import members_of
from connectome.stages.stage import VolumeArtifact, VoxelSize
from connectome.store.dataset import Dataset
from connectome.store.ingest import ingest
from connectome.store.locations import Location, read_key, scheme_of
from connectome.store.pyramid import CHUNK, SMALL_CHUNK, pyramid_factors
from connectome.store.slabs import Source
from connectome.store.sources import is_foreign, open_source, open_volume
from connectome.store.volume import Volume, is_volume
from connectome.workflow.estimates import check_memory
from connectome.workflow.memory import worker_memory
from connectome.workflow.plan import Plan
from connectome.workflow.workflow import Workflow

DESCRIPTIONS = ("zarr.json", ".zattrs", ".zarray", "attributes.json", "info")
"""Files that describe a volume."""

IngestProgress = Callable[[str, int, int], None]
"""Called with (artifact, voxels done, voxels in all)."""

WANTED = {"image": ("uint8", False), "mask": ("uint8", False), "affinities": ("uint8", True)}
"""Dtype, and whether there are channels, of volumes that stages read from outside."""


@dataclass(frozen=True)
class _External:
    """A volume from outside: where it is, whether it must be brought in, and what identifies it."""

    name: str
    url: str
    is_foreign: bool
    box: Box
    voxel_size_nm: VoxelSize
    signature: str


def plan_workflow(workflow: Workflow, shape: tuple[int, int, int] | None = None) -> Plan:
    """Return the plan of `workflow` for its own volume, or for one of another `shape`."""
    externals, edges = _look_outside(workflow)
    domain, voxel_size = _domain(workflow, externals, edges)
    _check_truth(workflow, domain)
    _check_image(workflow, domain)
    if shape is not None:
        domain = Box.of_shape(shape)
    return _plan(workflow, domain, voxel_size, {each.name: each.url for each in externals}, edges)


def prepare(
    workflow: Workflow,
    *,
    redo: bool = False,
    progress: IngestProgress | None = None,
    check: Callable[[], None] = lambda: None,
) -> tuple[Plan, Dataset]:
    """Make the workflow's dataset ready to run.

    Parameters
    ----------
    workflow : Workflow
    redo : bool
        Delete what changed parameters make stale instead of refusing.
    progress : callable, optional
        Told about foreign volumes that are brought in.
    check : callable
        Asked before each step that deletes or writes; raises where the dataset is no longer the caller's.

    Returns
    -------
    plan, dataset

    Raises
    ------
    InputError
        If a volume cannot be used, or parameters changed and `redo` is not given.
    """
    dataset = Dataset.at(workflow.dataset.url)
    externals, edges = _look_outside(workflow)
    domain, voxel_size = _domain(workflow, externals, edges)
    _check_truth(workflow, domain)
    _check_image(workflow, domain)
    urls = {each.name: dataset.volume_url(each.name) if each.is_foreign else each.url for each in externals}
    plan = _plan(workflow, domain, voxel_size, urls, edges)
    _refuse_own_results(dataset, externals)
    identified = [External(each.name, each.signature, each.is_foreign) for each in externals]
    if edges is not None:
        identified.append(External("edges", edges.signature, False))
    state = state_of(plan, identified)
    check()
    state = settle(dataset, state, redo=redo)
    if dataset.read_record() is not None:
        check()
        forget(dataset, _stages_of_lost_volumes(plan, dataset))
    check()
    dataset.write_record(plan.record(), state)
    for each in externals:
        if each.is_foreign and not is_volume(dataset.volume_url(each.name)):
            _bring_in(each, dataset, workflow, progress, check)
    check()
    _create_volumes(plan, dataset)
    return plan, dataset


def _look_outside(workflow: Workflow) -> tuple[list[_External], GivenEdges | None]:
    return [_look_at(workflow, name) for name in _wanted_inputs(workflow)], look_at_edges(workflow)


def _plan(
    workflow: Workflow, domain: Box, voxel_size: VoxelSize, urls: dict[str, str], edges: GivenEdges | None
) -> Plan:
    if edges is None:
        plan = Plan(workflow, domain, voxel_size, urls)
    else:
        reads_fragments = any("fragments" in stage.inputs for stage in workflow.running_stages)
        fragments = {"fragments": edges.dataset.volume("fragments").url} if reads_fragments else {}
        plan = Plan(workflow, domain, voxel_size, urls | fragments, edges.dataset.url)
    if workflow.grid.memory_gb is not None:
        check_memory(plan, worker_memory(workflow.grid.memory_gb, 1))
    return plan


def _wanted_inputs(workflow: Workflow) -> list[str]:
    """Volumes under ``dataset`` that running stages read."""
    read = {name for stage in workflow.running_stages for name in stage.inputs}
    given = {name for name in WANTED if getattr(workflow.dataset, name) is not None}
    return sorted(read & given)


def _look_at(workflow: Workflow, name: str) -> _External:
    url = getattr(workflow.dataset, name)
    stated = workflow.dataset.voxel_size_nm
    foreign = is_foreign(url)
    dtype, has_channels = WANTED[name]
    where = f"dataset.{name} {url}"
    volume: Volume | Source
    if foreign:
        volume = open_source(url)
        box, own = Box.of_shape(volume.shape).shift(volume.offset), volume.voxel_size_nm
    else:
        volume = Volume.open(url)
        box, own = volume.box, volume.stated_voxel_size_nm
    voxel_size = stated or own
    if stated and own and not all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(stated, own, strict=True)):
        sizes = [" x ".join(f"{n:g}" for n in size) for size in (own, stated)]
        raise InputError(
            f"{where} has voxels of {sizes[0]} nm (z, y, x), but the workflow's dataset.voxel_size_nm is {sizes[1]}: "
            "leave that out (--set dataset.voxel_size_nm=null) if the volume is right, else bring it in with "
            f"`connectome ingest {url} TARGET --voxel-size Z,Y,X` and give TARGET"
        )
    if voxel_size is None:
        raise InputError(f"{where} does not state its voxel size: give it with --set dataset.voxel_size_nm=Z,Y,X")
    if volume.dtype != dtype:
        raise InputError(
            f"{where} holds {volume.dtype}, wanted is {dtype}: bring it in with "
            f"`connectome ingest {url} TARGET --window LOW,HIGH` and give TARGET instead"
        )
    n_channels = volume.n_channels
    if has_channels and (n_channels is None or n_channels < 3):
        raise InputError(
            f"{where} has {n_channels or 'no'} channels, wanted are 3 affinities (c z y x), of pairs along z, y and x: "
            "give a volume of these"
        )
    if has_channels and n_channels is not None and box.shape[2] <= 3 < n_channels:
        raise InputError(
            f"{where} has {n_channels} channels of {box.shape} voxels, which looks like channels last, wanted are 3 "
            "affinities (c z y x): bring channels to the front (numpy.moveaxis(array, -1, 0))"
        )
    if not has_channels and n_channels is not None:
        raise InputError(f"{where} has {n_channels} channels, wanted is one grey image (z y x)")
    location = Location.parse(url)
    z, y, x = voxel_size
    place = str(location) if foreign else location.url
    return _External(name, place, foreign, box, (z, y, x), _signature(location, box))


def _signature(location: Location, box: Box) -> str:
    """Say what would show that another volume lies at the same place.

    Files and folders of sections: names, sizes and times. Volumes: what describes them, and when that was
    written; voxels that are changed in place are not noticed.
    """
    path, digest = location.local_path, hashlib.sha256()
    if path is not None and path.is_file():
        files = [path]
    elif path is not None and is_foreign(str(location)):
        files = sorted(entry for entry in path.iterdir() if entry.is_file())
    else:
        files = []
        for key in DESCRIPTIONS:
            digest.update(read_key(location.url, key) or b"")
            described = None if scheme_of(location.url) != "file" else Path(location.url) / key
            files += [described] if described is not None and described.is_file() else []
    for file in files:
        digest.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}".encode())
    return f"{location} ({box}, {digest.hexdigest()[:12]})"


def _domain(workflow: Workflow, externals: list[_External], edges: GivenEdges | None) -> tuple[Box, VoxelSize]:
    made = [volume for stage in workflow.running_stages if (volume := stage.domain()) is not None]
    found = [(each.box, each.voxel_size_nm) for each in externals] + made
    if edges is not None:
        found.append((edges.plan.domain, edges.plan.voxel_size_nm))
    if not found:
        raise InputError("the workflow has no volume: set dataset.image, or begin with a stage that makes one")
    for box, size in found[1:]:
        if (box, size) != found[0]:
            raise InputError(
                f"volumes do not fit: one is {found[0][0]} at {found[0][1]} nm, another {box} at {size} nm; "
                "give volumes of one box and voxel size"
            )
    return found[0]


def _refuse_own_results(dataset: Dataset, externals: list[_External]) -> None:
    """Refuse an input that the run itself may write or delete."""
    for each in externals:
        if not each.is_foreign and each.url.startswith(f"{dataset.url}/volumes/"):
            raise InputError(
                f"dataset.{each.name} {each.url} lies in dataset.url itself, where a run writes and deletes: leave "
                f"dataset.{each.name} out to go on with that dataset, or choose another dataset.url"
            )


def _stages_of_lost_volumes(plan: Plan, dataset: Dataset) -> set[str]:
    """Return the stages whose volumes are not there (deleted, or never made), but for those that nobody will read."""
    progress, _ = recall(dataset, plan)
    absent = {
        name: members_of(writer.name)
        for name, (writer, artifact) in plan.writers.items()
        if isinstance(artifact, VolumeArtifact) and not _is_there(dataset, name)
    }
    lost: set[str] = set()
    for _ in absent:  # who computes a lost volume again may read another one that was dropped
        for name, members in absent.items():
            is_made = name in plan.temporary and progress.is_complete(plan.writers[name][0].name)
            is_read = is_read_up(plan, progress, name)
            if not (is_made and is_read) or any(members_of(each.name) & lost for each in plan.readers(name)):
                lost |= members
    return lost


def _is_there(dataset: Dataset, name: str) -> bool:
    return is_volume(dataset.volume_url(name), even_unfinished=True)


def _check_truth(workflow: Workflow, domain: Box) -> None:
    """Look at the truth before hours of work, not after them."""
    url = workflow.dataset.truth
    if url is None:
        return
    source = open_source(url)
    if source.n_channels is not None or source.dtype.kind not in "ui":
        channels = "" if source.n_channels is None else f" with {source.n_channels} channels"
        raise InputError(
            f"dataset.truth {url} holds {source.dtype}{channels}, wanted are labels (z y x) of an integer type: give "
            "these, or leave dataset.truth out"
        )
    if tuple(source.shape) != domain.shape:
        raise InputError(
            f"dataset.truth {url} is {source.dtype} of shape {tuple(source.shape)}, the volume has shape "
            f"{domain.shape}: give labels of the volume's shape, or leave dataset.truth out"
        )
    if source.dtype == np.uint8:
        refuse_image(f"dataset.truth {url}", open_volume(url))


def _check_image(workflow: Workflow, domain: Box) -> None:
    """Look at an image that no stage reads, and that is shown beside the result."""
    url = workflow.dataset.image
    if url is not None and tuple(shape := open_source(url).shape) != domain.shape:
        raise InputError(
            f"dataset.image {url} has shape {tuple(shape)}, the volume has shape {domain.shape}: give the image of "
            "this volume, or leave dataset.image out"
        )


def _bring_in(
    each: _External,
    dataset: Dataset,
    workflow: Workflow,
    progress: IngestProgress | None,
    check: Callable[[], None],
) -> None:
    """Copy a foreign volume into the dataset, since blocks cannot be read from it at random."""

    def report(done: int, total: int) -> None:
        check()
        if progress is not None:
            progress(each.name, done, total)

    source = getattr(workflow.dataset, each.name)
    ingest(source, dataset.volume_url(each.name), voxel_size_nm=each.voxel_size_nm, progress=report)


def _create_volumes(plan: Plan, dataset: Dataset) -> None:
    """Create the volumes that are not there, but for those that were deleted because nobody will read them."""
    block, (progress, _) = plan.workflow.grid.block, recall(dataset, plan)
    # Small chunks are decoded sooner and take more requests, which a bucket charges for.
    unseen = SMALL_CHUNK if scheme_of(dataset.url) == "file" else CHUNK
    for name, (writer, artifact) in plan.writers.items():
        is_over = name in plan.temporary and progress.is_complete(writer.name)
        if not isinstance(artifact, VolumeArtifact) or is_over or _is_there(dataset, name):
            continue
        factors = pyramid_factors(plan.domain.shape, block, plan.voxel_size_nm) if artifact.pyramid else [(1, 1, 1)]
        Volume.create(
            dataset.volume_url(artifact.name),
            box=plan.domain,
            dtype=artifact.dtype,
            voxel_size_nm=plan.voxel_size_nm,
            n_channels=artifact.n_channels,
            write_shape=block,
            factors=factors,
            chunk=CHUNK if artifact.pyramid else unseen,
            delete_existing=True,
            is_finished=False,
        )
