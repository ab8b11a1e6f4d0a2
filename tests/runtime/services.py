"""Schedulers and workers as processes of their own, for tests."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = str(Path(sys.executable).parent / "connectome")


class Services:
    """Starts commands of ours, and ends them with the test."""

    def __init__(self, folder, **environment):
        self._folder, self._processes = folder, []
        preload = {"DASK_DISTRIBUTED__WORKER__PRELOAD": '["tests.runtime.troubled"]'}
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.environment = {**os.environ, **preload, "PYTHONPATH": paths, **environment}

    def start(self, *arguments, prefix=()):
        """Start a command; `first_line` of what this returns waits until it says something."""
        with (self._folder / f"errors{len(self._processes)}.txt").open("wb") as errors:
            process = subprocess.Popen(
                [*prefix, COMMAND, *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                env=self.environment,
            )
        process.first_line = lambda: process.stdout.readline().strip()
        self._processes.append(process)
        return process

    def scheduler(self, port=0, host="127.0.0.1", *options, prefix=()):
        process = self.start("scheduler", "--host", host, "--port", port, *options, prefix=prefix)
        process.address = process.first_line()
        return process

    def worker(self, address, *options, prefix=()):
        return self.start("worker", address, *options, prefix=prefix)

    def end(self):
        for process in self._processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()

    def errors(self):
        return "".join(path.read_text() for path in sorted(self._folder.glob("errors*.txt")))


@contextmanager
def services(folder, **environment):
    started = Services(folder, **environment)
    try:
        yield started
    finally:
        started.end()
