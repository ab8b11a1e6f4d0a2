"""What is done, what is lost, and which tasks of a pass come next: one bit per task and a short list per pass."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator
from itertools import islice

from connectome.store.ledger import runs_of
from connectome.workflow.plan import Pass, Plan, Task

LOOK_AHEAD = 256
"""Tasks per pass whose dependencies are watched."""


class Bitmap:
    """One bit per task of a pass."""

    def __init__(self, each: Pass) -> None:
        self._pass, self._bits = each, bytearray(-(-len(each) // 8))
        self.count = 0

    @property
    def size(self) -> int:
        """Tasks of the pass."""
        return len(self._pass)

    def add(self, task: Task) -> None:
        """Set the task's bit."""
        self.add_number(self._pass.number(task))

    def add_number(self, number: int) -> None:
        """Set the bit of the task of that number."""
        if not self._bits[number >> 3] >> (number & 7) & 1:
            self._bits[number >> 3] |= 1 << (number & 7)
            self.count += 1

    def __contains__(self, task: Task) -> bool:
        return self.has_number(self._pass.number(task))

    def has_number(self, number: int) -> bool:
        """Tell whether the bit of the task of that number is set."""
        return bool(self._bits[number >> 3] >> (number & 7) & 1)

    @property
    def is_full(self) -> bool:
        return self.count == len(self._pass)

    def packed(self) -> str:
        """Return the bits as text that `unpack` reads."""
        return base64.b64encode(zlib.compress(self._bits, 1)).decode()

    def unpack(self, text: str) -> None:
        """Take over the bits of a bitmap of the same pass."""
        try:
            bits = bytearray(zlib.decompress(base64.b64decode(text)))
        except zlib.error as error:
            raise ValueError(f"a damaged bitmap: {error}") from error
        if len(bits) != len(self._bits):
            raise ValueError(f"a bitmap of {len(bits)} bytes is not one of {self._pass.name}")
        self._bits, self.count = bits, sum(byte.bit_count() for byte in bits)


class Progress:
    """What is done and what is lost, per pass."""

    def __init__(self, plan: Plan) -> None:
        self.done = {name: Bitmap(each) for name, each in plan.passes.items()}
        self.lost = {name: Bitmap(each) for name, each in plan.passes.items()}

    def is_done(self, task: Task) -> bool:
        return task in self.done[task.stage]

    def is_complete(self, name: str) -> bool:
        """Tell whether all tasks of a pass are done."""
        return self.done[name].is_full

    def is_lost(self, task: Task) -> bool:
        return task in self.lost[task.stage]


class Queue:
    """Tasks of one pass that come next, each with the dependency that it was last seen waiting for."""

    def __init__(self, plan: Plan, each: Pass, progress: Progress) -> None:
        self._plan, self._pass, self._progress = plan, each, progress
        self._tasks: Iterator[Task] = (task for task in each.tasks() if not progress.is_done(task))
        self._waiting: dict[Task, Task | None] = {}
        self._ready: set[Task] = set()
        """Those of them that were found ready; what is done stays done."""

    def pop_ready(self, most: Callable[[Task], int], most_runs: int) -> list[Task]:
        """Return the next tasks whose dependencies are done, all of one level; drop those that can never run.

        Parameters
        ----------
        most : callable
            Given the first task, how many like it.
        most_runs : int
            Runs of consecutive numbers that they form.
        """
        ready: list[Task] = []
        n_before, n_wanted = -1, 1
        while n_before != len(self._waiting) and len(ready) < n_wanted:
            self._look_ahead()
            n_before = len(self._waiting)
            for task in list(self._waiting):
                if (ready and task.level != ready[0].level) or not self._is_ready(task):
                    continue
                ready.append(task)
                n_wanted = most(ready[0]) if len(ready) == 1 else n_wanted
                if len(ready) >= n_wanted:
                    break
            for task in ready:
                self._waiting.pop(task, None)
                self._ready.discard(task)
        return self._trimmed(ready, most_runs)

    def count_ready(self) -> int:
        """How many of the tasks looked at could run now."""
        self._look_ahead()
        return sum(self._is_ready(task) for task in list(self._waiting))

    def is_exhausted(self) -> bool:
        """Tell whether nothing comes any more."""
        if not self._waiting:
            self._look_ahead()
        return not self._waiting

    def _look_ahead(self) -> None:
        for task in islice(self._tasks, LOOK_AHEAD - len(self._waiting)):
            self._waiting[task] = None

    def _is_ready(self, task: Task) -> bool:
        """Tell whether all that a task needs is done; drop it where something of that is lost."""
        if task in self._ready:
            return True
        watched, progress = self._waiting[task], self._progress
        if watched is not None and not progress.is_done(watched) and not progress.is_lost(watched):
            return False
        missing = next((d for d in self._plan.dependencies(task) if not progress.is_done(d)), None)
        if missing is None:
            self._ready.add(task)
            return True
        if any(progress.is_lost(d) for d in self._plan.dependencies(task)):
            del self._waiting[task]
            progress.lost[task.stage].add(task)
        else:
            self._waiting[task] = missing
        return False

    def _trimmed(self, ready: list[Task], most_runs: int) -> list[Task]:
        """Keep the first tasks that form few runs; the others wait again, before all others."""
        kept = len(ready)
        while kept > 1 and len(runs_of(self._pass.number(task) for task in ready[:kept])) > most_runs:
            kept -= 1
        if kept < len(ready):
            self._waiting = dict.fromkeys(ready[kept:]) | self._waiting
        return ready[:kept]
