"""Seconds for which this process kept an accelerator busy. Needs no torch, so that all workers can ask."""

from __future__ import annotations

from threading import Lock

_lock = Lock()
_seconds = 0.0


def gpu_seconds() -> float:
    """Return the seconds so far; the difference of two is what happened between them."""
    return _seconds


def add_gpu_seconds(seconds: float) -> None:
    """Count work that an accelerator did."""
    global _seconds  # noqa: PLW0603
    with _lock:
        _seconds += seconds
