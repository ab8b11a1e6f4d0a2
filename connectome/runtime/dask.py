"""The Dask runner: a cluster on this machine, or any scheduler by its address.

Only tasks (coordinates) go out and receipts come back. The client bounds what is in flight, releases
every future at once, and keeps no result; the store is the truth.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import socket
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import dask
from distributed import Client, Future, Security, get_worker
from distributed.scheduler import KilledWorker
from distributed.utils import CancelledError
from distributed.worker import thread_state

from connectome.errors import InputError
from connectome.runtime.cluster import SETTINGS, Cluster, wanted_keys
from connectome.runtime.engine import Batch, Outcome
from connectome.runtime.leaving import Leave, is_leaving
from connectome.runtime.pools import CPU, Workers, pools_of
from connectome.runtime.scaling import Scaler
from connectome.runtime.work import Failure, Report, forget_volumes, perform_all
from connectome.store.dataset import Dataset
from connectome.workflow.plan import Plan, Task

LEAST_SLOTS, MOST_SLOTS = 3, 64
"""Batches in flight per worker: one runs, the others hide the way to the scheduler and back."""
WINDOW_S = 0.5
"""Work that is in flight per worker, where batches are so short that the least slots hold less."""
MOST_IN_FLIGHT = 4096
"""Batches that the window grows to for their shortness: each is looked at whenever reports are fetched."""
FETCH_S = 0.05
"""How often reports are fetched, all that there are together: the way to the scheduler and back, and a callback for
each, is what takes the time."""
REPORT_S = 10.0
"""How long reports may be on their way. Dask computes anew what went with its worker meanwhile, and waits for it, while
the engine would stand still: such tasks are sent again instead."""
LOOK_SHARE, MOST_LOOK_S = 50.0, 10.0
"""The scheduler spends a fiftieth of its time at most on telling its workers: a thousand of them are a megabyte."""
CLIENT_PATIENCE = "10s"
"""How long Dask's client itself tries to reach a scheduler."""
PATIENCE_S = 600.0
"""How long the driver waits for a scheduler that went to come back."""


@dataclass(frozen=True)
class _Workers:
    """Workers that are there, by pool, and whether they offer their pool as a resource."""

    pools: Mapping[str, tuple[str, ...]]
    offers: frozenset[str]


class DaskRunner:
    """Runs tasks on a Dask cluster.

    Parameters
    ----------
    dataset : Dataset
        Ready to run; workers read the plan from its record.
    workers : Workers, optional
        Worker processes of each pool on this machine; one per core where not given.
    address : str, optional
        ``tcp://...`` or ``tls://...`` of a scheduler to use instead.
    is_secure : bool
        Encrypt: on this machine with keys made for the run, elsewhere with those of Dask's settings.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        workers: Workers = None,
        address: str | None = None,
        is_secure: bool = False,
    ) -> None:
        if dataset.url.startswith("memory://"):
            raise InputError("memory:// lives in one process: use --runner serial, or a dataset.url on disk")
        self._dataset, self._token = dataset, uuid.uuid4().hex
        self._in_flight: list[tuple[Batch, Future]] = []
        self._pools = pools_of(workers)
        least = {pool: each.minimum for pool, each in self._pools.items()}
        self._cluster = None if address else Cluster(least, is_secure=is_secure)
        self._address = address or (self._cluster.address if self._cluster else "")
        self._security = self._cluster.security if self._cluster else (Security() if is_secure else None)
        self._client = self._connected(10)
        self._batch_s: dict[str, float] = {}
        self._n_submitted, self._scheduler = 0, ""
        self._known, self._look_at = _Workers({}, frozenset()), -math.inf

    @property
    def workers(self) -> dict[str, int]:
        """Workers per pool that are there now; asked for at most once a second, less often where it takes long."""
        return {pool: len(addresses) for pool, addresses in self._look().pools.items()}

    @property
    def scaler(self) -> Scaler | None:
        """A listener that scales the cluster, where it is ours and a pool has limits that differ."""
        limits = {pool: each for pool, each in self._pools.items() if each.minimum < each.maximum}
        return Scaler(self._cluster, limits) if self._cluster is not None and limits else None

    def slots(self, pool: str, name: str) -> int:
        """Return how many batches of a pool may be in flight when one of that pass joins them.

        Short ones do not widen the window for long ones, which later passes would wait behind. None while the
        scheduler is away.
        """
        if self._client.status != "running":
            return 0
        n_workers = len(self._look().pools.get(pool, ()))
        return slots_per_worker(self._batch_s.get(name), n_workers) * n_workers

    def submit(self, batches: Sequence[Batch]) -> None:
        """Send batches to workers, those that are alike together: a graph of its own for each takes Dask longer."""
        self._stay_connected()
        alike: defaultdict[tuple[str, int, str, tuple[str, ...]], list[Batch]] = defaultdict(list)
        for batch in batches:
            first = batch.tasks[0]
            alike[first.stage, first.level, batch.pool, batch.avoided].append(batch)
        for together in alike.values():
            self._submit_alike(together)

    def _submit_alike(self, batches: Sequence[Batch]) -> None:
        """Send batches of one stage and level. All keys of a pass share one prefix, which Dask's statistics need."""
        one, seen = batches[0], self._look()
        first, pool = one.tasks[0], one.pool
        others = [each for each in seen.pools.get(pool, ()) if each not in one.avoided]
        offered = pool in seen.offers
        restricted = others if one.avoided or (not offered and len(seen.pools) > 1) else []
        numbers = range(self._n_submitted, self._n_submitted + len(batches))
        self._n_submitted += len(batches)
        futures = self._client.map(
            _perform,
            [self._dataset] * len(batches),
            [self._token] * len(batches),
            [batch.tries for batch in batches],
            [pool] * len(batches),
            key=[(first.stage, number, self._token) for number in numbers],
            pure=False,
            priority=first.level,
            resources={pool: 1} if offered else None,
            workers=restricted or None,
            allow_other_workers=bool(restricted),
        )
        self._in_flight.extend(zip(batches, futures, strict=True))

    def wait(self, seconds: float) -> list[Outcome]:
        """Return outcomes that arrived; none after `seconds` without one."""
        until = time.monotonic() + seconds
        while not (arrived := {future.key for _, future in self._in_flight if future.done()}):
            if time.monotonic() > until:
                self._stay_connected()
                return []
            time.sleep(FETCH_S)
        fetched = [each for each in self._in_flight if each[1].key in arrived]
        self._in_flight = [each for each in self._in_flight if each[1].key not in arrived]
        return self._fetch(fetched)

    def _fetch(self, arrived: Sequence[tuple[Batch, Future]]) -> list[Outcome]:
        reports = self._reports([future for _, future in arrived if future.status == "finished"])
        until, outcomes = time.monotonic() + REPORT_S, []
        for batch, future in arrived:
            if future.key in reports:
                worker, report = reports[future.key]
                outcomes.append(Outcome(batch, report, worker=worker))
            else:
                outcomes.append(self._outcome(batch, future, max(1.0, until - time.monotonic())))
            future.release()
        for outcome in outcomes:
            self._time(outcome)
        return outcomes

    def _reports(self, finished: Sequence[Future]) -> dict[object, tuple[str, Report]]:
        """Fetch several reports together, by key; none where one of them got lost: they are asked for one by one."""
        if len(finished) < 2:
            return {}
        client = self._client
        try:
            fetched = client.sync(lambda: client.gather(finished, asynchronous=True), callback_timeout=REPORT_S)
        except Exception:  # noqa: BLE001, RUF100
            return {}
        return dict(zip((future.key for future in finished), fetched, strict=True))

    def _time(self, outcome: Outcome) -> None:
        """Follow how long a pass's batches take."""
        if outcome.report is not None and outcome.report.receipt is not None:
            name, seconds = outcome.report.receipt.stage, outcome.report.receipt.wall_s
            self._batch_s[name] = 0.8 * self._batch_s.get(name, seconds) + 0.2 * seconds

    def _outcome(self, batch: Batch, future: Future, patience_s: float) -> Outcome:
        if future.status == "finished":
            try:
                worker, report = future.result(timeout=patience_s)
            # The scheduler, or the worker with the report, may go while it is fetched.
            except Exception as error:
                return Outcome(batch, None, f"the report got lost: {error}", is_blameless=True)
            return Outcome(batch, report, worker=worker)
        if future.status == "error":
            try:
                cause = future.exception(timeout=patience_s)
            except Exception as error:
                return Outcome(batch, None, f"the error got lost: {error}", is_blameless=True)
            if isinstance(cause, KilledWorker):
                return Outcome(batch, None, f"the worker {cause.last_worker.address} died")
            failures = tuple(Failure(task, f"{type(cause).__name__}: {cause}", "") for task in batch.tasks)
            return Outcome(batch, Report(None, failures))
        self._stay_connected()
        return Outcome(batch, None, "the scheduler lost the task", is_blameless=True)

    def close(self) -> None:
        """Leave the cluster, and end it if it is ours."""
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._client.close(timeout=5)
        if self._cluster is not None:
            self._cluster.close()

    def _look(self) -> _Workers:
        if time.monotonic() > self._look_at and self._client.status == "running":
            began = time.monotonic()
            with contextlib.suppress(OSError, CancelledError):
                info = self._client.scheduler_info(n_workers=-1)
                self._known = _workers_of(info["workers"])
                if info["id"] != self._scheduler:
                    self._client.register_plugin(Leave())  # a scheduler that was started again knows nothing of it
                    self._scheduler = info["id"]
            now = time.monotonic()
            self._look_at = now + max(1.0, min(MOST_LOOK_S, LOOK_SHARE * (now - began)))
        return self._known

    def _stay_connected(self) -> None:
        """Where the scheduler went, wait until it is back: the engine sends again what was in flight.

        The client itself tries for some seconds first.
        """
        if self._client.status in ("running", "connecting"):
            return
        self._client.close(timeout=1)
        self._client = self._connected(PATIENCE_S)
        self._look_at = -math.inf

    def _connected(self, patience_s: float) -> Client:
        until = time.monotonic() + patience_s
        while True:
            try:
                with dask.config.set(SETTINGS):
                    client = Client(
                        self._address, timeout=CLIENT_PATIENCE, set_as_default=False, security=self._security
                    )
            except TypeError as error:  # what Dask raises where it has no keys
                raise InputError(wanted_keys(self._address, "client")) from error
            except (OSError, ValueError) as error:
                if time.monotonic() < until and patience_s > 10:
                    time.sleep(0.5)
                    continue
                raise InputError(
                    f"no Dask scheduler answers at {self._address}: start one, or leave out --runner"
                ) from error
            return client


def slots_per_worker(batch_s: float | None, n_workers: int) -> int:
    """How many batches of a worker may be in flight, by how long they take; None where that is not known yet."""
    if batch_s is None:
        return LEAST_SLOTS
    most = min(MOST_SLOTS, MOST_IN_FLIGHT // max(1, n_workers))
    return max(LEAST_SLOTS, min(most, math.ceil(WINDOW_S / max(batch_s, 1e-6))))


def _workers_of(info: Mapping[str, Mapping[str, object]]) -> _Workers:
    pools: dict[str, list[str]] = {}
    offering: Counter[str] = Counter()
    for address, worker in info.items():
        resources = worker.get("resources")
        names = list(resources) if isinstance(resources, dict) else []
        pool = names[0] if names else CPU
        pools.setdefault(pool, []).append(address)
        offering[pool] += bool(names)
    offers = {pool for pool, addresses in pools.items() if offering[pool] == len(addresses)}
    return _Workers({pool: tuple(addresses) for pool, addresses in pools.items()}, frozenset(offers))


def _perform(dataset: Dataset, token: str, tries: tuple[tuple[Task, int], ...], pool: str) -> tuple[str, Report]:
    address = str(get_worker().address)
    try:
        plan = _plan(dataset.url, token)
    except Exception as error:
        text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        return address, Report(None, tuple(Failure(task, text, "") for task, _ in tries))
    return address, perform_all(plan, dataset, tries, pool, _is_unwanted)


def _is_unwanted() -> bool:
    """Tell whether this worker was told to go, or nobody waits for the batch any more: its driver died."""
    state = get_worker().state.tasks.get(thread_state.key)
    return is_leaving() or state is None or state.state == "cancelled"


@lru_cache(maxsize=2)
def _plan(url: str, token: str) -> Plan:  # noqa: ARG001
    """Load the plan once per worker and run; the token tells runs on one dataset apart."""
    forget_volumes()
    record = Dataset(url).read_record()
    if record is None:
        raise InputError(f"worker cannot see the dataset {url}: the path must be the same on all hosts")
    plan = Plan.from_record(record["plan"])
    for stage in plan.workflow.running_stages:
        # As plain values: the record went through JSON.
        if json.loads(json.dumps(stage.identity())) != record["state"]["stages"][stage.name]:
            raise InputError(
                f"worker {socket.gethostname()} has another version of stage {stage.name} or its network than the "
                "driver: install the same package on all hosts"
            )
    return plan
