"""Snapshots of the ledger: what is done and what it took after a part, so that a run of days goes on quickly.

They add nothing: the parts stay, and replaying them gives the same. One of another plan or version is ignored.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from connectome.runtime.accounting import Accounts, StageAccount
from connectome.runtime.queues import Progress
from connectome.store.ledger import Ledger
from connectome.workflow.plan import Plan

SNAPSHOT_PARTS = 300
"""Parts of the ledger after which there is a snapshot: they are read in about a second."""


def take(ledger: Ledger, progress: Progress, accounts: Accounts) -> None:
    """Write what all parts so far amount to."""
    state = {
        "version": version("connectome"),
        "tasks": {name: bits.size for name, bits in progress.done.items()},
        "done": {name: bits.packed() for name, bits in progress.done.items()},
        "accounts": asdict(accounts),
    }
    ledger.write_snapshot(state)


def restore(ledger: Ledger, plan: Plan) -> tuple[int, Progress, Accounts]:
    """Return the last part that the newest snapshot covers, and its state; 0 and nothing done where there is none."""
    number, state = ledger.read_snapshot()
    wanted = {"version": version("connectome"), "tasks": {name: len(each) for name, each in plan.passes.items()}}
    progress = Progress(plan)
    if any(state.get(key) != value for key, value in wanted.items()):
        return 0, progress, Accounts()
    try:
        accounts = _accounts_of(state["accounts"])
        for name, text in state["done"].items():
            progress.done[name].unpack(text)
    except (AttributeError, KeyError, TypeError, ValueError):
        return 0, Progress(plan), Accounts()
    return number, progress, accounts


def _accounts_of(values: dict[str, Any]) -> Accounts:
    stages = {name: StageAccount(**each) for name, each in values["stages"].items()}
    return Accounts(**{**values, "stages": stages})
