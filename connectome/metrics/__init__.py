"""Scores of segmentations."""

from connectome.metrics.agreement import Agreement, agreement

__all__ = ["Agreement", "agreement"]
