"""Cuts of a finished dataset at other thresholds, from its tables of edges; no voxel is read.

A cut is a dataset of its own below ``cuts/`` of the one that it is made from, which is never written to.
"""

from __future__ import annotations

from collections.abc import Sequence

from connectome.errors import InputError


def check_thresholds(thresholds: Sequence[float]) -> list[float]:
    """Return the thresholds in ascending order, each once, or refuse them."""
    wrong = [threshold for threshold in thresholds if not 0 <= threshold <= 1]
    if wrong or not thresholds:
        got = f"{wrong[0]:g}" if wrong else "none"
        raise InputError(f"--threshold takes affinities from 0 to 1 with commas between, got {got}")
    return sorted(set(thresholds))


def cut_url(dataset_url: str, threshold: float) -> str:
    """Return where the cut of a dataset at `threshold` lies."""
    return f"{dataset_url}/cuts/{threshold}"
