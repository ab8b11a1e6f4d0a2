"""`python -m benchmarks.chaos`: everything that can be killed is, and one store request in ten fails.

A scheduler and workers of their own, the dataset on an object store behind a proxy that answers 503, 429 or
resets; a worker is killed every few seconds, the scheduler once, the driver twice. Ends with one line of JSON:
whether the checksum is that of a quiet run, what the audit found, and how many tasks were computed again. The exit
code is 1 where one of `unmet`'s conditions fails, as it does with ``--store local``; standard error says which.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.chaos_log import VARIABLE

ROOT = Path(__file__).parents[1]
COMMAND = str(Path(sys.executable).parent / "connectome")
FAULTS = "503,429,reset"
MOST_AGAIN = 0.15
"""The share of tasks that may be computed more than once."""
LEAST_BLOCKS = 200
KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass
class Log:
    """What workers began and did, read as it grows."""

    path: Path
    begun: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    _at: int = 0

    def read(self) -> int:
        """Read what is new; return how many tasks are done."""
        with self.path.open() as file:
            file.seek(self._at)
            for line in file:
                word, _, task = line.strip().partition(" ")
                (self.begun if word == "begun" else self.done)[task] += 1
            self._at = file.tell()
        return len(self.done)


class Processes:
    """A scheduler, workers and a driver, each started again when it is gone."""

    def __init__(self, port: int, n_workers: int, workflow: Path, folder: Path) -> None:
        self.address, self._port = f"tcp://127.0.0.1:{port}", str(port)
        self._workflow, self._errors = str(workflow), (folder / "errors.txt").open("ab")
        self.scheduler = self._start("scheduler", "--port", self._port)
        self.workers = [self._worker() for _ in range(n_workers)]
        self.driver = self._driver()
        self.killed: Counter[str] = Counter()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.driver, *self.workers, self.scheduler):
            process.kill()
            process.wait()
        self._errors.close()

    def kill_worker(self, chance: random.Random) -> None:
        """Kill one; a new one is started in its place."""
        place = chance.randrange(len(self.workers))
        self._kill("worker", self.workers[place])
        self.workers[place] = self._worker()

    def kill_scheduler(self) -> None:
        """Kill the scheduler; the next one listens at the same address."""
        self._kill("scheduler", self.scheduler)
        self.scheduler = self._start("scheduler", "--port", self._port)

    def kill_driver(self) -> None:
        """Kill the driver, and give the same command again."""
        self._kill("driver", self.driver)
        self.driver = self._driver()

    def tend(self) -> None:
        """Start workers again that went by themselves."""
        self.workers = [each if each.poll() is None else self._worker() for each in self.workers]

    def _kill(self, kind: str, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.killed[kind] += 1

    def _worker(self) -> subprocess.Popen[bytes]:
        return self._start("worker", self.address, "--spot")

    def _driver(self) -> subprocess.Popen[bytes]:
        return self._start("run", self._workflow, "--runner", self.address, "--json")

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([COMMAND, *arguments], cwd=ROOT, stdout=self._errors, stderr=self._errors)


def storm(processes: Processes, log: Log, n_tasks: int, every_s: float, seed: int, patience_s: float) -> float:
    """Kill until the driver is through; return the seconds that it took."""
    chance, began = random.Random(seed), time.monotonic()
    # The scheduler half-way, the driver before and after it, by the share of tasks that are done.
    due = [(0.25, processes.kill_driver), (0.5, processes.kill_scheduler), (0.75, processes.kill_driver)]
    next_kill = began + every_s
    while processes.driver.poll() is None:
        share = log.read() / n_tasks
        if due and share >= due[0][0]:
            due.pop(0)[1]()
        elif time.monotonic() > next_kill and share < 1:
            processes.kill_worker(chance)
            next_kill = time.monotonic() + every_s * chance.uniform(0.5, 1.5)
        processes.tend()
        if time.monotonic() > began + patience_s:
            raise TimeoutError(f"{log.read()} of {n_tasks} tasks are done after {patience_s:.0f} s")
        time.sleep(0.1)
    return time.monotonic() - began


def verdict(log: Log, n_tasks: int) -> dict[str, Any]:
    """Say how much was computed again."""
    log.read()
    again = sum(n > 1 for n in log.done.values())
    return {
        "tasks": n_tasks,
        "tasks_done": len(log.done),
        "computed_more_than_once": again,
        "computed_more_than_once_share": round(again / n_tasks, 4),
        "begun_more_than_once_share": round(sum(n > 1 for n in log.begun.values()) / n_tasks, 4),
    }


def unmet(figures: dict[str, Any]) -> list[str]:
    """Return the conditions of the demanded run that these figures do not meet."""
    killed, counts = figures["killed"], figures["store_requests"]
    n_failed = sum(counts.get(fault, 0) for fault in FAULTS.split(","))
    conditions = {
        f"the driver ends with 0, got {figures['exit_code']}": figures["exit_code"] == 0,
        "the checksum is that of the quiet run": figures["is_same_checksum"],
        f"the audit finds nothing, got {figures['audit_findings']}": not figures["audit_findings"],
        f"less than {MOST_AGAIN:.0%} of tasks are computed again, got "
        f"{figures['computed_more_than_once_share']:.1%}": figures["computed_more_than_once_share"] < MOST_AGAIN,
        f"the scheduler is killed once, got {killed.get('scheduler', 0)}": killed.get("scheduler") == 1,
        f"the driver is killed twice, got {killed.get('driver', 0)}": killed.get("driver") == 2,
        f"workers are killed, got {killed.get('worker', 0)}": killed.get("worker", 0) >= 1,
        f"there are {LEAST_BLOCKS} blocks or more, got {figures['blocks']}": figures["blocks"] >= LEAST_BLOCKS,
        f"store requests fail, got {n_failed} of {counts.get('requests', 0)}": n_failed >= 1,
    }
    return [condition for condition, is_met in conditions.items() if not is_met]


@contextmanager
def object_store(rate: float, seed: int) -> Iterator[tuple[str, str | None]]:
    """Run an S3 server behind the faulty proxy; yield the bucket's URL and the proxy's."""
    import boto3
    from moto.server import ThreadedMotoServer

    from tests.faulty_proxy import faulty_proxy

    os.environ.update(KEYS)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="chaos")
        with faulty_proxy(f"http://{host}:{port}", rate=rate, seed=seed, faults=FAULTS.split(",")) as proxy:
            os.environ["AWS_ENDPOINT_URL"] = proxy
            yield "s3://chaos", proxy
    finally:
        os.environ.pop("AWS_ENDPOINT_URL", None)
        server.stop()


@contextmanager
def local_store(folder: str) -> Iterator[tuple[str, str | None]]:
    """Yield a folder, where nothing fails."""
    yield f"{folder}/store", None


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run quietly, run through the storm, and compare."""
    from connectome.runtime.audit import audit
    from connectome.runtime.run import run
    from connectome.store.checksum import checksum
    from connectome.store.volume import Volume
    from connectome.workflow.workflow import Workflow
    from tests.tissue import noisy_affinities, workflow_content, write_volume

    block = (given.block,) * 3
    shape = tuple(given.block * n - 5 for n in given.blocks)
    affinities = write_volume(folder / "affinities.zarr", noisy_affinities(shape)[0], block=block)
    began = time.monotonic()
    quiet = run(Workflow.parse(workflow_content(folder / "quiet", affinities, block)), runner="serial")
    quiet_s, wanted = time.monotonic() - began, checksum(quiet.dataset.volume("segmentation"))
    log = Log(folder / "tasks.txt")
    log.path.touch()
    n_tasks = sum(len(each) for each in quiet.plan.passes.values())
    os.environ[VARIABLE] = str(log.path)
    os.environ["DASK_DISTRIBUTED__WORKER__PRELOAD"] = '["benchmarks.chaos_log"]'
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with ExitStack() as stack:
        store = object_store(given.rate, given.seed) if given.store == "s3" else local_store(str(folder))
        url, proxy = stack.enter_context(store)
        content, file = workflow_content(f"{url}/run", affinities, block), folder / "workflow.yaml"
        file.write_text(yaml.safe_dump(content))
        with Processes(_free_port(), given.workers, file, folder) as processes:
            try:
                seconds = storm(processes, log, n_tasks, given.every, given.seed, given.patience)
            except TimeoutError as error:
                sys.stderr.write(f"{error}\n{(folder / 'errors.txt').read_text()[-4000:]}\n")
                raise SystemExit(1) from None
            code, killed = processes.driver.returncode, dict(processes.killed)
        if code:
            sys.stderr.write((folder / "errors.txt").read_text()[-4000:])
        got = checksum(Volume.open(f"{url}/run#segmentation"))
        findings = audit(f"{url}/run", every=True)
        counts = json.load(urllib.request.urlopen(f"{proxy}/faulty-proxy")) if proxy else {}
    return {
        "store": given.store,
        "blocks": len(quiet.plan.passes["fragments"]),
        "workers": given.workers,
        "exit_code": code,
        "killed": killed,
        "store_requests": counts,
        "quiet_serial_seconds": round(quiet_s, 1),
        "seconds": round(seconds, 1),
        "is_same_checksum": got == wanted,
        "audit_findings": findings.sentences,
        "receipts_more_than_once": findings.n_repeated,
        **verdict(log, n_tasks),
    }


def _free_port() -> int:
    import socket

    with contextlib.closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def main() -> int:
    """Measure, and print one line of JSON; 1 where something of it is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--store", choices=("s3", "local"), default="s3")
    parser.add_argument("--blocks", type=lambda text: tuple(map(int, text.split(","))), default=(6, 6, 6))
    parser.add_argument("--block", type=int, default=32, help="edge of a block in voxels")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=float, default=6.0, help="seconds between kills of workers")
    parser.add_argument("--rate", type=float, default=0.1, help="share of store requests that fail")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=float, default=1500.0, help="seconds for the whole storm")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="connectome-chaos-") as folder:
        figures = measure(given, Path(folder))
    sys.stdout.write(json.dumps(figures) + "\n")
    failed = unmet(figures)
    sys.stderr.writelines(f"not as it must be: {condition}\n" for condition in failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
