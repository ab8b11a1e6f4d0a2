"""Runs a workflow from first voxel to bill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

from connectome.errors import InputError
from connectome.runtime.accounting import Accounts
from connectome.runtime.cleaning import Cleaner
from connectome.runtime.dask import DaskRunner
from connectome.runtime.engine import Runner, execute
from connectome.runtime.evaluation import evaluate
from connectome.runtime.events import Listener, RunEnded
from connectome.runtime.metrics import Metrics
from connectome.runtime.pools import CPU, Limits, Workers, pools_of
from connectome.runtime.prepare import prepare
from connectome.runtime.prices import Prices
from connectome.runtime.progress import ProgressDisplay
from connectome.runtime.queues import Progress
from connectome.runtime.recorder import Recorder, recall
from connectome.runtime.serial import SerialRunner
from connectome.runtime.work import forget_volumes, is_spot_machine, perform
from connectome.stages.stage import VolumeArtifact
from connectome.store.dataset import Dataset
from connectome.store.ledger import receipt_record
from connectome.store.run_lock import RunLock
from connectome.store.volume import Volume, is_volume
from connectome.workflow.plan import Plan, Task
from connectome.workflow.workflow import Workflow


@dataclass(frozen=True)
class Outcome:
    """What a run left: the dataset, its plan, the bill and what could not be done."""

    dataset: Dataset
    plan: Plan
    ended: RunEnded
    accounts: Accounts
    prices: Prices
    agreement: dict[str, float] | None

    @property
    def is_complete(self) -> bool:
        return not self.ended.quarantined and not self.ended.n_blocked

    def summary(self) -> dict[str, Any]:
        """Return the figures that ``connectome run --json`` prints."""
        return {
            "dataset": self.dataset.url,
            "voxels": self.plan.domain.n_voxels,
            "seconds": round(self.ended.seconds, 3),
            **self.accounts.bill(self.plan.domain.n_voxels, self.prices),
            "prices": self.prices.model_dump(),
            "agreement": self.agreement,
            "quarantined": [str(task) for task in self.ended.quarantined],
            "blocked": self.ended.n_blocked,
        }


def run(
    workflow: Workflow,
    *,
    runner: str = "dask",
    n_workers: Workers = None,
    is_secure: bool = False,
    redo: bool = False,
    prices: Prices | None = None,
    display: ProgressDisplay | None = None,
    metrics: str | None = None,
) -> Outcome:
    """Run a workflow, or go on with it where it stopped.

    Parameters
    ----------
    workflow : Workflow
    runner : str
        ``serial``, ``dask`` (a LocalCluster) or a scheduler's ``tcp://`` address.
    n_workers : int, Limits or mapping of str to these, optional
        Worker processes of the LocalCluster, of each pool where there are several; one per core where not given.
        Between limits there are as many as the queue is worth.
    is_secure : bool
        Encrypt and authenticate the LocalCluster's connections, with keys made for the run.
    redo : bool
        Compute again what changed parameters make stale.
    prices : Prices, optional
        The default table where it is not given.
    display : ProgressDisplay, optional
        Told all events.
    metrics : str, optional
        ``PORT`` or ``HOST:PORT`` where Prometheus may read how the run goes; a port alone is of this machine only.
    """
    make, prices = _runner_of(runner, n_workers, is_secure=is_secure), prices or Prices.load()
    named = n_workers if isinstance(n_workers, Mapping) else ()
    prices.check([*named, *(stage.pool for stage in workflow.running_stages)])
    is_spot_machine()  # what it cannot mean is said before any work
    forget_volumes()
    with ExitStack() as stack:
        lock = stack.enter_context(RunLock(Dataset.at(workflow.dataset.url).url))
        ingested = (lambda name, done, total: display.moved(f"ingest {name}", done, total)) if display else None
        plan, dataset = prepare(workflow, redo=redo, progress=ingested, check=lock.check)
        dataset = replace(dataset, claim=lock.claim)
        progress, accounts = recall(dataset, plan)
        recorder, cleaner = Recorder(dataset, accounts, progress), Cleaner(plan, dataset, progress)
        # The lock first: once it is lost, nothing more is written to the ledger.
        listeners: list[Listener] = [lock.check, recorder, cleaner]
        if display is not None:
            display.follow(accounts, prices)
            listeners.append(display)
        if metrics is not None:
            served = stack.enter_context(closing(Metrics(accounts, prices, metrics)))
            listeners.append(served)
            if display is not None:
                display.say(f"metrics: {served.url}")
        with closing(make(plan, dataset)) as executor:
            if isinstance(executor, DaskRunner) and (scaler := executor.scaler) is not None:
                listeners.append(scaler)
            try:
                ended = execute(plan, executor, progress, listeners)
            except BaseException:
                lock.check()
                recorder.flush()
                raise
        lock.check()
        _finish_volumes(plan, dataset, progress)
        scores = None if ended.quarantined or ended.n_blocked else _score(plan, dataset)
        lock.check()
        cleaner.finish()
    return Outcome(dataset, plan, ended, accounts, prices, scores)


def replay(dataset_url: str, task: Task) -> str:
    """Run one task of a dataset again in this process, so that its error can be seen and debugged.

    The receipt goes to the ledger; the next run goes on from there.
    """
    dataset = Dataset.at(dataset_url)
    record = dataset.read_record()
    if record is None:
        raise InputError(f"there is no dataset at {dataset_url}: give the folder that a run wrote")
    plan = Plan.from_record(record["plan"])
    if task.stage not in plan.passes:
        raise InputError(f"{dataset_url} has no pass {task.stage!r}; there are {', '.join(plan.passes)}")
    if not plan.passes[task.stage].has(task):
        raise InputError(f"{task} is not on the grid of {dataset_url}, which is {plan.grid.shape}: give one that is")
    progress, _ = recall(dataset, plan)
    missing = [str(needed) for needed in plan.dependencies(task) if not progress.is_done(needed)]
    if missing:
        raise InputError(f"{task} needs {missing[0]}, which is not done: run the workflow, or replay that first")
    with RunLock(dataset.url) as lock:
        receipt = perform(plan, replace(dataset, claim=lock.claim), task)
        lock.check()
        dataset.ledger.append([receipt_record(receipt)])
    return f"{task} done in {receipt.wall_s:.2f} s"


def _runner_of(name: str, workers: Workers, *, is_secure: bool) -> Callable[[Plan, Dataset], Runner]:
    pools = pools_of(workers)
    if not pools or any(each.minimum < 0 or each.maximum < max(1, each.minimum) for each in pools.values()):
        given = ", ".join(f"{each} in pool {pool}" for pool, each in pools.items())
        raise InputError(
            f"--workers wants at least 1 in each pool, and limits from less to more such as 1-8; got {given}"
        )
    if is_secure and name != "dask" and not name.startswith("tls://"):
        raise InputError(f"--secure encrypts --runner dask, got --runner {name}: use that, or a tls:// scheduler")
    if name == "serial":
        return SerialRunner
    if name == "dask":
        return lambda plan, dataset: DaskRunner(dataset, workers=_checked_pools(plan, pools), is_secure=is_secure)
    if "://" in name:
        return lambda _, dataset: DaskRunner(dataset, address=name, is_secure=name.startswith("tls://"))
    raise InputError(f"--runner is {name!r}; wanted is serial, dask or a scheduler's address such as tcp://host:8786")


def _checked_pools(plan: Plan, offered: Mapping[str, Limits]) -> Mapping[str, Limits]:
    """Check that there is a pool for every stage."""
    for each in plan.passes.values():
        pool = each.stage.pool
        if pool not in offered:
            wanted = ",".join(f"{name}=N" for name in sorted({*offered, pool}))
            otherwise = "" if pool == CPU else ", or leave its resources out"
            raise InputError(
                f"stage {each.stage.name} runs in the pool {pool!r}, which this run does not have: give --workers "
                f"{wanted}{otherwise}"
            )
    return offered


def _finish_volumes(plan: Plan, dataset: Dataset, progress: Progress) -> None:
    """Let others open the volumes whose blocks are all there."""
    for name, each in plan.passes.items():
        for artifact in each.stage.outputs:
            is_whole = progress.is_complete(name)
            if each.kind == "block" and is_whole and isinstance(artifact, VolumeArtifact):
                url = dataset.volume_url(artifact.name)
                if artifact.name not in plan.temporary or is_volume(url, even_unfinished=True):
                    Volume.open(url, even_unfinished=True).finish()


def _score(plan: Plan, dataset: Dataset) -> dict[str, float] | None:
    """Score the segmentation where there is truth."""
    truth = plan.workflow.dataset.truth
    if truth is None and is_volume(dataset.volume_url("truth")):
        truth = dataset.volume_url("truth")
    if truth is None or "segmentation" not in plan.writers or not is_volume(dataset.volume_url("segmentation")):
        return None
    scores = evaluate(dataset.volume_url("segmentation"), truth)
    return {
        "voi_split": scores.voi_split,
        "voi_merge": scores.voi_merge,
        "adapted_rand_error": scores.adapted_rand_error,
    }
