"""Cuts of a dataset at other thresholds, from its tables of edges; no voxel is read.

A cut is a dataset of its own below ``cuts/`` of the one that it is made from, which is never written to. It
is what the engine makes of the workflow's agglomeration alone with another threshold, and so exact for any:
above or below the dataset's own, whatever the size rules.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.geometry import Box, Grid
from connectome.kernels.contingency import Counts, Labels, add_tables
from connectome.kernels.merge_tree import apply_names
from connectome.runtime.cluster import one_cluster
from connectome.runtime.evaluation import Compared
from connectome.runtime.given_edges import GivenEdges, open_edges
from connectome.runtime.pools import Workers
from connectome.runtime.progress import ProgressDisplay
from connectome.runtime.recorder import recall
from connectome.runtime.run import run
from connectome.stages.agglomeration import Agglomeration
from connectome.stages.edges import Edges
from connectome.store.dataset import Dataset
from connectome.store.volume import is_volume
from connectome.workflow.plan import Plan
from connectome.workflow.workflow import Workflow


@dataclass(frozen=True)
class Cut:
    """A dataset cut at a threshold: where its names are."""

    threshold: float
    dataset: Dataset
    plan: Plan

    @property
    def is_apart(self) -> bool:
        """Whether it is a dataset below the one that was cut, not that one itself."""
        return self.plan.edges_url is not None


@dataclass(frozen=True)
class CutFigures:
    """What a cut is like.

    Attributes
    ----------
    n_segments : int
        Segments, background not counted.
    largest : int
        Voxels of the largest one.
    n_merges : int
        Merged pairs.
    """

    n_segments: int
    largest: int
    n_merges: int


def check_thresholds(thresholds: Sequence[float]) -> list[float]:
    """Return the thresholds in ascending order, each once, or refuse them."""
    wrong = [threshold for threshold in thresholds if not 0 <= threshold <= 1]
    if wrong or not thresholds:
        got = f"{wrong[0]:g}" if wrong else "none"
        raise InputError(f"--threshold takes affinities from 0 to 1 with commas between, got {got}")
    return sorted(set(thresholds))


def cut_url(dataset_url: str, threshold: float) -> str:
    """Return where the cut of a dataset at `threshold` lies."""
    return f"{dataset_url}/cuts/{threshold}"


def cut(
    dataset_url: str,
    thresholds: Sequence[float],
    *,
    write: bool = False,
    runner: str = "serial",
    n_workers: Workers = None,
    display: ProgressDisplay | None = None,
) -> list[Cut]:
    """Cut a dataset at thresholds, or go on where that stopped; what is made already is kept.

    Parameters
    ----------
    dataset_url : str
        A dataset whose edges are made.
    thresholds : sequence of float
        Each takes the place of ``agglomeration.threshold``; the other parameters are the dataset's own.
    write : bool
        Write the segmentations as well.
    runner, n_workers, display
        As for a run.

    Returns
    -------
    list of Cut
        In ascending order of thresholds; the dataset itself where it has the threshold already.
    """
    wanted = check_thresholds(thresholds)
    given = open_edges(dataset_url)
    workflows = {threshold: _workflow(given, threshold, write=write) for threshold in wanted}
    made = {threshold: _find(given, threshold, workflow) for threshold, workflow in workflows.items()}
    if all(made.values()):
        return [found for found in made.values() if found is not None]
    with one_cluster(runner, n_workers) as shared:
        return [
            made[threshold] or _make(threshold, workflow, shared, n_workers, display)
            for threshold, workflow in workflows.items()
        ]


def _make(
    threshold: float, workflow: Workflow, runner: str, n_workers: Workers, display: ProgressDisplay | None
) -> Cut:
    outcome = run(workflow, runner=runner, n_workers=n_workers, redo=True, display=display)
    if not outcome.is_complete:
        task = outcome.ended.quarantined[0]
        raise InputError(
            f"{outcome.dataset.url} could not be made: see why with connectome replay {outcome.dataset.url} {task}"
        )
    return Cut(threshold, outcome.dataset, outcome.plan)


def _find(given: GivenEdges, threshold: float, workflow: Workflow) -> Cut | None:
    """Return the dataset itself, or its cut of that threshold, if it is made."""
    for dataset in (given.dataset, Dataset.at(workflow.dataset.url)):
        record = dataset.read_record()
        if record is None:
            continue
        made, state = Plan.from_record(record["plan"]), record["state"]
        fits = dataset is given.dataset or state["inputs"].get("edges") == given.signature
        progress, _ = recall(dataset, made)
        is_done = all(progress.done[name].count == len(each) for name, each in made.passes.items())
        if fits and is_done and all(state["stages"].get(s.name) == _plain(s.identity()) for s in workflow.stages):
            return Cut(threshold, dataset, made)
    return None


def _plain(values: dict[str, Any]) -> Any:
    return json.loads(json.dumps(values))


def _workflow(given: GivenEdges, threshold: float, *, write: bool) -> Workflow:
    """Return the workflow from a dataset's edges to its cut at `threshold`."""
    dataset, plan = given.dataset, given.plan
    url = cut_url(dataset.url, threshold)
    stages: list[dict[str, Any]] = [_agglomeration(plan).model_dump() | {"threshold": threshold}]
    if write or is_volume(f"{url}/volumes/segmentation", even_unfinished=True):
        stages.append({"stage": "segmentation"})
    image = dataset.volume_url("image")
    return Workflow.parse(
        {
            "description": f"{dataset.url} at threshold {threshold:g}",
            "dataset": {
                "url": url,
                "edges": dataset.url,
                "image": image if is_volume(image) else plan.workflow.dataset.image,
            },
            "grid": {"block": plan.workflow.grid.block},
            "attempts": plan.workflow.attempts,
            "stages": stages,
        },
        source=f"threshold {threshold:g}",
    )


def _agglomeration(plan: Plan) -> Agglomeration:
    """Return how the dataset agglomerates, or would."""
    linkage = next((stage.linkage for stage in plan.workflow.stages if isinstance(stage, Edges)), "mean")
    stages = (stage for stage in plan.workflow.stages if isinstance(stage, Agglomeration))
    return next(stages, Agglomeration(linkage=linkage))


def fragments_url(cut: Cut) -> str:
    """Return the fragments that a cut names."""
    return Dataset(cut.plan.edges_url or cut.dataset.url).volume("fragments").url


def names_in(cut: Cut, part: Box) -> dict[str, npt.NDArray[Any]]:
    """Return what a cut calls the fragments of a box: columns `old`, sorted, and `new`."""
    names = cut.dataset.table("names", cut.plan.table("names").columns)
    met = Grid(cut.plan.grid.covering(part), (1, 1, 1))
    parts = [names.read_part(0, met.box_at(index).start) for index in met.indices()]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in ("old", "new")}
    order = np.argsort(joined["old"])
    return {name: values[order] for name, values in joined.items()}


def renamed(cut: Cut, compared: Compared) -> tuple[Labels, Counts]:
    """Return the contingency table of a cut from that of its fragments."""
    segments = apply_names(names_in(cut, compared.part), compared.pairs[:, 1])
    pairs = np.stack([compared.pairs[:, 0], segments], axis=1)
    return add_tables([(pairs, compared.counts)])


def measure(cut: Cut) -> CutFigures:
    """Count segments and merges of a cut, part by part; memory grows with the segments alone."""
    edges = Dataset(cut.plan.edges_url or cut.dataset.url)
    clusters, names, merges = (
        source.table(name, cut.plan.table(name).columns)
        for source, name in ((edges, "clusters"), (cut.dataset, "names"), (cut.dataset, "merges"))
    )
    sizes = _Sizes()
    for index in cut.plan.grid.indices():
        leaf = clusters.read_part(0, index)
        sizes.add(apply_names(names.read_part(0, index), leaf["id"].astype(np.uint64)), leaf["size"])
    nodes = cut.plan.passes["agglomeration.reduce"].tasks()
    n_merges = sum(merges.read_part(task.level, task.index)["a"].size for task in nodes)
    ids, total = sizes.sum()
    total = total[ids != 0]
    return CutFigures(total.size, int(total.max(initial=0)), n_merges)


class _Sizes:
    """Adds up sizes by id; what is pending is folded in when it outgrows what is there."""

    def __init__(self) -> None:
        self._ids: list[npt.NDArray[Any]] = [np.zeros(0, np.uint64)]
        self._sizes: list[npt.NDArray[Any]] = [np.zeros(0, np.int64)]
        self._n_pending = 0

    def add(self, ids: npt.NDArray[np.uint64], sizes: npt.NDArray[Any]) -> None:
        self._ids.append(ids)
        self._sizes.append(sizes)
        self._n_pending += ids.size
        if self._n_pending > max(1 << 20, self._ids[0].size):
            self.sum()

    def sum(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        ids, owner = np.unique(np.concatenate(self._ids), return_inverse=True)
        total = np.zeros(ids.size, np.int64)
        np.add.at(total, owner, np.concatenate(self._sizes))
        self._ids, self._sizes, self._n_pending = [ids], [total], 0
        return ids, total
