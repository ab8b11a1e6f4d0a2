"""Memory that was freed but is still held by the allocator."""

from __future__ import annotations

import ctypes
from contextlib import suppress

MUCH = 24 << 20
"""Bytes worth the search, and the faults of pages that are touched anew."""


def give_back(n_bytes: int) -> None:
    """Hand freed memory back to the system before work on many bytes, where the C library can.

    Arrays below 32 MiB that were let go of lie between others that live on, and stay resident.
    """
    if n_bytes >= MUCH:
        with suppress(OSError, AttributeError):  # not every C library has it
            ctypes.CDLL(None).malloc_trim(0)
