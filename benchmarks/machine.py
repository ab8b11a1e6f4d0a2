"""What is measured on: one core of this machine, its bandwidth, the memory of a call, the commit."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


def take_one_core() -> int:
    """Keep this process and whatever it starts on one core; call it before numpy is imported."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = "1"
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def hardware() -> str:
    """Name the processor, its cores and the memory."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = lines[0] if lines else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{model}, {os.cpu_count()} cores, {round(memory / (1 << 30))} GiB"


def commit() -> str:
    """Return the commit that is checked out, marked where tracked files but the results differ from it."""
    name = _git("rev-parse", "--short", "HEAD") or "unknown"
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
    return f"{name}-dirty" if changed else name


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=False, capture_output=True, text=True)
    return done.stdout.strip()


def copy_bandwidth(n_bytes: int = 1 << 28, repeats: int = 9) -> float:
    """Measure what one core copies: read and written bytes per second, the best of some copies."""
    import numpy as np

    source, target = np.ones(n_bytes, np.uint8), np.zeros(n_bytes, np.uint8)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        np.copyto(target, source)
        times.append(time.process_time() - start)
    return 2 * n_bytes / min(times)


def peak_of(call: Callable[[], Any]) -> tuple[Any, int | None]:
    """Return the result of a call and the memory that it took at most beyond what was there before.

    The kernel's high-water mark of resident memory is reset first; freed memory that the allocator keeps
    is handed back, so that the call cannot hide in it. None where the system has no such mark.
    """
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return call(), None
    before = _status_bytes("VmRSS")
    result = call()
    return result, max(0, _status_bytes("VmHWM") - before)


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


@contextmanager
def silence() -> Iterator[None]:
    """Send what C++ prints on standard output nowhere."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
