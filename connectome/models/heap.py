"""Freed memory that is kept for the next step, where the allocator is glibc's."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of `mallopt`, from malloc.h of glibc."""


def keep_freed_memory() -> None:
    """Have this process keep what it frees. Elsewhere than on Linux with glibc nothing happens.

    Every step of a training run allocates the same large activations and gradients. By default each comes as fresh
    pages from the system, which must zero them first.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
