"""What lies in a folder, against what should: streamed range by range, so that millions of keys are never held."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping

import tensorstore as ts

from connectome.store.locations import STORE_ERRORS, StoreError, open_keys, scheme_of

UNFINISHED = (".__lock", ".partial", ".tmp")
"""Endings of files in which a write that was cut short leaves what it had; they are never keys."""


def compare_keys(url: str, expected: Mapping[str, Callable[[], set[str]]]) -> Iterator[tuple[str, str]]:
    """Yield ("missing", key) and ("left", key) for the keys below `url` that are not as expected.

    Parameters
    ----------
    url : str
    expected : mapping of prefix to callable
        The callable names the keys that shall be there below the prefix; no prefix begins another.
        Keys below no prefix are left.

    Notes
    -----
    O(keys); the keys of one prefix are held at a time, and those below none.
    """
    after = ""
    for prefix in sorted(expected):
        for key in _keys_between(url, after, prefix):
            yield "left", key
        after = _end_of(prefix)
        there, wanted = set(_keys_between(url, prefix, after)), expected[prefix]()
        for key in sorted(wanted - there):
            yield "missing", key
        for key in sorted(there - wanted):
            yield "left", key
    for key in _keys_between(url, after, ""):
        yield "left", key


def unfinished_files(url: str) -> Iterator[str]:
    """Yield files that a write which was cut short left below a folder of this machine; other stores have none."""
    if scheme_of(url) != "file":
        return
    for folder, _, names in os.walk(url.removeprefix("file://")):
        for name in names:
            if name.endswith(UNFINISHED):
                yield f"{folder}/{name}"


def keys_of_grid(prefix: str, plane: int, shape: tuple[int, int], separator: str, ending: str = "") -> set[str]:
    """Return the keys of one plane of a grid: ``prefix`` z, y, x with separators between, and an ending."""
    rows = itertools.product(range(shape[0]), range(shape[1]))
    return {f"{prefix}{plane}{separator}{y}{separator}{x}{ending}" for y, x in rows}


def _keys_between(url: str, start: str, stop: str) -> list[str]:
    if stop and start >= stop:
        return []
    try:
        keys = open_keys(url).list(ts.KvStore.KeyRange(start, stop)).result()
    except STORE_ERRORS as error:
        raise StoreError(f"cannot list {url}: {error}") from error
    return [key.decode() for key in keys]


def _end_of(prefix: str) -> str:
    """Return the least string that is greater than all that begin with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
