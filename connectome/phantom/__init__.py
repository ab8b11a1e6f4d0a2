"""Synthetic tissue with known cells."""

from connectome.phantom.tissue import COARSEST_NM, Appearance, generate, working_bytes

__all__ = ["COARSEST_NM", "Appearance", "generate", "working_bytes"]
