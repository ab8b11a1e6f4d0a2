"""A preload of Dask workers: notes every task that begins and every one that is done, for `benchmarks.chaos`.

Receipts cannot tell what a killed worker had done: this can.
"""

from __future__ import annotations

import os
from typing import Any

from distributed import Worker

from connectome.runtime import work

VARIABLE = "CONNECTOME_CHAOS_LOG"


def dask_setup(worker: Worker) -> None:  # noqa: ARG001
    """Wrap what performs a task; lines shorter than a page are appended whole, by whatever process."""
    log = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    perform = work.perform

    def noted(plan: Any, dataset: Any, task: Any, *rest: Any) -> Any:
        os.write(log, f"begun {task}\n".encode())
        receipt = perform(plan, dataset, task, *rest)
        os.write(log, f"done {task}\n".encode())
        return receipt

    work.perform = noted
