"""Memory that was freed: whether the allocator, where it is glibc's, holds it or hands it back."""

from __future__ import annotations

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
"""Parameters of `mallopt`, from malloc.h of glibc."""
MUCH = 16 << 20
"""Bytes worth the search, and the faults of pages that are touched anew."""

IN_HEAP = 32 << 20
"""Arrays below this may lie in the heap, between others that live on; glibc maps larger ones by themselves."""


def give_back(n_bytes: int) -> None:
    """Hand freed memory back to the system before work on many bytes, where the C library can.

    Arrays below `IN_HEAP` that were let go of stay resident otherwise.
    """
    if n_bytes >= MUCH:
        with suppress(OSError, AttributeError):  # not every C library has it
            ctypes.CDLL(None).malloc_trim(0)


def keep_freed_memory() -> None:
    """Have this process keep what it frees, where the C library can.

    Every step of a training run allocates the same large activations and gradients. By default each comes as fresh
    pages from the system, which must zero them first.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def use_one_heap() -> None:
    """Have threads that begin from now on share the heap of the process, where the C library can.

    A worker runs its tasks in a thread, and others write for it. Heaps of their own are handed back in parts of 64 MB:
    touching those pages anew takes workers an eighth of their time, and there are more of them.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
