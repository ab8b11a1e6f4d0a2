"""Edges that another dataset has made already: what a run from ``dataset.edges`` starts from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from connectome.errors import InputError
from connectome.runtime.recorder import recall
from connectome.stages import registry
from connectome.store.dataset import Dataset
from connectome.workflow.plan import Plan
from connectome.workflow.workflow import Workflow


@dataclass(frozen=True)
class GivenEdges:
    """A dataset whose edges are made, its plan, and what identifies the edges."""

    dataset: Dataset
    plan: Plan
    signature: str


def open_edges(url: str) -> GivenEdges:
    """Open a dataset to start from its edges; refuse one whose edges are not all there, or are out of date."""
    dataset = Dataset.at(url)
    record = dataset.read_record()
    if record is None:
        raise InputError(f"there is no dataset at {dataset.url}: give the folder that a run wrote")
    plan = Plan.from_record(record["plan"])
    if plan.edges_url is not None:
        raise InputError(f"{dataset.url} has no edges of its own: give {plan.edges_url}, which it was made from")
    if "edges" not in plan.writers:
        raise InputError(f"{dataset.url} was made without a stage that writes edges: run its workflow with one first")
    progress, maker = recall(dataset, plan)[0], plan.writers["edges"][0]
    n_done, n_all = progress.done[maker.name].count, len(maker)
    if n_done < n_all:
        raise InputError(
            f"{dataset.url} has the edges of {n_done} of {n_all} blocks: run its workflow to the end first"
        )
    stage = _maker(plan)
    if record["state"]["stages"][stage].get("version") != registry()[stage].version:
        raise InputError(f"the edges of {dataset.url} are of another version: run its workflow with --redo first")
    return GivenEdges(dataset, plan, f"{dataset.url} ({_identity(plan, record['state'])})")


def look_at_edges(workflow: Workflow) -> GivenEdges | None:
    """Open what ``dataset.edges`` names, if it does, and refuse what does not fit the workflow."""
    url = workflow.dataset.edges
    if url is None:
        return None
    given = open_edges(url)
    block = given.plan.workflow.grid.block
    if workflow.grid.block != block:
        raise InputError(
            f"grid.block is {workflow.grid.block}, but the edges of {given.dataset.url} lie in blocks of {block}: "
            f"set grid.block to {','.join(map(str, block))}"
        )
    for stage in workflow.running_stages:
        try:
            stage.check_beside(given.plan.workflow.running_stages)
        except ValueError as error:
            raise InputError(str(error)) from error
    return given


def _maker(plan: Plan) -> str:
    """Return the name of the stage that made the edges."""
    stages = plan.workflow.running_stages
    return next(stage.name for stage in stages if any(artifact.name == "edges" for artifact in stage.outputs))


def _identity(plan: Plan, state: dict[str, Any]) -> str:
    """Hash what the edges depend on: stages after them may change."""
    names = [stage.name for stage in plan.workflow.running_stages]
    stages = {name: state["stages"][name] for name in names[: names.index(_maker(plan)) + 1]}
    whole = {key: state[key] for key in ("domain", "voxel_size_nm", "block", "inputs")} | {"stages": stages}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:12]
