"""Faces between labels as bits, eight to an instruction, and the runs of them that lie between the same two labels.

Bit x of a row says that voxel x and its lower neighbour are of two labels. Along x a run of faces of one pair goes on
until the row or its neighbour meets another label, and that the bits of faces normal to x tell: labels are only read
once per run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from connectome.kernels.flags import trailing_zeros
from connectome.kernels.jit import jit_bare, prefetch

WORD = 64
"""Voxels of a word of bits; runs end with it."""
_BYTE = 8
_SHIFT = np.uint64(3)


@intrinsic  # type: ignore[untyped-decorator]
def _touching(_context: Any, labels: Any, here: Any, there: Any) -> Any:  # noqa: ARG001
    """Compare eight labels from `here` on with those from `there` on: bit k is set where both are and differ."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        label = context.get_value_type(signature.args[0].dtype)
        eight = ir.VectorType(label, _BYTE)
        one, other = (
            builder.load(builder.bitcast(builder.gep(data, [at]), eight.as_pointer()), align=label.width // 8)
            for at in arguments[1:]
        )
        nothing = ir.Constant(eight, None)
        differ = builder.icmp_unsigned("!=", one, other)
        are = builder.and_(builder.icmp_unsigned("!=", one, nothing), builder.icmp_unsigned("!=", other, nothing))
        return builder.bitcast(builder.and_(differ, are), ir.IntType(_BYTE))

    return types.uint8(labels, types.uint64, types.uint64), generate


@jit_bare
def mark_row(labels, row, width, below, bits, at):
    """Mark the faces of a row with its lower neighbours along z, y and x.

    Parameters
    ----------
    labels : uint32 or uint64 array, flat
        0 is background.
    row, width : uint64
        Where the row begins in `labels`, not at 0, and its voxels.
    below : (z, y, ahead) of uint64
        How far before the row its neighbours along z and y are, 0 where there are none, and how far ahead of it
        labels are asked for.
    bits : uint8 array
        8 voxels to a byte.
    at : (z, y, x) of uint64
        Where the bits of each axis begin. Bit 0 along x compares with the row before.
    """
    to_z, to_y, ahead = below
    at_z, at_y, at_x = at
    one, n_bytes = np.uint64(1), width >> _SHIFT
    for byte in range(n_bytes):
        voxel = row + (byte << _SHIFT)
        # All is read before anything is written, or the row would be read three times.
        by_z, by_y = _touching(labels, voxel, voxel - to_z), _touching(labels, voxel, voxel - to_y)
        by_x = _touching(labels, voxel, voxel - one)
        bits[at_z + byte], bits[at_y + byte], bits[at_x + byte] = by_z, by_y, by_x
        prefetch(labels, voxel + ahead)
    if width & np.uint64(_BYTE - 1):
        first = n_bytes << _SHIFT
        bits[at_z + n_bytes] = _touching_some(labels, row, row - to_z, first, width)
        bits[at_y + n_bytes] = _touching_some(labels, row, row - to_y, first, width)
        bits[at_x + n_bytes] = _touching_some(labels, row, row - one, first, width)


@jit_bare
def mark_first_row(labels, width, bits, at):
    """Mark the faces along x of the row at 0, which has no other neighbour and nothing before it."""
    zero, one = np.uint64(0), np.uint64(1)
    for byte in range((width + np.uint64(_BYTE - 1)) >> _SHIFT):
        first, stop = byte << _SHIFT, (byte + one) << _SHIFT
        # The row at 0 minus one is never read: x begins at 1.
        bits[at + byte] = _touching_some(labels, zero, zero - one, max(first, one), min(stop, width))


@jit_bare
def _touching_some(labels, row, other, start, stop):
    bits = np.uint64(0)
    for x in range(start, stop):
        a, b = labels[row + x], labels[other + x]
        bits |= np.uint64((a != b) & (a != 0) & (b != 0)) << (x & np.uint64(_BYTE - 1))
    return np.uint8(bits)


@jit_bare
def runs_of_faces(faces, at, breaks, here, there, n_words, firsts, lengths):
    """List the runs of faces of one pair in a row.

    Parameters
    ----------
    faces, breaks : uint64 arrays
        Bits of faces along the axis in question, and along x.
    at, here, there : uint64
        Where the row begins in `faces`, and it and its neighbour in `breaks`. With all three the same, which lists
        faces normal to x, every run is one face.
    n_words : uint64
        Words of a row.
    firsts, lengths : uint32, uint8 arrays
        Written: where each run begins, and its faces, at most 64.

    Returns
    -------
    uint64
        How many runs there are.
    """
    one, word = np.uint64(1), np.uint64(WORD)
    n = np.uint64(0)
    for k in range(n_words):
        face = faces[at + k]
        starts = face & (breaks[here + k] | breaks[there + k] | ~(face << one))
        ends = starts | ~face
        while starts != 0:
            start = np.uint64(trailing_zeros(starts))
            starts &= starts - one
            firsts[n] = k * word + start
            lengths[n] = min(np.uint64(trailing_zeros((ends >> start) & ~one)), word - start)
            n += one
    return n
