"""Progress on the terminal: a bar per pass with voxels per second and time left, and what was spent so far."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from connectome.runtime.accounting import Accounts
from connectome.runtime.events import (
    Event,
    Heartbeat,
    RunEnded,
    RunStarted,
    TaskFailed,
    TaskQuarantined,
    TasksDone,
    TasksLost,
)
from connectome.runtime.prices import Prices
from connectome.workflow.plan import Plan

LINE_EVERY_S = 10.0
SPEND_EVERY_S = 1.0
SPEED_S = 7200.0
"""How far back the time left looks: there must be two ends of tasks, and a task may take half an hour."""


class ProgressDisplay:
    """Listens to a run and draws; on something other than a terminal it writes a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:>14}"),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=SPEED_S,
            disable=not console.is_terminal,
        )
        self._ids: dict[str, TaskID] = {}
        self._done: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._voxels: dict[str, int] = {}
        self._first: dict[str, float] = {}
        self._last_line = time.monotonic()
        self._bill: tuple[Accounts, Prices] | None = None
        self._spend_id: TaskID | None = None
        self._last_spend = 0.0
        self._known_pools: set[str] = set()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def follow(self, accounts: Accounts, prices: Prices) -> None:
        """Show what was spent from now on; others keep the accounts."""
        self._bill = accounts, prices

    def say(self, text: str) -> None:
        """Write a line above the bars."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def moved(self, what: str, done: int, total: int, unit: str = "voxels") -> None:
        """Show how many voxels, or other units, have gone through work outside of a plan, such as `ingest image`."""
        if what not in self._ids:
            self._ids[what] = self._bars.add_task(what, total=total, rate="")
        self._bars.update(self._ids[what], completed=done, total=total)
        if done >= total and not self._console.is_terminal:
            self._console.print(f"{what}: {total:,} {unit}")

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, RunStarted):
            self._start(event.plan, event.n_done)
        elif isinstance(event, TasksDone):
            self._advance(event)
        elif isinstance(event, TaskFailed):
            self._console.print(
                f"[yellow]try {event.attempt} of {event.task} failed:[/] {event.error}", highlight=False
            )
        elif isinstance(event, TasksLost):
            self._console.print(f"[yellow]{len(event.tasks)} tasks are sent again:[/] {event.reason}", highlight=False)
        elif isinstance(event, TaskQuarantined):
            self._console.print(f"[red]{event.task} is quarantined[/]", highlight=False)
        elif isinstance(event, Heartbeat):
            self._tell_who_is_missing(event)
            self._line_now_and_then()
        elif isinstance(event, RunEnded):
            self._line()
        if time.monotonic() - self._last_spend > SPEND_EVERY_S:
            self._show_spend()

    def _start(self, plan: Plan, n_done: dict[str, int]) -> None:
        for name, each in plan.passes.items():
            self._done[name], self._totals[name] = n_done[name], len(each)
            self._ids[name] = self._bars.add_task(name, total=len(each), completed=n_done[name], rate="")

        if self._bill is not None:
            self._spend_id = self._bars.add_task("spent so far", total=None, rate="")

    def _tell_who_is_missing(self, event: Heartbeat) -> None:
        """Say once of each pool that work waits for it and nobody has offered it yet."""
        self._known_pools.update(pool for pool, n in event.workers.items() if n)
        for pool in sorted(pool for pool, n in event.queued.items() if n and pool not in self._known_pools):
            self.say(f"waiting for a worker of pool {pool}")
            self._known_pools.add(pool)

    def _show_spend(self) -> None:
        self._last_spend = time.monotonic()
        if self._spend_id is not None:
            self._bars.update(self._spend_id, rate=self._spent())

    def _spent(self) -> str:
        assert self._bill is not None
        accounts, prices = self._bill
        return f"${accounts.usd(prices):,.4f}"

    def _advance(self, event: TasksDone) -> None:
        name, now = event.receipt.stage, time.monotonic()
        first = self._first.setdefault(name, now - event.receipt.wall_s)
        self._done[name] += event.receipt.n_tasks
        self._voxels[name] = self._voxels.get(name, 0) + event.receipt.voxels
        rate = self._voxels[name] / max(now - first, 1e-3)
        self._bars.update(self._ids[name], advance=event.receipt.n_tasks, rate=f"{_short(rate)}voxel/s")
        self._line_now_and_then()

    def _line_now_and_then(self) -> None:
        if time.monotonic() - self._last_line > LINE_EVERY_S:
            self._line()

    def _line(self) -> None:
        self._last_line = time.monotonic()
        if not self._console.is_terminal:
            parts = [f"{name} {self._done[name]}/{total}" for name, total in self._totals.items()]
            if self._bill is not None:
                parts.append(f"{self._spent()} spent")
            self._console.print(", ".join(parts), highlight=False, soft_wrap=True)


def _short(number: float) -> str:
    for unit in ("", "k", "M", "G"):
        if number < 1000:
            return f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} T"
