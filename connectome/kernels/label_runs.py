"""Runs of equal labels, found and filled by vectors: two steps that numba's loops do not become."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

FILLED = 24
"""Voxels that are filled at once: nearly all runs of fragments are shorter."""
SEEN = 64
"""Voxels that are looked at for starts of runs at once."""
_LANES = 8


@intrinsic  # type: ignore[untyped-decorator]
def starts_of_runs(_context: Any, labels: Any, at: Any) -> Any:  # noqa: ARG001
    """Return 64 bits (uint64): bit k is set where label `at` + k of a flat array is not the one before it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        label = context.get_value_type(signature.args[0].dtype)
        lanes = ir.VectorType(label, _LANES)

        def load(ahead: int) -> Any:
            address = builder.gep(data, [builder.add(arguments[1], ir.Constant(ir.IntType(64), ahead))])
            return builder.load(builder.bitcast(address, lanes.as_pointer()), align=label.width // 8)

        bits = ir.Constant(ir.IntType(64), 0)
        for k in range(0, SEEN, _LANES):
            differ = builder.bitcast(builder.icmp_unsigned("!=", load(k), load(k - 1)), ir.IntType(_LANES))
            bits = builder.or_(bits, builder.shl(builder.zext(differ, ir.IntType(64)), ir.Constant(ir.IntType(64), k)))
        return bits

    return types.uint64(labels, types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def fill(_context: Any, labels: Any, at: Any, label: Any) -> Any:  # noqa: ARG001
    """Write a label to the FILLED voxels of a flat array from `at` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        lanes = ir.VectorType(arguments[2].type, _LANES)
        index = ir.IntType(32)
        nothing = ir.Constant(lanes, ir.Undefined)
        first = builder.insert_element(nothing, arguments[2], index(0))
        same = builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(index, _LANES), None))
        for k in range(0, FILLED, _LANES):
            address = builder.gep(data, [builder.add(arguments[1], ir.Constant(ir.IntType(64), k))])
            builder.store(same, builder.bitcast(address, lanes.as_pointer()), align=arguments[2].type.width // 8)
        return context.get_dummy_value()

    return types.void(labels, types.uint64, labels.dtype), generate
