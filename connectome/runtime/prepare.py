"""From a workflow to a dataset that is ready to run: inputs found, changes noticed, artifacts created.

Everything that can be refused is refused here, before anything is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from connectome.errors import InputError
from connectome.geometry import Box
from connectome.stages import Stage, registry
from connectome.stages.stage import VolumeArtifact, VoxelSize
from connectome.store.dataset import Dataset
from connectome.store.ingest import ingest
from connectome.store.locations import Location
from connectome.store.pyramid import pyramid_factors
from connectome.store.slabs import Source
from connectome.store.sources import is_foreign, open_source
from connectome.store.volume import Volume, is_volume
from connectome.workflow.plan import Plan
from connectome.workflow.workflow import Workflow

IngestProgress = Callable[[str, int, int], None]
"""Called with (artifact, voxels done, voxels in all)."""

WANTED = {"image": ("uint8", False), "affinities": ("uint8", True)}
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
    externals = [_look_at(workflow, name) for name in _wanted_inputs(workflow)]
    domain, voxel_size = _domain(workflow, externals)
    _check_truth(workflow, domain)
    if shape is not None:
        domain = Box.of_shape(shape)
    return Plan(workflow, domain, voxel_size, {each.name: each.url for each in externals})


def prepare(workflow: Workflow, *, redo: bool = False, progress: IngestProgress | None = None) -> tuple[Plan, Dataset]:
    """Make the workflow's dataset ready to run.

    Parameters
    ----------
    workflow : Workflow
    redo : bool
        Delete what changed parameters make stale instead of refusing.
    progress : callable, optional
        Told about foreign volumes that are brought in.

    Returns
    -------
    plan, dataset

    Raises
    ------
    InputError
        If a volume cannot be used, or parameters changed and `redo` is not given.
    """
    dataset = Dataset.at(workflow.dataset.url)
    externals = [_look_at(workflow, name) for name in _wanted_inputs(workflow)]
    domain, voxel_size = _domain(workflow, externals)
    _check_truth(workflow, domain)
    urls = {each.name: dataset.volume_url(each.name) if each.is_foreign else each.url for each in externals}
    plan = Plan(workflow, domain, voxel_size, urls)
    state = _state(plan, externals)
    old = dataset.read_record()
    if old is not None:
        _settle_changes(dataset, plan, old, state, redo)
    dataset.write_record({"format": "connectome dataset", "version": 1, "plan": plan.record(), "state": state})
    for each in externals:
        if each.is_foreign and not is_volume(dataset.volume_url(each.name)):
            _bring_in(each, dataset, workflow, progress)
    for stage in workflow.running_stages:
        _create_artifacts(stage, dataset, plan)
    return plan, dataset


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
        box, voxel_size = Box.of_shape(volume.shape), stated or volume.voxel_size_nm
    else:
        volume = Volume.open(url, voxel_size_nm=stated)
        box, voxel_size = volume.box, volume.voxel_size_nm
    if voxel_size is None:
        raise InputError(f"{where} does not state its voxel size: give it with --set dataset.voxel_size_nm=Z,Y,X")
    if volume.dtype != dtype:
        raise InputError(
            f"{where} holds {volume.dtype}, wanted is {dtype}: bring it in with "
            f"`connectome ingest {url} TARGET --window LOW,HIGH` and give TARGET instead"
        )
    n_channels = volume.n_channels
    if has_channels and (n_channels is None or n_channels < 3):
        raise InputError(f"{where} has {n_channels or 'no'} channels, wanted are 3 affinities (c z y x)")
    if not has_channels and n_channels is not None:
        raise InputError(f"{where} has {n_channels} channels, wanted is one grey image (z y x)")
    location = Location.parse(url)
    z, y, x = voxel_size
    place = str(location) if foreign else location.url
    return _External(name, place, foreign, box, (z, y, x), _signature(location, box))


def _signature(location: Location, box: Box) -> str:
    """Say what would show that another volume lies at the same place: for files, size and time."""
    path = location.local_path
    parts = [str(location), str(box)]
    if path is not None and path.is_file():
        parts += [str(path.stat().st_size), str(path.stat().st_mtime_ns)]
    return " ".join(parts)


def _domain(workflow: Workflow, externals: list[_External]) -> tuple[Box, VoxelSize]:
    made = [volume for stage in workflow.running_stages if (volume := stage.domain()) is not None]
    found = [(each.box, each.voxel_size_nm) for each in externals] + made
    if not found:
        raise InputError("the workflow has no volume: set dataset.image, or begin with a stage that makes one")
    for box, size in found[1:]:
        if (box, size) != found[0]:
            raise InputError(
                f"volumes do not fit: one is {found[0][0]} at {found[0][1]} nm, another {box} at {size} nm; "
                "give volumes of one box and voxel size"
            )
    return found[0]


def _check_truth(workflow: Workflow, domain: Box) -> None:
    """Look at the truth before hours of work, not after them."""
    url = workflow.dataset.truth
    if url is None:
        return
    source = open_source(url)
    if tuple(source.shape) != domain.shape or source.n_channels is not None or source.dtype.kind not in "uib":
        raise InputError(
            f"dataset.truth {url} is {source.dtype} of shape {tuple(source.shape)}, the volume has shape "
            f"{domain.shape}: give labels of the volume's shape, or leave dataset.truth out"
        )


def _state(plan: Plan, externals: list[_External]) -> dict[str, Any]:
    """Return everything that results depend on, for comparison with a later run."""
    state = {
        "domain": str(plan.domain),
        "voxel_size_nm": list(plan.voxel_size_nm),
        "block": list(plan.workflow.grid.block),
        "inputs": {each.name: each.signature for each in externals},
        "stages": {stage.name: stage.identity() for stage in plan.workflow.running_stages},
    }
    plain: dict[str, Any] = json.loads(json.dumps(state))
    return plain


def _settle_changes(dataset: Dataset, plan: Plan, old: dict[str, Any], state: dict[str, Any], redo: bool) -> None:
    """Refuse or delete what does not fit the new parameters."""
    before = old.get("state")
    if before is None:
        raise InputError(f"{dataset.url} holds a dataset of an unknown kind: choose another dataset.url")
    changes: list[str] = []
    stale: set[str] = set()
    names = [stage.name for stage in plan.workflow.running_stages]
    for key, word in (("domain", "the volume's box"), ("voxel_size_nm", "the voxel size"), ("block", "grid.block")):
        if before[key] != state[key]:
            changes.append(f"{word} was {before[key]}, is {state[key]}")
            stale |= set(names)
    stale_artifacts: set[str] = set()
    for name, signature in state["inputs"].items():
        if name in before["inputs"] and before["inputs"][name] != signature:
            changes.append(f"dataset.{name} was {before['inputs'][name]}, is {signature}")
            stale_artifacts.add(name)
        elif name not in before["inputs"] and name in _artifacts_of(before["stages"]):
            changes.append(f"{name} was made by a stage, is {signature}")
            stale_artifacts.add(name)
    for stage in plan.workflow.running_stages:
        if stage.name not in before["stages"]:
            stale.add(stage.name)
        else:
            changes += _parameter_changes(stage.name, before["stages"][stage.name], state["stages"][stage.name])
        if before["stages"].get(stage.name) != state["stages"][stage.name] or set(stage.inputs) & stale_artifacts:
            stale.add(stage.name)
        if stage.name in stale:
            stale_artifacts |= {artifact.name for artifact in stage.outputs}
    if changes and not redo:
        raise InputError(
            f"{dataset.url} was made with other parameters: {'; '.join(changes)}. Give --redo to compute what depends "
            "on them again, or choose another dataset.url"
        )
    _delete_stale(dataset, plan, stale, {n for n in stale_artifacts if n in state["inputs"]})


def _parameter_changes(stage: str, before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    keys = sorted(set(before) | set(now))
    return [
        f"{stage}.{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in keys if before.get(key) != now.get(key)
    ]


def _artifacts_of(stages: dict[str, Any]) -> set[str]:
    return {artifact.name for name in stages if name in registry() for artifact in registry()[name].outputs}


def _delete_stale(dataset: Dataset, plan: Plan, stale: set[str], inputs: set[str]) -> None:
    passes = [each.name for each in plan.passes.values() if each.stage.name in stale]
    if passes:
        # Forgotten first: what is half deleted must not count as done.
        dataset.ledger.append([{"kind": "reset", "stages": passes}])
    for stage in plan.workflow.running_stages:
        if stage.name in stale:
            for artifact in stage.outputs:
                if isinstance(artifact, VolumeArtifact):
                    dataset.delete_volume(artifact.name)
                else:
                    dataset.delete_table(artifact.name)
    for name in inputs:
        dataset.delete_volume(name)


def _bring_in(each: _External, dataset: Dataset, workflow: Workflow, progress: IngestProgress | None) -> None:
    """Copy a foreign volume into the dataset, since blocks cannot be read from it at random."""

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(each.name, done, total)

    source = getattr(workflow.dataset, each.name)
    ingest(source, dataset.volume_url(each.name), voxel_size_nm=each.voxel_size_nm, progress=report)


def _create_artifacts(stage: Stage, dataset: Dataset, plan: Plan) -> None:
    block = plan.workflow.grid.block
    for artifact in stage.outputs:
        if not isinstance(artifact, VolumeArtifact) or is_volume(dataset.volume_url(artifact.name)):
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
            delete_existing=True,
        )
