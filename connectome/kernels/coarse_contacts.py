"""Faces between labels that are large: few voxels touch another label, and few pairs touch at a time.

Labels are compared as they are, and only runs of faces look up their pair, in a table of recent pairs that stays in
the cache. What another pair drives out is logged; the log is sorted and summed. For small labels the numbering and
the buckets of `contact_table` are faster.
"""

from __future__ import annotations

import numpy as np

from connectome.kernels.face_runs import WORD, keep_faces, mark_row, runs_of_faces
from connectome.kernels.jit import jit, jit_bare, prefetch

# Labels are large if at most one in so many neighbours along x differs.
_LARGE = 12
# One row of so many is looked at: a prime, or the rows of a regular pattern would be all alike.
_ROWS = 17
# Words of an entry: the pair, faces normal to x plus those normal to y << 32, all faces.
_WORDS = 4
# Rows of a strip. One section of it, and the pairs that are alive there, fit into the second-level cache.
_STRIP = 64
# Recent pairs as a power of two: 256 kB.
_RECENT_BITS = 13
# Bits of a digit of the sort: names of 24 bits, those of a block of 256 voxels a side, take two passes.
_DIGIT_BITS = 12
# So many entries ahead an entry of the log is asked for.
_AHEAD = 16
# Runs along an axis that are added together, or more by those of one row.
_WAITING = 256
_FIRST = np.uint64(0x9E3779B97F4A7C15)
_SECOND = np.uint64(0xBF58476D1CE4E5B9)


@jit
def labels_are_large(labels):
    """Tell from some of the rows whether neighbours along x mostly have the same label."""
    nz, ny, nx = labels.shape
    flat = labels.reshape(labels.size)
    n_differing, n_seen = 0, 0
    for row in range(0, nz * ny, _ROWS):
        here = np.uint64(row * nx)
        differing = np.int32(0)
        for x in range(np.uint64(nx - 1)):
            differing += np.int32(flat[here + x] != flat[here + x + np.uint64(1)])
        n_differing += int(differing)
        n_seen += nx
    return n_differing * _LARGE <= n_seen


@jit
def log_faces(labels, margin, log):
    """Log the faces between voxels behind the margin and their lower neighbours.

    Parameters
    ----------
    labels : uint32 or uint64 array, shape (z, y, x), C-contiguous
        0 is background.
    margin : tuple of 3 of 0 or 1
        Voxels on the low sides that are there only to be touched.
    log : uint64 array, flat
        Room, of any size. Pages come large, and so ten times faster, where numpy makes the array.

    Returns
    -------
    uint64 array, shape (4 * n,), a part of `log` or a new one
        Pairs a < b in any order and some more than once, each with faces normal to x plus those normal to y << 32,
        and all faces.
    """
    nz, ny, nx = labels.shape
    mz, my, mx = margin
    flat, width, section = labels.reshape(labels.size), np.uint64(nx), np.uint64(ny) * np.uint64(nx)
    n_words = np.uint64((nx + WORD - 1) // WORD)
    # Bits of a row along z and y; then, of the strip and one row before it, in two sections by turns, bits along x and
    # of labelled voxels.
    n_rows = _STRIP + 1
    words = np.zeros((2 + 4 * n_rows) * n_words, np.uint64)
    bits = words.view(np.uint8)
    zero, two, eight = np.uint64(0), np.uint64(2), np.uint64(8)
    # Runs along z, y and x that wait: added row by row, a mispredicted end of a loop would cost as much as the runs.
    runs = np.empty((3, _WAITING + nx), np.uint32), np.empty((3, _WAITING + nx), np.uint8), np.zeros(3, np.uint64)
    waiting = runs[2]
    room = np.uint64(_WORDS * (3 * (_WAITING + nx) + 1))
    recent, n = np.zeros(_WORDS << _RECENT_BITS, np.uint64), zero
    for strip in range(my, ny, _STRIP):
        for z in range(nz):
            for y in range(max(strip - 1, 0), min(strip + _STRIP, ny)):
                row = np.uint64(z * ny + y) * width
                here = two * np.uint64(2 + y - strip + (z & 1) * n_rows) * n_words
                before = two * np.uint64(2 + y - strip + (1 - (z & 1)) * n_rows) * n_words
                above = here - two * n_words
                below = (section if z > 0 else zero, width if y > 0 else zero, section if z + 1 < nz else zero)
                mark_row(flat, row, width, below, bits, (zero, eight * n_words, eight * here, eight * (here + n_words)))
                keep_faces(words, (zero, n_words, here), (here + n_words, before + n_words, above + n_words), n_words)
                if y < strip or z < mz:
                    continue
                words[0] &= ~np.uint64(mx)
                words[n_words] &= ~np.uint64(mx)
                _list_runs(words, (here, before, above, n_words), row, runs)
                if max(waiting[0], waiting[1], waiting[2]) > _WAITING:
                    if n + room > log.size:
                        log = _longer(log, n, room)
                    n = _add_waiting(flat, (section, width), runs, recent, log, n)
    if n + room + np.uint64(recent.size) > log.size:
        log = _longer(log, n, room + np.uint64(recent.size))
    n = _add_waiting(flat, (section, width), runs, recent, log, n)
    for place in range(zero, np.uint64(recent.size), np.uint64(_WORDS)):
        n = _log(recent, place, log, n)
    return log[:n]


@jit_bare
def _list_runs(words, at, row, runs):
    """List the runs of the faces of a row after those that wait."""
    (here, before, above, n_words), (firsts, lengths, waiting) = at, runs
    for axis, faces, other in ((0, np.uint64(0), before), (1, n_words, above), (2, here, here)):
        waiting[axis] = runs_of_faces(
            words, (faces, here, other, n_words), row, firsts[axis], lengths[axis], waiting[axis]
        )


@jit_bare
def _add_waiting(labels, below, runs, recent, log, n):
    """Count the faces of the runs that wait; return the end of the log."""
    (section, width), (firsts, lengths, waiting), one = below, runs, np.uint64(1)
    for axis, step, value in ((0, section, np.uint64(0)), (1, width, one << np.uint64(32)), (2, one, one)):
        n = _add(labels, step, firsts[axis], lengths[axis], waiting[axis], value, recent, log, n)
        waiting[axis] = 0
    return n


@jit_bare
def _add(labels, step, firsts, lengths, n_runs, value, recent, log, n):
    """Add runs to their pairs among the recent ones; log what they drive out and return the end of the log."""
    one = np.uint64(1)
    for run in range(n_runs):
        first, n_faces = np.uint64(firsts[run]), np.uint64(lengths[run])
        here, there = np.uint64(labels[first]), np.uint64(labels[first - step])
        a, b = min(here, there), max(here, there)
        place = ((a * _FIRST + b * _SECOND) >> np.uint64(64 - _RECENT_BITS)) * np.uint64(_WORDS)
        if recent[place] != a or recent[place + one] != b:
            n = _log(recent, place, log, n)
            recent[place] = a
            recent[place + one] = b
            recent[place + np.uint64(2)] = 0
            recent[place + np.uint64(3)] = 0
        recent[place + np.uint64(2)] += n_faces * value
        recent[place + np.uint64(3)] += n_faces
    return n


@jit_bare
def _log(recent, place, log, n):
    for k in range(np.uint64(_WORDS)):
        log[n + k] = recent[place + k]
    return n + np.uint64(_WORDS) if recent[place + np.uint64(3)] != 0 else n


@jit
def _longer(log, n, room):
    longer = np.empty(2 * log.size + np.int64(room), np.uint64)
    longer[:n] = log[:n]
    return longer


@jit
def order_of_log(log):
    """Return the entries of a log in the order of their pairs, uint32: a radix sort of the digits that vary."""
    n_entries, words = np.uint64(log.size // _WORDS), np.uint64(_WORDS)
    order = np.arange(np.int64(n_entries)).astype(np.uint32)
    spare, keys = np.empty(n_entries, np.uint32), np.empty(n_entries, np.uint64)
    ends, digits = np.empty((1 << _DIGIT_BITS) + 1, np.uint32), np.uint64((1 << _DIGIT_BITS) - 1)
    one = np.uint64(1)
    for column in (one, np.uint64(0)):
        varying, shift = np.uint64(0), np.uint64(0)
        for entry in range(n_entries):
            keys[entry] = log[words * entry + column]
            varying |= keys[entry] ^ keys[0]
        while shift < 64 and varying >> shift != 0:
            if (varying >> shift) & one == 0:
                shift += one
                continue
            ends[:] = 0
            for entry in range(n_entries):
                ends[((keys[entry] >> shift) & digits) + one] += 1
            for digit in range(1, ends.size):
                ends[digit] += ends[digit - 1]
            for place in range(n_entries):
                digit = (keys[np.uint64(order[place])] >> shift) & digits
                spare[np.uint64(ends[digit])] = order[place]
                ends[digit] += 1
            order, spare = spare, order
            shift += np.uint64(_DIGIT_BITS)
    return order


@jit_bare
def sum_log(log, order, columns):
    """Sum the entries of each pair into `columns` a, b, z, y, x (int64, with room for all entries); count the pairs."""
    a, b, z, y, x = columns
    row, low, high = -1, np.uint64(0), np.uint64(0)
    for place in range(order.size):
        if place + _AHEAD < order.size:
            prefetch(log, np.int64(_WORDS) * np.int64(order[place + _AHEAD]))
        entry = np.uint64(_WORDS) * np.uint64(order[place])
        n_xy, n_all = np.int64(log[entry + np.uint64(2)]), np.int64(log[entry + np.uint64(3)])
        n_x, n_y = n_xy & 0xFFFFFFFF, n_xy >> 32
        is_new = (log[entry] != low) | (log[entry + np.uint64(1)] != high)
        low, high = log[entry], log[entry + np.uint64(1)]
        if is_new:
            row += 1
            a[row], b[row] = low, high
            z[row], y[row], x[row] = 0, 0, 0
        z[row] += n_all - n_x - n_y
        y[row] += n_y
        x[row] += n_x
    return row + 1
