"""What a dataset was made with, against what is asked for now: which results are stale, and why."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from connectome.errors import InputError
from connectome.stages import registry
from connectome.stages.stage import VolumeArtifact
from connectome.store.dataset import RECORD, Dataset
from connectome.workflow.plan import Plan

State = dict[str, Any]


@dataclass(frozen=True)
class External:
    """What identifies a volume from outside, and whether the dataset holds a copy of it."""

    name: str
    signature: str
    is_copied: bool


@dataclass
class Changes:
    """Sentences about what changed, and what is stale for it."""

    sentences: list[str] = field(default_factory=list)
    stages: set[str] = field(default_factory=set)
    copies: set[str] = field(default_factory=set)


def state_of(plan: Plan, externals: list[External]) -> State:
    """Return everything that results depend on, as plain values."""
    state = {
        "domain": str(plan.domain),
        "voxel_size_nm": list(plan.voxel_size_nm),
        "block": list(plan.workflow.grid.block),
        "inputs": {each.name: each.signature for each in externals},
        "copies": [each.name for each in externals if each.is_copied],
        "stages": {stage.name: stage.identity() for stage in plan.workflow.running_stages},
    }
    plain: State = json.loads(json.dumps(state))
    return plain


def settle(dataset: Dataset, state: State, *, redo: bool) -> State:
    """Refuse what does not fit the dataset's results, or delete them if `redo` is given.

    Returns the state to record: results of stages that are not asked for now are kept while they fit.
    """
    record = dataset.read_record()
    if record is None:
        if dataset.ledger.n_written:
            raise InputError(
                f"{dataset.url} holds results but no {RECORD}, which says what they were made with: restore it, or "
                "choose another dataset.url"
            )
        return state
    before = record["state"]
    changes = find_changes(before, state)
    if changes.sentences and not redo:
        raise InputError(
            f"{dataset.url} was made with other parameters: {'; '.join(changes.sentences)}. Give --redo to compute "
            "what depends on them again, or choose another dataset.url"
        )
    forget(dataset, changes.stages)
    for name in changes.copies:
        dataset.delete_volume(name)
    kept = {name: identity for name, identity in before["stages"].items() if name not in changes.stages}
    return {**state, "stages": {**kept, **state["stages"]}}


def find_changes(before: State, now: State) -> Changes:
    """Compare two states; stages follow the registry's declared inputs and outputs."""
    changes = Changes()
    known = [name for name in [*now["stages"], *before["stages"]] if name in registry()]
    for key, word in (("domain", "the volume's box"), ("voxel_size_nm", "the voxel size"), ("block", "grid.block")):
        if before[key] != now[key]:
            changes.sentences.append(f"{word} was {before[key]}, is {now[key]}")
            changes.stages |= set(before["stages"])
    stale = _changed_sources(before, now, changes)
    for name in dict.fromkeys(known):
        old, new = before["stages"].get(name), now["stages"].get(name)
        if old is not None and new is not None:
            changes.sentences += _differences(name, old, new)
        is_other = old is not None and new is not None and old != new
        if is_other or set(registry()[name].inputs) & stale:
            changes.stages.add(name)
        if name in changes.stages:
            stale |= {artifact.name for artifact in registry()[name].outputs}
    return changes


def forget(dataset: Dataset, stages: set[str]) -> None:
    """Strike stages from the ledger, then delete what they wrote: half deleted must not count as done."""
    if not stages:
        return
    passes = [name + suffix for name in sorted(stages) for suffix in ("", ".reduce", ".expand")]
    dataset.ledger.reset(passes)
    for name in stages:
        for artifact in registry()[name].outputs if name in registry() else ():
            if isinstance(artifact, VolumeArtifact):
                dataset.delete_volume(artifact.name)
            else:
                dataset.delete_table(artifact.name)


def _changed_sources(before: State, now: State, changes: Changes) -> set[str]:
    """Return artifacts that come from somewhere else than before."""
    stale = set()
    old_sources, new_sources = _sources(before), _sources(now)
    for name in old_sources.keys() & new_sources.keys():
        old, new = old_sources[name], new_sources[name]
        if old != new:
            changes.sentences.append(f"{name} was {old}, is {new}")
            stale.add(name)
            if name in before.get("copies", ()):
                changes.copies.add(name)
            elif name in now["copies"] and name not in before["inputs"]:
                # The copy takes the place of what a stage wrote.
                changes.stages |= {stage for stage in before["stages"] if name in _outputs(stage)}
    return stale


def _sources(state: State) -> dict[str, str]:
    made = {name: f"made by stage {stage}" for stage in state["stages"] for name in _outputs(stage)}
    return made | {name: f"given as {signature}" for name, signature in state["inputs"].items()}


def _outputs(stage: str) -> set[str]:
    return {artifact.name for artifact in registry()[stage].outputs} if stage in registry() else set()


def _differences(stage: str, before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    keys = sorted(set(before) | set(now))
    return [
        f"{stage}.{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in keys if before.get(key) != now.get(key)
    ]
