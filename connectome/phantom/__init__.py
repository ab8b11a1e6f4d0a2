"""Synthetic tissue with known cells."""

from connectome.phantom.tissue import Appearance, generate

__all__ = ["Appearance", "generate"]
