"""How many batches the Dask runner keeps in flight: few where they are long, more where they are short."""

import pytest

from connectome.errors import InputError
from connectome.runtime import dask, engine
from connectome.runtime.cluster import Cluster
from connectome.runtime.dask import LEAST_SLOTS, MOST_IN_FLIGHT, MOST_SLOTS, WINDOW_S, DaskRunner, slots_per_worker
from connectome.runtime.engine import execute
from connectome.runtime.events import TasksDone, TasksLost
from connectome.runtime.queues import Progress
from tests.runtime.services import services
from tests.runtime.troubled import KnowsTroubled, troubled_plan


@pytest.mark.parametrize(
    ("seconds", "n_workers", "wanted"),
    [
        (None, 2, LEAST_SLOTS),
        (30.0, 2, LEAST_SLOTS),
        (WINDOW_S / 10, 2, 10),
        (1e-4, 2, MOST_SLOTS),
        (0.0, 2, MOST_SLOTS),
        (1e-4, 256, MOST_IN_FLIGHT // 256),
        (1e-4, 5000, LEAST_SLOTS),
    ],
)
def test_the_window_follows_the_length_of_batches(seconds, n_workers, wanted):
    assert slots_per_worker(seconds, n_workers) == wanted


def test_short_tasks_fill_the_window_of_a_real_cluster(tmp_path, monkeypatch):
    """Tasks that take no time are soon sent many at a time, and every one of them ends once."""
    monkeypatch.setattr(engine, "MOST_TASKS", 1)
    sent, submit = [], DaskRunner.submit
    monkeypatch.setattr(DaskRunner, "submit", lambda self, batches: (sent.append(len(batches)), submit(self, batches)))
    plan, dataset = troubled_plan(tmp_path / "run", 400)
    done = []
    with Cluster({"cpu": 1}) as cluster:
        cluster.register(KnowsTroubled())
        runner = DaskRunner(dataset, address=cluster.address)
        try:
            execute(plan, runner, Progress(plan), [lambda e: done.append(e) if isinstance(e, TasksDone) else None])
        finally:
            runner.close()
    numbers = sorted(number for event in done for number in event.receipt.numbers)
    assert numbers == list(range(400))
    assert max(sent) > LEAST_SLOTS


def test_short_batches_do_not_widen_the_window_for_long_ones(tmp_path, monkeypatch):
    """Half an hour of blocks would lie before what later passes have ready, and with one worker."""
    monkeypatch.setattr(engine, "MOST_TASKS", 1)
    in_flight, most, submit = set(), [], DaskRunner.submit
    plan, dataset = troubled_plan(tmp_path / "run", 120, {"stage": "beside", "seconds": 1.0}, {})

    def note(self, batches):
        in_flight.update(task for batch in batches for task in batch.tasks if task.stage == "beside")
        most.append(len(in_flight))
        submit(self, batches)

    def hear(event):
        if isinstance(event, TasksDone) and event.receipt.stage == "beside":
            in_flight.difference_update(list(plan.passes["beside"].tasks())[number] for number in event.receipt.numbers)
            if event.receipt.runs[0][0] >= 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(DaskRunner, "submit", note)
    with Cluster({"cpu": 1}) as cluster:
        cluster.register(KnowsTroubled())
        runner = DaskRunner(dataset, address=cluster.address)
        try:
            with pytest.raises(KeyboardInterrupt):
                execute(plan, runner, Progress(plan), [hear])
        finally:
            runner.close()
    assert 0 < max(most) <= LEAST_SLOTS


def test_reports_that_go_with_their_worker_stop_nobody_else(tmp_path, monkeypatch):
    """Dask would compute them anew before it gave any: for ever, where no worker of their pool is left."""
    monkeypatch.setattr(dask, "REPORT_S", 1.0)
    monkeypatch.setattr(dask, "FETCH_S", 0.7)
    monkeypatch.setattr(engine, "NOBODY_S", 3.0)
    plan, dataset = troubled_plan(tmp_path / "run", 6, {"resources": {"gpu": 1}, "seconds": 0.2}, {"stage": "beside"})
    events, fetch = [], DaskRunner._fetch
    with services(tmp_path) as started:
        address = started.scheduler().address
        workers = {pool: started.worker(address, "--pool", pool) for pool in ("cpu", "gpu")}
        assert all(worker.first_line() for worker in workers.values())
        runner = DaskRunner(dataset, address=address)

        def fetch_from_the_dead(self, arrived):
            if sum(batch.pool == "gpu" for batch, _ in arrived) > 1:
                workers["gpu"].kill()
                workers["gpu"].wait()
            return fetch(self, arrived)

        monkeypatch.setattr(DaskRunner, "_fetch", fetch_from_the_dead)
        try:
            with pytest.raises(InputError, match="no worker has offered 'gpu'"):
                execute(plan, runner, progress := Progress(plan), [events.append])
        finally:
            runner.close()
    assert any(isinstance(event, TasksLost) for event in events)
    assert progress.done["beside"].count == 6
