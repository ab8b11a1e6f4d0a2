"""Errors that mean: the request cannot be met as it stands, and here is what to do."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input. The message says what, got, wanted and what to do, in one sentence."""


class DiskFullError(InputError):
    """Nothing more can be written; the run stops at once instead of trying block after block."""


class StageFailedError(InputError):
    """Most of the first tasks of a pass failed; the run stops instead of failing at all the others."""
