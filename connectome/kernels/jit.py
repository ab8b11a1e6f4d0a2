"""The one compiler decorator of the project.

`nogil` lets Dask's threads overlap, `cache` spares a fresh worker the compilation, and `parallel`
is never used: the scheduler owns the cores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def jit(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile `function` to machine code without the interpreter."""
    compiled = numba.njit(nogil=True, cache=True, boundscheck=False)(function)
    return cast(Callable[Parameters, Result], cast(Any, compiled))


def inlined(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a small `function` into its callers: a call costs more than the few loads that it makes."""
    compiled = numba.njit(nogil=True, cache=True, boundscheck=False, forceinline=True)(function)
    return cast(Callable[Parameters, Result], cast(Any, compiled))
