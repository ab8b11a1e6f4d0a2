"""How kernels are compiled: `jit`; `jit_bare` where no array is made; `inlined` for small pieces of either.

`nogil` lets Dask's threads overlap, `cache` spares a fresh worker the compilation, and `parallel`
is never used: the scheduler owns the cores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

from connectome.kernels.cache import KernelCache

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
_NEAREST = 3


def jit(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile `function` to machine code without the interpreter."""
    return _compiled(function)


def inlined(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a `function` that allocates nothing into its callers, without counting references.

    Numba counts references to the arrays that a function is given, by atomic additions that it often
    fails to remove from loops: in a union-find they cost more than the work.
    """
    return _compiled(function, forceinline=True, _nrt=False)


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(_context: Any, array: Any, index: Any) -> Any:
    """Ask for an element of a contiguous array (index in memory order) to be brought near; never waits."""
    return types.void(array, index), _prefetch_to(_NEAREST)


@intrinsic  # type: ignore[untyped-decorator]
def prefetch_early(_context: Any, array: Any, index: Any) -> Any:
    """Ask for an element that is wanted much later: it waits in the second-level cache, not in the first."""
    return types.void(array, index), _prefetch_to(_NEAREST - 1)


def _prefetch_to(locality: int) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [address, word(0), word(locality), word(1)])
        return context.get_dummy_value()

    return generate


def jit_bare(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a function that makes no arrays, without counting references to those that it is given.

    A compiled function counts every array among its arguments up and down, atomically; called once per
    voxel or edge, that can take half the time.
    """
    return _compiled(function, _nrt=False)


def _compiled(function: Callable[Parameters, Result], **options: bool) -> Callable[Parameters, Result]:
    compiled = cast(Any, numba.njit(nogil=True, boundscheck=False, **options)(function))
    compiled._cache = KernelCache(function)
    return cast(Callable[Parameters, Result], compiled)
