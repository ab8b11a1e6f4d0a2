"""Losses and scores of a training run as event files for TensorBoard."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from connectome.errors import InputError
from connectome.models.training_run import TrainingRun
from connectome.models.validation import History


class EventWriter:
    """Writes a run's history below ``FOLDER/events/NAME``; does nothing where the configuration does not ask for it.

    Raises
    ------
    InputError
        If it does, and TensorBoard is not installed.
    """

    def __init__(self, config: TrainingRun) -> None:
        self._writer: Any = None
        if not config.tensorboard:
            return
        if find_spec("tensorboard") is None:
            raise InputError(
                "tensorboard is true, but the package is not installed: pip install 'connectome[tensorboard]', or "
                "set it to false (the report page has the same curves)"
            )
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(config.folder) / "events" / config.network_name
        self._writer = SummaryWriter(str(folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, history: History) -> None:
        """Write what was noted last, and the verdict of the same step; what came before is written already."""
        if self._writer is None:
            return
        step = history.losses[-1]["step"]
        for rows, group in ((history.losses, "training"), (history.verdicts, "validation")):
            for row in rows[-1:]:
                for name, value in row.items():
                    if row["step"] == step and name != "step" and value is not None:
                        self._writer.add_scalar(f"{group}/{name}", value, step)
        self._writer.flush()
