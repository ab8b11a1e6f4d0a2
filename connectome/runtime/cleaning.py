"""Deletes volumes that are not to be kept as soon as nobody reads them any more."""

from __future__ import annotations

from connectome.runtime.events import Event, RunStarted, TasksDone
from connectome.runtime.queues import Progress
from connectome.runtime.work import forget_volumes
from connectome.store.dataset import Dataset
from connectome.store.volume import is_volume
from connectome.workflow.plan import Plan


def is_read_up(plan: Plan, progress: Progress, name: str) -> bool:
    """Tell whether everything that reads a volume is done."""
    return all(progress.is_complete(each.name) for each in plan.readers(name))


class Cleaner:
    """Listens to a run, and deletes each volume of `Plan.temporary` when its last reader is done.

    Volumes that no pass reads wait for `finish`: the run's score may read them.
    """

    def __init__(self, plan: Plan, dataset: Dataset, progress: Progress) -> None:
        self._plan, self._dataset, self._progress = plan, dataset, progress
        self._left = set(plan.temporary)

    def __call__(self, event: Event) -> None:
        """Look at what the pass of the event reads."""
        if isinstance(event, RunStarted):
            self._clean({name for name in self._left if self._plan.readers(name)})
        elif isinstance(event, TasksDone) and self._left:
            read = set(self._plan.passes[event.receipt.stage].stage.inputs)
            self._clean(self._left & read)

    def finish(self) -> None:
        """Delete what is left, where everything that makes and reads it is done."""
        self._clean(set(self._left))

    def _clean(self, names: set[str]) -> None:
        for name in names:
            is_made = self._progress.is_complete(self._plan.writers[name][0].name)
            if is_made and is_read_up(self._plan, self._progress, name):
                self._left.discard(name)
                if is_volume(self._dataset.volume_url(name), even_unfinished=True):
                    self._dataset.delete_volume(name)
                    forget_volumes()
