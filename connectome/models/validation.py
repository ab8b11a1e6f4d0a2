"""What validation says of a network while it is trained, and when that is enough."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """How good a network is.

    Attributes
    ----------
    objective : float
        Lower is better; by this the best weights are chosen.
    figures : dict
        Scores by name, for logs, report and manifest.
    """

    objective: float
    figures: dict[str, float]


@dataclass
class History:
    """Losses and verdicts of a run so far.

    Attributes
    ----------
    losses : list
        ``step``, ``minutes``, ``loss``, ``learning_rate`` and ``validation_loss`` of each report.
    verdicts : list
        ``step``, ``objective`` and the figures of each validation.
    """

    losses: list[dict[str, Any]] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def best(self) -> dict[str, Any] | None:
        """The verdict with the lowest objective, the first of those that are equal."""
        return min(self.verdicts, key=lambda verdict: float(verdict["objective"]), default=None)

    @property
    def last(self) -> dict[str, Any] | None:
        """The verdict that came last."""
        return self.verdicts[-1] if self.verdicts else None

    @property
    def n_without_gain(self) -> int:
        """Validations since the best one."""
        best = self.best
        return 0 if best is None else len(self.verdicts) - 1 - self.verdicts.index(best)

    def add(self, step: int, verdict: Verdict) -> bool:
        """Note a verdict; tell whether it is the best so far."""
        self.verdicts.append({"step": step, "objective": verdict.objective, **verdict.figures})
        return self.n_without_gain == 0
