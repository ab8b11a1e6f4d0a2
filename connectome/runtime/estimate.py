"""What a larger volume would take: time and money, from the receipts of smaller runs that are done.

For each pass, and each kind of task in it, time, traffic and requests are fitted as non-negative sums of a
constant per task, its voxels, what it reads or what waits for it (`task_sizes`), and what a worker takes
once to begin with a pass. Held time follows from the workers: their start, the busy time at the runs'
utilisation, and the levels of a tree that have fewer nodes than there are workers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from connectome.errors import InputError
from connectome.runtime.accounting import Accounts, StageAccount
from connectome.runtime.prices import Prices
from connectome.runtime.task_sizes import N_SIZES, Level, Numbers, levels
from connectome.store.dataset import Dataset
from connectome.store.ledger import Receipt, receipt_of
from connectome.workflow.plan import Plan

FIGURES = (
    "wall_s", "cpu_s", "gpu_s", "read_bytes", "written_bytes", "read_requests", "written_requests"
)  # fmt: skip
FEWEST = 3
"""Receipts beside a worker's first ones that a kind of task wants: else how it grows is not seen."""
SLIGHT = 1e-9
"""Weight that keeps what the receipts cannot tell apart small and equal."""


@dataclass(frozen=True)
class PastRun:
    """A run that is done, as its ledger tells it.

    Attributes
    ----------
    plan : Plan
    receipts : dict
        By pass; each with whether it was among the first of its workers.
    workers : dict
        The most that were held at a time, by pool.
    accounts : Accounts
    start_s : float
        From the beginning of a run to its first task, the mean over runs.
    """

    url: str
    plan: Plan
    receipts: dict[str, list[tuple[Receipt, bool]]]
    workers: dict[str, int]
    accounts: Accounts
    start_s: float

    @classmethod
    def read(cls, url: str) -> PastRun:
        """Read a dataset whose run is done."""
        dataset = Dataset.at(url)
        record = dataset.read_record()
        if record is None:
            raise InputError(f"there is no dataset at {url}: give one that a run has finished")
        plan = Plan.from_record(record["plan"])
        run = _Reader(plan).read(dataset.ledger.records())
        for name, each in plan.passes.items():
            n_done = len({number for receipt, _ in run.receipts.get(name, []) for number in receipt.numbers})
            if n_done < len(each):
                raise InputError(
                    f"{url} is not done: {n_done:,} of {len(each):,} tasks of {name}; finish it, or give another"
                )
        starts = [first - began for began, first in run.starts if first is not None]
        start_s = max(0.0, float(np.mean(starts))) if starts else 0.0
        return cls(dataset.url, plan, run.receipts, run.workers, run.accounts, start_s)


@dataclass
class _Reader:
    """Reads a ledger once."""

    plan: Plan
    receipts: dict[str, list[tuple[Receipt, bool]]] = field(default_factory=dict)
    workers: dict[str, int] = field(default_factory=dict)
    accounts: Accounts = field(default_factory=Accounts)
    starts: list[tuple[float, float | None]] = field(default_factory=list)
    _session: list[Receipt] = field(default_factory=list)
    _session_workers: dict[str, int] = field(default_factory=dict)

    def read(self, records: Iterable[dict[str, Any]]) -> _Reader:
        for record in records:
            kind = record["kind"]
            if kind == "receipt" and record["stage"] in self.plan.passes:
                self._session.append(receipt_of(record))
            elif kind == "held":
                self.accounts.hold(record["workers"], record["seconds"])
                for pool, n in record["workers"].items():
                    self._session_workers[pool] = max(n, self._session_workers.get(pool, 0))
            elif kind == "session":
                self._end_session()
                self.starts.append((record["started_s"], None))
            elif kind == "reset":
                self._end_session()
                for name in record["stages"]:
                    self.accounts.forget(name)
                    self.receipts.pop(name, None)
        self._end_session()
        return self

    def _end_session(self) -> None:
        """Tell the first receipts of each pass, one for every worker, from the others."""
        self._session.sort(key=lambda receipt: receipt.started_s)
        if self._session and self.starts:
            self.starts[-1] = (self.starts[-1][0], self._session[0].started_s)
        n_seen: dict[str, int] = {}
        for receipt in self._session:
            n_seen[receipt.stage] = n_seen.get(receipt.stage, 0) + 1
            is_first = n_seen[receipt.stage] <= self._session_workers.get(receipt.pool, 1)
            self.receipts.setdefault(receipt.stage, []).append((receipt, is_first))
            self.accounts.add(receipt)
        for pool, n in self._session_workers.items():
            self.workers[pool] = max(n, self.workers.get(pool, 0))
        self._session, self._session_workers = [], {}


@dataclass(frozen=True)
class Model:
    """What tasks of each pass and kind take, and how well workers were used.

    Attributes
    ----------
    weights : dict
        By pass and kind: a row per figure, a column per size and one for a worker's first tasks.
    utilisation : float
        Share of the held time that workers were busy, starts and narrow levels of trees left out.
    start_s : float
        From the beginning of a run to its first task.
    spot_share : dict
        By pool.
    n_receipts : dict
        By pass and kind: receipts that were not the first of a worker.
    """

    weights: dict[tuple[str, str], Numbers]
    utilisation: float
    start_s: float
    spot_share: dict[str, float]
    n_receipts: dict[tuple[str, str], int]

    @classmethod
    def fit(cls, runs: Sequence[PastRun]) -> Model:
        """Fit runs that are done."""
        rows: dict[tuple[str, str], list[tuple[Numbers, Numbers]]] = {}
        for run in runs:
            for name, each in run.plan.passes.items():
                known = list(levels(run.plan, each))
                for receipt, is_first in run.receipts[name]:
                    level, sizes = _sizes(known, receipt)
                    measured = np.array([getattr(receipt, figure) for figure in FIGURES], dtype=np.float64)
                    rows.setdefault((name, level.kind), []).append((np.append(sizes, float(is_first)), measured))
        weights, n_receipts = {}, {}
        for key, pairs in rows.items():
            n_receipts[key] = sum(not sizes[N_SIZES] for sizes, _ in pairs)
            sizes, measured = (np.array(part) for part in zip(*pairs, strict=True))
            weights[key] = np.array([fit_non_negative(sizes, measured[:, n]) for n in range(len(FIGURES))])
        start_s = float(np.mean([run.start_s for run in runs]))
        pools = {pool for run in runs for pool in run.workers}
        spot = {pool: float(np.mean([run.accounts.spot_share(pool) for run in runs])) for pool in pools}
        model = cls(weights, 1.0, start_s, spot, n_receipts)
        return replace(model, utilisation=model._utilisation_in(runs))

    def cautions(self, plan: Plan) -> list[str]:
        """Say which passes of a plan rest on too few receipts to be trusted."""
        thin = {
            name: self.n_receipts[name, level.kind]
            for name, each in plan.passes.items()
            for level in levels(plan, each)
            if level.n_tasks > FEWEST and self.n_receipts.get((name, level.kind), FEWEST) < FEWEST
        }
        return [
            f"{name}: the runs have {n} receipts beside the first of each worker, too few to tell how it grows; "
            "give --from a run of more blocks or fewer workers"
            for name, n in thin.items()
        ]

    def predict(self, plan: Plan, workers: Mapping[str, int]) -> tuple[float, Accounts]:
        """Return the seconds that a run takes with `workers`, and its accounts."""
        accounts = Accounts()
        for name, each in plan.passes.items():
            n_workers = _workers(plan, name, workers)
            figures = sum(
                (self._of(name, level.kind)[:, :N_SIZES] @ level.total() for level in levels(plan, each)),
                np.zeros(len(FIGURES)),
            )
            kinds: Counter[str] = Counter()
            for level in levels(plan, each):
                kinds[level.kind] += level.n_tasks
            for kind, n_tasks in kinds.items():
                figures += self._of(name, kind)[:, N_SIZES] * min(n_workers, n_tasks)
            _add(accounts, each.stage.name, each.stage.pool, len(each), figures)
        busiest = max((accounts.busy_s(pool) / n for pool, n in workers.items()), default=0.0)
        seconds = self.start_s + busiest / self.utilisation + self._narrow_s(plan, workers)
        for pool, n in workers.items():
            accounts.hold({pool: n}, seconds)
            busy = accounts.busy_s(pool)
            accounts.ever_busy_s[pool], accounts.spot_s[pool] = busy, busy * self.spot_share.get(pool, 0.0)
        return seconds, accounts

    def _of(self, name: str, kind: str) -> Numbers:
        weights = self.weights.get((name, kind))
        if weights is None:
            what = f"{name}, tasks of the kind {kind}" if any(key[0] == name for key in self.weights) else name
            raise InputError(
                f"the runs that are given have no receipts of {what}: give --from one that has the same stages and "
                "some blocks along each axis"
            )
        return weights

    def _narrow_s(self, plan: Plan, workers: Mapping[str, int]) -> float:
        """Return the time that levels of trees with fewer tasks than workers add to what busy workers would take."""
        added = 0.0
        for name, each in plan.passes.items():
            n_workers = _workers(plan, name, workers)
            for level in () if each.kind == "block" else levels(plan, each):
                if level.n_tasks < n_workers:
                    total = float(self._of(name, level.kind)[0, :N_SIZES] @ level.total())
                    added += total / level.n_tasks - total / n_workers
        return added

    def _utilisation_in(self, runs: Sequence[PastRun]) -> float:
        busy, held = 0.0, 0.0
        for run in runs:
            if not run.workers:
                continue
            aside = run.start_s + self._narrow_s(run.plan, run.workers)
            for pool, n in run.workers.items():
                seconds = run.accounts.busy_s(pool)
                busy += seconds
                held += max(seconds, run.accounts.allocated_s.get(pool, 0.0) - n * aside)
        return busy / held if held else 1.0


def estimate(plan: Plan, workers: Mapping[str, int], runs: Sequence[PastRun], prices: Prices) -> dict[str, Any]:
    """Return what a run of `plan` would take: seconds and bill; how wrong the model is on runs left out.

    Parameters
    ----------
    plan : Plan
    workers : mapping of str to int
        Workers of each pool.
    runs : sequence of PastRun
        At least one; with two or more, each is also predicted from the others.
    prices : Prices
    """
    prices.check(workers)
    for each in plan.passes.values():
        if not workers.get(each.stage.pool):
            raise InputError(f"stage {each.stage.name} runs in the pool {each.stage.pool!r}: give it with --pool too")
    for one, other in combinations(runs, 2):
        if one.url == other.url or one.receipts == other.receipts:  # a copy, or the same by another path
            raise InputError(f"--from {other.url} is the same run as {one.url}: give each run once")
    model = Model.fit(runs)
    seconds, accounts = model.predict(plan, workers)
    return {
        "shape": plan.domain.shape,
        "voxels": plan.domain.n_voxels,
        "workers": dict(workers),
        "tasks": sum(map(len, plan.passes.values())),
        "seconds": round(seconds, 1),
        "start_seconds": round(model.start_s, 3),
        "runs_utilisation": round(model.utilisation, 4),
        **accounts.bill(plan.domain.n_voxels, prices),
        "prices": prices.model_dump(),
        "differences": [text for run in runs for text in differences(plan, run)],
        "cautions": model.cautions(plan),
        "held_out": _held_out(runs, prices) if len(runs) > 1 else [],
    }


def differences(plan: Plan, run: PastRun) -> list[str]:
    """Say which parameters of a run are not the plan's: what it took may be something else."""
    found = []
    if run.plan.workflow.grid.block != plan.workflow.grid.block:
        found.append(f"{run.url}: grid.block is {run.plan.workflow.grid.block}, not {plan.workflow.grid.block}")
    theirs = {stage.name: stage for stage in run.plan.workflow.running_stages}
    for stage in plan.workflow.running_stages:
        given = theirs[stage.name].parameters if stage.name in theirs else {}
        for name, value in stage.parameters.items():
            if name in given and given[name] != value and name not in ("shape", "seed"):
                found.append(f"{run.url}: {stage.name}.{name} is {given[name]!r}, not {value!r}")
    return found


def _held_out(runs: Sequence[PastRun], prices: Prices) -> list[dict[str, Any]]:
    """Predict each run from the others."""
    found = []
    for n, run in enumerate(runs):
        others = [*runs[:n], *runs[n + 1 :]]
        entry: dict[str, Any] = {"dataset": run.url, "voxels": run.plan.domain.n_voxels}
        try:
            _, accounts = Model.fit(others).predict(run.plan, run.workers)
        except InputError as error:
            found.append({**entry, "error": str(error)})
            continue
        predicted, measured = accounts.usd(prices), run.accounts.usd(prices)
        busy = [sum(stage.busy_s for stage in each.stages.values()) for each in (accounts, run.accounts)]
        cpu = [sum(stage.cpu_s for stage in each.stages.values()) for each in (accounts, run.accounts)]
        found.append(
            {
                **entry,
                "predicted_usd": round(predicted, 6),
                "measured_usd": round(measured, 6),
                "usd_error": _error(predicted, measured),
                "busy_error": _error(*busy),
                "cpu_error": _error(*cpu),
            }
        )
    return found


def _error(predicted: float, measured: float) -> float | None:
    return round(predicted / measured - 1, 4) if measured else None


def fit_non_negative(sizes: Numbers, values: npt.NDArray[np.float64]) -> Numbers:
    """Return weights, none below 0, of columns whose sum comes nearest to `values` in squares.

    There are few columns: all sets of them are tried.
    """
    scale = np.sqrt((sizes**2).sum(axis=0))
    used = [int(n) for n in np.flatnonzero(scale)]
    best, weights = np.inf, np.zeros(sizes.shape[1])
    for n_columns in range(len(used) + 1):
        for chosen in combinations(used, n_columns):
            columns = sizes[:, chosen] / scale[list(chosen)]
            gram = columns.T @ columns + SLIGHT * np.eye(n_columns)
            found = np.linalg.solve(gram, columns.T @ values) if n_columns else np.zeros(0)
            if (found < 0).any():
                continue
            # A column that explains nothing of note is left out, which extrapolates better.
            loss = float(((columns @ found - values) ** 2).sum() * (1 + 1e-6 * n_columns)) + 1e-18 * n_columns
            if loss < best:
                best, weights = loss, np.zeros(sizes.shape[1])
                weights[list(chosen)] = found / scale[list(chosen)]
    return weights


def _sizes(known: Sequence[Level], receipt: Receipt) -> tuple[Level, Numbers]:
    """Return the level of a receipt's tasks, which all are of one, and the sum of their sizes."""
    numbers = np.fromiter(receipt.numbers, dtype=np.int64)
    level = next(each for each in reversed(known) if each.first <= numbers[0])
    return level, level.sizes(numbers).sum(axis=0)


def _workers(plan: Plan, name: str, workers: Mapping[str, int]) -> int:
    return max(1, workers.get(plan.passes[name].stage.pool, 1))


def _add(accounts: Accounts, stage: str, pool: str, n_tasks: int, figures: Numbers) -> None:
    wall, cpu, gpu, *traffic = (float(figure) for figure in figures)
    account = accounts.stages.setdefault(stage, StageAccount())
    account.tasks += n_tasks
    account.tries += n_tasks
    account.cpu_s += cpu
    account.gpu_s += gpu
    account.busy_by_pool_s[pool] = account.busy_by_pool_s.get(pool, 0.0) + wall
    account.read_bytes += round(traffic[0])
    account.written_bytes += round(traffic[1])
    account.read_requests += round(traffic[2])
    account.written_requests += round(traffic[3])
