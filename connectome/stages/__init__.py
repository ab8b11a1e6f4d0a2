"""One file per stage; the folder is the registry."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from connectome.stages.stage import BlockStage, Stage, TreeStage

__all__ = ["BlockStage", "Stage", "TreeStage", "registry"]


@cache
def registry() -> dict[str, type[Stage]]:
    """Return all stages by name. A stage lives in the module of its name."""
    stages: dict[str, type[Stage]] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name == "stage":
            continue
        for member in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if isinstance(member, type) and issubclass(member, Stage) and "stage" in member.model_fields:
                stages[member.model_fields["stage"].default] = member
    return dict(sorted(stages.items()))
