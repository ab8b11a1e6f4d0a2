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
from connectome.kernels.jit import jit_bare, prefetch_early

WORD = 64
"""Voxels of a word of bits; runs end with it."""
_BYTE = 8
_SHIFT = np.uint64(3)


@intrinsic  # type: ignore[untyped-decorator]
def _differing(_context: Any, labels: Any, here: Any, there: Any) -> Any:  # noqa: ARG001
    """Compare eight labels from `here` on with those from `there` on: bit k is set where they differ."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one, other = (_load_eight(context, builder, signature, arguments[0], at) for at in arguments[1:])
        return builder.bitcast(builder.icmp_unsigned("!=", one, other), ir.IntType(_BYTE))

    return types.uint8(labels, types.uint64, types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _labelled(_context: Any, labels: Any, here: Any) -> Any:  # noqa: ARG001
    """Look at eight labels from `here` on: bit k is set where one is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        eight = _load_eight(context, builder, signature, *arguments)
        return builder.bitcast(builder.icmp_unsigned("!=", eight, ir.Constant(eight.type, None)), ir.IntType(_BYTE))

    return types.uint8(labels, types.uint64), generate


def _load_eight(context: Any, builder: Any, signature: Any, labels: Any, at: Any) -> Any:
    data = context.make_array(signature.args[0])(context, builder, labels).data
    label = context.get_value_type(signature.args[0].dtype)
    address = builder.bitcast(builder.gep(data, [at]), ir.VectorType(label, _BYTE).as_pointer())
    return builder.load(address, align=label.width // 8)


@jit_bare
def mark_row(labels, row, width, below, bits, at):
    """Mark where the labels of a row differ from those of their lower neighbours along z, y and x, and where any are.

    Parameters
    ----------
    labels : uint32 or uint64 array, flat
        0 is background.
    row, width : uint64
        Where the row begins in `labels`, and its voxels.
    below : (z, y, ahead) of uint64
        How far before the row its neighbours along z and y are, 0 where there are none, and how far ahead of it
        labels are asked for.
    bits : uint8 array
        8 voxels to a byte.
    at : (z, y, x, labelled) of uint64
        Where the bits of each axis begin, and those of voxels that are not background. Bit 0 along x is not set.
    """
    to_z, to_y, ahead = below
    at_z, at_y, at_x, at_any = at
    zero, one, n_bytes = np.uint64(0), np.uint64(1), width >> _SHIFT
    first = zero
    if row == 0:  # there is nothing before it to be read
        first = min(one, n_bytes)
        _mark_some(labels, row, below, bits, at, zero, min(first << _SHIFT, width))
    for byte in range(first, n_bytes):
        voxel = row + (byte << _SHIFT)
        # All is read before anything is written, or the row would be read three times. Whether there are labels is
        # asked once and not for both ends of each pair: comparisons are what this loop waits for.
        by_z, by_y = _differing(labels, voxel, voxel - to_z), _differing(labels, voxel, voxel - to_y)
        by_x, are = _differing(labels, voxel, voxel - one), _labelled(labels, voxel)
        bits[at_z + byte], bits[at_y + byte], bits[at_x + byte], bits[at_any + byte] = by_z, by_y, by_x, are
        prefetch_early(labels, voxel + ahead)
    if width & np.uint64(_BYTE - 1):
        _mark_some(labels, row, below, bits, at, n_bytes << _SHIFT, width)
    bits[at_x] &= ~one


@jit_bare
def _mark_some(labels, row, below, bits, at, start, stop):
    """Mark at most eight voxels, which are a byte of their own."""
    to_z, to_y, _ = below
    one = np.uint64(1)
    by_z, by_y, by_x, are = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
    for x in range(start, stop):
        bit = x & np.uint64(_BYTE - 1)
        label = labels[row + x]
        by_z |= np.uint64(label != labels[row + x - to_z]) << bit
        by_y |= np.uint64(label != labels[row + x - to_y]) << bit
        by_x |= np.uint64(x > 0 and label != labels[row + x - one]) << bit
        are |= np.uint64(label != 0) << bit
    at_z, at_y, at_x, at_any = at
    byte = start >> _SHIFT
    bits[at_z + byte], bits[at_y + byte], bits[at_x + byte], bits[at_any + byte] = by_z, by_y, by_x, are


@jit_bare
def keep_faces(words, at, labelled, n_words):
    """Keep of the marks of a row those between two labels: faces.

    Parameters
    ----------
    words : uint64 array
        The bits that `mark_row` wrote.
    at : (z, y, x) of uint64
        Where the marks of the row begin.
    labelled : (here, z, y) of uint64
        Where the bits of labelled voxels begin, of the row and of its lower neighbours.
    n_words : uint64
        Words of a row.
    """
    at_z, at_y, at_x = at
    here, below_z, below_y = labelled
    one, carried = np.uint64(1), np.uint64(0)
    for k in range(n_words):
        are = words[here + k]
        words[at_z + k] &= are & words[below_z + k]
        words[at_y + k] &= are & words[below_y + k]
        words[at_x + k] &= are & ((are << one) | carried)
        carried = are >> np.uint64(WORD - 1)


@jit_bare
def runs_of_faces(words, at, row, firsts, lengths, n):
    """List the runs of faces of one pair in a row.

    Parameters
    ----------
    words : uint64 array
        Bits of faces.
    at : (faces, here, there, n_words) of uint64
        Where the bits along the axis in question begin, and those along x of the row and of its neighbour on that
        axis, and the words of a row. With all three the same, which lists faces normal to x, every run is one face.
    row : uint64
        What is added to the place of a run in the row.
    firsts, lengths : uint32, uint8 arrays
        Written from `n` on: where each run begins, and its faces, at most 64.
    n : uint64
        How many runs there are already.

    Returns
    -------
    uint64
        How many runs there are.
    """
    faces, here, there, n_words = at
    one, word = np.uint64(1), np.uint64(WORD)
    for k in range(n_words):
        face = words[faces + k]
        starts = face & (words[here + k] | words[there + k] | ~(face << one))
        ends = starts | ~face
        while starts != 0:
            start = np.uint64(trailing_zeros(starts))
            starts &= starts - one
            firsts[n] = row + k * word + start
            lengths[n] = min(np.uint64(trailing_zeros((ends >> start) & ~one)), word - start)
            n += one
    return n
