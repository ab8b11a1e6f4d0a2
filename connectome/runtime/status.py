"""How a run stands, from its dataset alone: while it goes, from any machine, or after it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from connectome.errors import InputError
from connectome.runtime.accounting import Accounts
from connectome.runtime.history import History, PassHistory, read_history
from connectome.runtime.prices import Prices
from connectome.runtime.queues import Progress
from connectome.runtime.recorder import recall
from connectome.stages.stage import VolumeArtifact
from connectome.store.dataset import Dataset
from connectome.store.run_lock import latest_claim
from connectome.store.volume import is_volume
from connectome.workflow.plan import Pass, Plan, Task


@dataclass(frozen=True)
class PassStatus:
    """How one pass stands.

    Attributes
    ----------
    name : str
    done, total, quarantined : int
        Tasks.
    failed : int
        Tries that failed.
    lost : int
        Tasks that were sent again because their worker or the scheduler went.
    tasks_per_s, voxels_per_s : float
        Over the last minute.
    seconds_per_task : float or None
        Mean of a worker, None where no task is done.
    """

    name: str
    done: int
    total: int
    quarantined: int
    failed: int
    lost: int
    tasks_per_s: float
    voxels_per_s: float
    seconds_per_task: float | None


@dataclass(frozen=True)
class Quarantined:
    """A task that failed as often as it may."""

    task: str
    error: str
    replay: str


@dataclass(frozen=True)
class Driver:
    """Who holds the dataset, as its run lock says."""

    host: str
    pid: int
    since: str
    seen: str
    is_running: bool


@dataclass(frozen=True)
class Status:
    """How a run stands.

    Attributes
    ----------
    state : {'running', 'finished', 'stopped'}
        Finished when all tasks are done and others may open the volumes; running or stopped as the run lock says.
    workers : mapping of str to int
        Per pool; those that were there last where no run goes.
    seconds_left, usd_to_come : float or None
        With the workers that there are (or were last) and what tasks took so far; None where nothing is known.
    is_lower_bound : bool
        Passes are to come of which no task is done yet: it takes longer, and costs more.
    """

    dataset: str
    state: str
    passes: list[PassStatus]
    workers: Mapping[str, int]
    seconds_left: float | None
    usd_spent: float
    usd_to_come: float | None
    is_lower_bound: bool
    quarantined: list[Quarantined]
    driver: Driver | None
    last_task_s: float | None
    """When the last task ended that the ledger knows of, in seconds of the Unix clock."""

    def plain(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def status_of(dataset_url: str, prices: Prices, now_s: float | None = None) -> Status:
    """Read how the run on a dataset stands; nothing is written.

    Parameters
    ----------
    dataset_url : str
    prices : Prices
    now_s : float, optional
        Seconds of the Unix clock.
    """
    dataset = Dataset.at(dataset_url)
    record = dataset.read_record()
    if record is None:
        raise InputError(f"there is no dataset at {dataset_url}: give the folder that a run wrote")
    plan = Plan.from_record(record["plan"])
    progress, accounts = recall(dataset, plan)
    history = read_history(dataset.ledger.legible_records())
    driver, now = read_driver(dataset.url), time.time() if now_s is None else now_s
    left = {name: len(each) - progress.done[name].count for name, each in plan.passes.items()}
    quarantined = _quarantined(dataset, plan, history, progress)
    is_running = driver is not None and driver.is_running
    is_finished = not any(left.values()) and _are_volumes_finished(dataset, plan)
    seconds, to_come, is_bound = _still(plan, left, history, accounts, prices)
    return Status(
        dataset=dataset.url,
        state="finished" if is_finished else "running" if is_running else "stopped",
        passes=[_pass(each, progress, history, quarantined, now) for each in plan.passes.values()],
        workers=history.workers,
        seconds_left=seconds,
        usd_spent=accounts.usd(prices),
        usd_to_come=to_come,
        is_lower_bound=is_bound,
        quarantined=quarantined,
        driver=driver,
        last_task_s=history.last_s or None,
    )


def read_driver(dataset_url: str) -> Driver | None:
    """Return who holds a dataset or held it last; None where nobody did."""
    _, claim = latest_claim(dataset_url)
    return Driver(claim.host, claim.pid, claim.since, claim.seen, claim.is_held) if claim else None


def _are_volumes_finished(dataset: Dataset, plan: Plan) -> bool:
    """Say whether the volumes that are kept can be opened: a driver finishes them after their last receipt."""
    volumes = (name for name, (_, artifact) in plan.writers.items() if isinstance(artifact, VolumeArtifact))
    return all(is_volume(dataset.volume_url(name)) for name in volumes if name not in plan.temporary)


def _pass(
    each: Pass,
    progress: Progress,
    history: History,
    quarantined: list[Quarantined],
    now_s: float,
) -> PassStatus:
    past = history.of(each.name)
    tasks, voxels = past.rate(now_s)
    return PassStatus(
        name=each.name,
        done=progress.done[each.name].count,
        total=len(each),
        quarantined=sum(Task.parse(item.task).stage == each.name for item in quarantined),
        failed=past.failed,
        lost=past.lost,
        tasks_per_s=round(tasks, 3),
        voxels_per_s=round(voxels, 1),
        seconds_per_task=_seconds_per_task(past),
    )


def _seconds_per_task(past: PassHistory) -> float | None:
    return round(past.busy_s / past.n_tasks, 6) if past.n_tasks else None


def _quarantined(dataset: Dataset, plan: Plan, history: History, progress: Progress) -> list[Quarantined]:
    """Return the tasks in quarantine; those that were done since are not."""
    found = []
    for text, error in history.quarantined.items():
        task = Task.parse(text)
        each = plan.passes.get(task.stage)
        if each is not None and each.has(task) and not progress.is_done(task):
            found.append(Quarantined(text, error, f"connectome replay {shlex.quote(dataset.url)} {text}"))
    return found


def _still(
    plan: Plan, left: Mapping[str, int], history: History, accounts: Accounts, prices: Prices
) -> tuple[float | None, float | None, bool]:
    """Return seconds and dollars that are to come, and whether there are passes of which nothing is known."""
    busy: dict[str, float] = {}
    is_bound = False
    store_usd = 0.0
    for name, n_left in left.items():
        past = history.of(name)
        if n_left and not past.n_tasks:
            is_bound = True
        elif n_left:
            pool = plan.passes[name].stage.pool
            busy[pool] = busy.get(pool, 0.0) + n_left * past.busy_s / past.n_tasks
            store_usd += n_left / past.n_tasks * _store_usd(past, prices)
    if not any(left.values()):
        return 0.0, 0.0, False
    longest = 0.0
    for pool, seconds in busy.items():
        workers, held = history.workers.get(pool, 0), accounts.allocated_s.get(pool, 0.0)
        used = min(1.0, accounts.busy_s(pool) / held) if held else 0.0
        if not workers or not used:
            return None, None, is_bound
        longest = max(longest, seconds / used / workers)
    if not busy:
        return None, None, is_bound
    # All pools are held until the slowest is through.
    usd = sum(
        longest * n / 3600 * prices.pool(pool).usd(accounts.spot_share(pool)) for pool, n in history.workers.items()
    )
    return longest, usd + store_usd, is_bound


def _store_usd(past: PassHistory, prices: Prices) -> float:
    return prices.store.usd(past.read_bytes, past.written_bytes, past.read_requests, past.written_requests)
