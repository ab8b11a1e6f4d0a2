"""Hosts as network namespaces: one of two workers is cut off in the middle of a run, and comes back."""

import contextlib
import os
import shutil
import subprocess
import time
import uuid
from collections import Counter

import pytest

from connectome.runtime.dask import DaskRunner
from connectome.runtime.engine import execute
from connectome.runtime.events import TasksDone, TasksLost
from connectome.runtime.queues import Progress
from tests.runtime.services import services
from tests.runtime.troubled import notes_of, troubled_plan

SHORT = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "4s",
}
"""A partition is noticed after seconds: by the scheduler, which gives the blocks to others, and then by the worker."""
CUT_S = 15


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Hosts:
    """A bridge on this machine, and namespaces with a cable to it."""

    def __init__(self):
        self.name = uuid.uuid4().hex[:6]
        self.net = f"10.{80 + os.getpid() % 100}.{int(self.name, 16) % 250}"
        self.bridge, self.names = f"cb{self.name}", []

    def __enter__(self):
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{self.net}.1/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        return self

    def add(self):
        number = len(self.names) + 2
        name, outer, inner = f"c{self.name}{number}", f"v{self.name}{number}", f"w{self.name}{number}"
        ip("netns", "add", name)
        self.names.append(name)
        ip("link", "add", outer, "type", "veth", "peer", "name", inner)
        ip("link", "set", outer, "master", self.bridge, "up")
        ip("link", "set", inner, "netns", name)
        inside = ("netns", "exec", name, "ip")
        ip(*inside, "addr", "add", f"{self.net}.{number}/24", "dev", inner)
        ip(*inside, "link", "set", inner, "up")
        ip(*inside, "link", "set", "lo", "up")
        return ["ip", "netns", "exec", name], outer

    def __exit__(self, *_):
        for name in self.names:
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "del", name)
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("link", "del", self.bridge)


@pytest.fixture
def hosts():
    if shutil.which("ip") is None:
        pytest.skip("there is no ip command: install iproute2")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    made = Hosts()
    try:
        made.__enter__()
        made.scheduler, _ = made.add()
    except subprocess.CalledProcessError as error:
        made.__exit__()
        pytest.skip(f"network namespaces are not allowed here: {error.stderr.decode().strip()}")
    yield made
    made.__exit__()


def test_a_host_that_is_cut_off_and_comes_back_changes_nothing(tmp_path, hosts):
    log, n_blocks = str(tmp_path / "log"), 360
    plan, dataset = troubled_plan(tmp_path / "run", n_blocks, {"seconds": 0.1, "log": log})
    cables = {}
    events, cut_at, back_at = [], [], []

    def listen(event):
        """Cut one host off when a tenth is done; plug it in again well after it was given up."""
        events.append(event)
        n_done = sum(each.receipt.n_tasks for each in events if isinstance(each, TasksDone))
        if not cut_at and n_done > n_blocks / 10:
            cut_at.append(time.monotonic())
            ip("link", "set", cables[0], "down")
        elif cut_at and not back_at and time.monotonic() > cut_at[0] + CUT_S:
            back_at.append(n_done)
            ip("link", "set", cables[0], "up")

    with services(tmp_path, **SHORT) as started:
        scheduler = started.scheduler(8786, f"{hosts.net}.2", prefix=hosts.scheduler)
        for number in range(2):
            prefix, cables[number] = hosts.add()
            assert "of pool cpu" in started.worker(scheduler.address, prefix=prefix).first_line()
        runner = DaskRunner(dataset, address=scheduler.address)
        try:
            ended = execute(plan, runner, progress := Progress(plan), [listen])
            n_workers = runner.workers
        finally:
            runner.close()
    assert (ended.quarantined, progress.done["troubled"].count) == ((), n_blocks)
    assert any(isinstance(event, TasksLost) for event in events)
    assert back_at
    assert back_at[0] < n_blocks
    counts = Counter(x for word, _, x, *_ in notes_of(log) if word == "done")
    assert sorted(counts) == list(range(n_blocks))
    assert n_workers["cpu"] == 2
