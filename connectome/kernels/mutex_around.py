"""Weights of the repulsive edges around each voxel of a mutex watershed, side by side.

Whoever asks what a voxel excludes looks at all its repulsive edges, at voxels in no order of place: laid side by side
they are one line of memory, and are compared sixteen to an instruction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from connectome.kernels.jit import inlined, jit
from connectome.kernels.mutex_edges import CHANNEL_BITS, WEIGHT_SHIFT, edge_key

LANES = 16
"""Weights that are compared at once; `around` has room for so many beyond its end."""


@jit
def repulsive_sides(volume):
    """Return a row for each side of each repulsive channel, int64 (2 n, 5).

    The step from a voxel to the other one (z, y, x, index), and the step to the higher of both.
    """
    _, offsets, deltas, n_attractive, _, _, _ = volume
    n = offsets.shape[0] - n_attractive
    sides = np.zeros((2 * n, 5), np.int64)
    for k in range(n):
        sides[k, :3], sides[k, 3] = offsets[n_attractive + k], deltas[n_attractive + k]
        sides[n + k, :4] = -sides[k, :4]
        sides[n + k, 4] = -deltas[n_attractive + k]
    return sides


@jit
def write_around(around, volume, sides):
    """Write the weights of the repulsive edges of each voxel, side by side; 0 where there is none."""
    affinities, _, _, n_attractive, strides, frame, _ = volume
    nz, ny, nx = affinities.shape[1:]
    n_sides = sides.shape[0]
    around[:] = 0
    for row in range(nz * ny):
        z, y = row // ny, row % ny
        for side in range(n_sides):
            if not (0 <= z + sides[side, 0] < nz and 0 <= y + sides[side, 1] < ny):
                continue
            is_far = side >= n_sides // 2
            hz, hy, hx = (z + sides[side, 0], y + sides[side, 1], sides[side, 2]) if is_far else (z, y, 0)
            channel = n_attractive + side % (n_sides // 2)
            if (hz + frame[1][0]) % strides[channel, 0] != 0 or (hy + frame[1][1]) % strides[channel, 1] != 0:
                continue
            step = strides[channel, 2]
            begin, end = max(0, -sides[side, 2]), min(nx, nx - sides[side, 2])
            begin += -(begin + hx + frame[1][2]) % step
            for x in range(begin, end, step):
                around[(row * nx + x) * n_sides + side] = np.uint8(255) - affinities[channel, hz, hy, x + hx]


@intrinsic  # type: ignore[untyped-decorator]
def _at_least(_context: Any, around: Any, at: Any, weight: Any) -> Any:  # noqa: ARG001
    """Look at a number of weights, LANES, from `at` on: bit k (of int64) is set where one is at least `weight`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        lanes, index = ir.VectorType(ir.IntType(8), LANES), ir.IntType(32)
        address = builder.bitcast(builder.gep(data, [arguments[1]]), lanes.as_pointer())
        nothing = ir.Constant(lanes, ir.Undefined)
        first = builder.insert_element(nothing, builder.trunc(arguments[2], ir.IntType(8)), index(0))
        least = builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(index, LANES), None))
        are = builder.icmp_unsigned(">=", builder.load(address, align=1), least)
        return builder.zext(builder.bitcast(are, ir.IntType(LANES)), ir.IntType(64))

    return types.uint64(around, types.int64, types.int64), generate


@inlined
def strong_sides(around, voxel, n_sides, weight):
    """Return the sides of a voxel whose edges weigh at least `weight`, above 0, as bits of a uint64.

    The last lanes are drawn back to end with the voxel's own: beyond them may be another line of memory.
    """
    sides, begin = np.uint64(0), voxel * n_sides
    for side in range(0, n_sides, LANES):
        start = max(0, min(side, n_sides - LANES))
        sides |= _at_least(around, begin + start, weight) << np.uint64(start)
    return sides & (~np.uint64(0) >> np.uint64(64 - n_sides)) if n_sides > 0 else sides


@inlined
def strength_of(voxel, channel, weight, n_channels, frame, mask):
    """Return the strength of the edge of a higher voxel and a channel."""
    return (np.uint64(weight) << WEIGHT_SHIFT) | (edge_key(voxel, channel, n_channels, frame, mask) >> CHANNEL_BITS)


@inlined
def demanded_strength(volume, sides, voxel, side, weight):
    """Return the strength of the edge on a side of a voxel."""
    n_channels = volume[1].shape[0]
    channel = volume[3] + side % (sides.shape[0] // 2)
    return strength_of(voxel + sides[side, 4], channel, weight, n_channels, volume[5], volume[6])
