"""Final labels of a block, and their mip pyramid: fragments under the names that agglomeration gave them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types
from numba.extending import intrinsic

from connectome.geometry import Triple, as_triple
from connectome.kernels.downsample import mode_sections, mode_strip
from connectome.kernels.flags import trailing_zeros
from connectome.kernels.jit import inlined, jit_bare, prefetch
from connectome.kernels.label_runs import FILLED, SEEN, fill, starts_of_runs

Labels = npt.NDArray[np.uint64]
Names = tuple[np.uint64, Labels, Labels, tuple[int, int, int]]

GROUP_BITS = 6
"""Labels that differ in these low bits only lie side by side in the table."""
WIDEST = 16
"""Labels are spread too far for an index where there are more of them than this for each voxel."""
SAMPLED = 8
"""One in this many voxels is looked at to tell whether runs are short."""
NOISE_RUN = 2
"""Where runs are shorter, every voxel is looked up, and rows of the hash are asked for ahead."""
AHEAD = 64
"""So many look-ups ahead a row of the hash is asked for."""
STRIP = 1 << 15
"""So many voxels are renamed before they are pooled: 256 kB."""
_SCRAMBLE = np.uint64(0x9E3779B97F4A7C15)


def relabel(labels: Labels, old: Labels, new: Labels, *, in_place: bool = False) -> Labels:
    """Replace labels that have a row in (old, new); the others keep themselves.

    Parameters
    ----------
    labels : uint64 array, any shape
    old, new : uint64 arrays, shape (n,)
        Names, sorted by `old`, each once.
    in_place : bool
        Overwrite `labels`, which must be in C order: fresh memory may cost more than the renaming.

    Returns
    -------
    uint64 array of the same shape.

    Notes
    -----
    O(voxels + n). Names are found by a bitmap of the labels that have one, 2 bits per label between the first
    and the last and so at most 4 bytes per voxel; where labels are spread farther, in a hash that keeps near ids
    in one cache line, at most 128 bytes per name.
    """
    names = _find_names(old, new, labels.size)
    if in_place:
        if not labels.flags.c_contiguous:
            raise ValueError("labels that are renamed in place must be in C order: pass a copy, or not in_place")
        _rename_in_place(labels.reshape(-1), np.empty(STRIP, np.uint64), names)
        return labels
    renamed = np.empty(labels.shape, np.uint64)
    _rename(np.ascontiguousarray(labels).ravel(), renamed.ravel(), names)
    return renamed


def relabel_pyramid(
    labels: Labels,
    old: Labels,
    new: Labels,
    factors: Sequence[Sequence[int]] = (),
    *,
    out: Sequence[Labels] = (),
) -> list[Labels]:
    """Replace labels as `relabel` does, and pool the result level by level as `downsample_mode` does.

    Parameters
    ----------
    labels : uint64 array, shape (z, y, x)
    old, new : uint64 arrays, shape (n,)
        Names, sorted by `old`, each once.
    factors : triples of 1 or 2
        How many voxels of a level become one of the next along z, y and x.
    out : uint64 arrays in C order
        Where the first levels are written: fresh memory costs a third of the call. The first one may be `labels`
        itself, which is renamed in place then, and must share no memory with it otherwise.

    Returns
    -------
    list of uint64 arrays
        Level 0, the labels under their names, and one more level for each triple; those of `out` first.

    Raises
    ------
    ValueError
        If an array has another shape, type or order, or the factors are not 1 or 2.

    Notes
    -----
    One pass over `labels`: strips of rows, and then sections level by level, are pooled while they are in the
    cache. O(voxels + n).
    """
    steps = [as_triple(factor) for factor in factors]
    if labels.ndim != 3 or labels.dtype != np.uint64:
        raise ValueError(f"wanted are uint64 labels z y x, got {labels.dtype} {labels.shape}")
    if any(not set(step) <= {1, 2} for step in steps):
        raise ValueError(f"pooling factors are 1 or 2 per axis, got {steps}; give more levels and drop some")
    levels = _levels(labels.shape, steps, out)
    is_in_place = levels[0] is labels
    labels = np.ascontiguousarray(labels)
    names = _find_names(old, new, labels.size)
    strip = np.empty(STRIP if is_in_place else 0, np.uint64)
    if not steps and is_in_place:
        _rename_in_place(labels.reshape(-1), strip, names)
    elif not steps:
        _rename(labels.reshape(-1), levels[0].reshape(-1), names)
    if not steps:
        return levels
    is_unsure = np.empty(levels[1].shape[2], np.bool_)
    # A slab holds whole sections of every level, so that its levels are those of the whole.
    depth = math.prod(step[0] for step in steps)
    for start in range(0, labels.shape[0], depth):
        parts = _slab(levels, steps, start, depth)
        _rename_and_pool(labels[start : start + depth], parts[0], parts[1], steps[0], names, strip, is_unsure)
        for step, finer, coarser in zip(steps[1:], parts[1:], parts[2:], strict=False):
            mode_sections(finer, coarser, step, is_unsure)
    return levels


def _levels(shape: tuple[int, ...], steps: list[Triple], out: Sequence[Labels]) -> list[Labels]:
    """Return the arrays to write to: those that are given, checked, and new ones for the levels beyond."""
    levels: list[Labels] = []
    for number, step in enumerate([(1, 1, 1), *steps]):
        shape = as_triple([-(-n // f) for n, f in zip(shape, step, strict=True)])
        if number < len(out):
            given = out[number]
            if given.shape != shape or given.dtype != np.uint64 or not given.flags.c_contiguous:
                order = "C order" if given.flags.c_contiguous else "another order"
                raise ValueError(
                    f"level {number} of out is {given.dtype} {given.shape} in {order}, wanted uint64 {shape} in C order"
                )
        levels.append(out[number] if number < len(out) else np.empty(shape, np.uint64))
    return levels


def _slab(levels: list[Labels], steps: list[Triple], start: int, depth: int) -> list[Labels]:
    """Cut the same `depth` sections of level 0 out of every level."""
    parts = []
    for level, step in zip(levels, [(1, 1, 1), *steps], strict=True):
        start, depth = start // step[0], depth // step[0]
        parts.append(level[start : start + depth])
    return parts


def _find_names(old: Labels, new: Labels, n_voxels: int) -> Names:
    """Return what `_rename` looks names up in: an index where labels lie near each other, else a hash."""
    if old.size and int(old[-1]) - int(old[0]) < WIDEST * n_voxels:
        return _indexed(old, new)
    return _hashed(old, new)


def _indexed(old: Labels, new: Labels) -> Names:
    """Return (first word, for each 64 labels a bitmap of who has a name and how many before have one, added).

    What is added to a label makes it its name. The last word stands for all labels beyond: no label has a name
    there, and no label is a special case.
    """
    first = old[0] >> np.uint64(6)
    index = np.zeros(2 * (int((old[-1] >> np.uint64(6)) - first) + 2), np.uint64)
    _fill_index(index, old, first)
    return first, index, np.concatenate([np.zeros(1, np.uint64), new - old]), (0, 0, 0)


@jit_bare
def _fill_index(index, old, first):
    for row in range(old.size):
        index[np.uint64(2) * ((old[row] >> np.uint64(6)) - first)] |= np.uint64(1) << (old[row] & np.uint64(63))
    n_before = np.uint64(0)
    for word in range(index.size // 2):
        index[2 * word + 1] = n_before
        n_before += _n_bits(index[2 * word])


@intrinsic  # type: ignore[untyped-decorator]
def _n_bits(_context: Any, value: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(value), generate


def _hashed(old: Labels, new: Labels) -> Names:
    """Return rows of (label, name), where (0, name of 0) is empty, and the shifts of `_slot`.

    Fragments are named by their first voxels: names near in value are near in space and wanted together.
    So the high bits of a label are scrambled to the place of a group, and its low bits are the place in the
    group: as many as keep the table at most half full for the groups that there are.
    """
    groups = old >> np.uint64(GROUP_BITS)
    n_groups = 1 + int(np.count_nonzero(groups[1:] != groups[:-1]))
    place_bits = min(GROUP_BITS, max(0, math.ceil(math.log2(max(1.0, 2 * old.size / n_groups)))))
    group_bits = max(1, (n_groups - 1).bit_length())
    while (1 << (group_bits + place_bits)) < 2 * old.size + 2:
        group_bits += 1
    table = np.zeros(2 << (group_bits + place_bits), np.uint64)
    if old.size and old[0] == 0:
        table[1::2] = new[0]
        old, new = old[1:], new[1:]
    shifts = (GROUP_BITS - place_bits, place_bits, 64 - group_bits)
    _fill(table, old, new, shifts)
    return np.uint64(0), np.zeros(0, np.uint64), table, shifts


@jit_bare
def _slot(label, shifts):
    fine, place, coarse = shifts
    group = ((label >> np.uint64(GROUP_BITS)) * _SCRAMBLE) >> np.uint64(coarse)
    inside = (label >> np.uint64(fine)) & np.uint64((1 << place) - 1)
    return np.int64((group << np.uint64(place)) | inside)


@jit_bare
def _fill(table, old, new, shifts):
    wrap = table.size // 2 - 1
    for row in range(old.size):
        if row + AHEAD < old.size:
            prefetch(table, 2 * _slot(old[row + AHEAD], shifts))
        slot = _slot(old[row], shifts)
        while table[2 * slot] != 0:
            slot = (slot + 1) & wrap
        table[2 * slot], table[2 * slot + 1] = old[row], new[row]


@jit_bare
def _rename_and_pool(labels, renamed, pooled, step, names, strip, is_unsure):
    """Rename strips of rows, and pool each while it is in the cache."""
    fz, fy, _ = step
    depth, height, width = labels.shape
    old, new = labels.reshape(labels.size), renamed.reshape(renamed.size)
    n_rows = max(1, STRIP // (fz * fy * width))
    n_noisy = 0
    for z in range(pooled.shape[0]):
        for y in range(0, pooled.shape[1], n_rows):
            end = min(y + n_rows, pooled.shape[1])
            for section in range(z * fz, min(z * fz + fz, depth)):
                first = (section * height + y * fy) * width
                last = (section * height + min(end * fy, height)) * width
                _rename_strips(old[first:last], new[first:last], strip, names)
            n_noisy = mode_strip(renamed, pooled, step, z, y, end, is_unsure, n_noisy)


@jit_bare
def _rename_strips(labels, renamed, strip, names):
    """Rename into other memory, or where there is a strip to copy to, in place."""
    if strip.size == 0:
        _rename(labels, renamed, names)
    else:
        _rename_in_place(renamed, strip, names)


@jit_bare
def _rename_in_place(labels, strip, names):
    """Rename strips from a copy that stays in the cache: names are written ahead of what is read."""
    for start in range(0, labels.size, strip.size):
        part = labels[start : min(start + strip.size, labels.size)]
        for voxel in range(part.size):
            strip[voxel] = part[voxel]
        _rename(strip[: part.size], part, names)


@jit_bare
def _rename(labels, renamed, names):
    first, index, table, shifts = names
    n_runs = 0
    for voxel in range(labels.size // SAMPLED):
        n_runs += labels[voxel] != labels[voxel + 1]
    if index.size == 0:
        _rename_by_hash(labels, renamed, table, shifts, n_runs * NOISE_RUN > labels.size // SAMPLED)
        return
    if n_runs * NOISE_RUN > labels.size // SAMPLED:
        for voxel in range(labels.size):
            renamed[voxel] = _name_by_index(labels[voxel], first, index, table)
    else:
        _rename_runs(labels, renamed, first, index, table)


@jit_bare
def _rename_runs(labels, renamed, first, index, added):
    """Look up the first voxel of every run of equal labels, and write its name beyond the run: the next mends that."""
    one, filled, seen = np.uint64(1), np.uint64(FILLED), np.uint64(SEEN)
    voxel, end = np.uint64(0), np.uint64(labels.size)
    while voxel < end:
        name = _name_by_index(labels[voxel], first, index, added)
        renamed[voxel] = name
        voxel += one
        # What is written beyond the last run must lie within the strip.
        while voxel + seen + filled <= end:
            starts, here = starts_of_runs(labels, voxel), voxel
            while True:
                stop = voxel + np.uint64(trailing_zeros(starts))
                fill(renamed, here, name)
                here += filled
                while here < stop:
                    fill(renamed, here, name)
                    here += filled
                if starts == 0:
                    break
                here = stop
                name = _name_by_index(labels[here], first, index, added)
                starts &= starts - one
            voxel += seen


@inlined
def _name_by_index(label, first, index, added):
    word = np.uint64(2) * min((label >> np.uint64(6)) - first, np.uint64(index.size // 2 - 1))
    # The bit of this label comes to the top, above those of the labels before it.
    named = index[word] << (~label & np.uint64(63))
    place = index[word + np.uint64(1)] + _n_bits(named)
    return label + (added[place] & np.uint64(np.int64(named) >> np.int64(63)))


@jit_bare
def _rename_by_hash(labels, renamed, table, shifts, is_noise):
    wrap = table.size // 2 - 1
    last, name = np.uint64(0), np.uint64(0)
    for voxel in range(labels.size):
        if is_noise and voxel + AHEAD < labels.size:
            prefetch(table, 2 * _slot(labels[voxel + AHEAD], shifts))
        label = labels[voxel]
        if label != last or voxel == 0:
            last = label
            slot = _slot(label, shifts)
            while table[2 * slot] != label and table[2 * slot] != 0:
                slot = (slot + 1) & wrap
            name = table[2 * slot + 1] if table[2 * slot] == label else label
        renamed[voxel] = name
