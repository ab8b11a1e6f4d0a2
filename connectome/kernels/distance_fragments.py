"""Fragments of one block from the distance to the nearest boundary, exact whatever the blocks.

Integers only: squared distances with integer voxel sizes, capped, their fixed-point root, then [1 2 1]
sums. Every voxel links to its highest neighbour; neighbours that both sit at the cap link.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Halo, Triple
from connectome.kernels.boundary_distance import Heights, capped_squares, highest, smoothed_roots
from connectome.kernels.choices import (
    MANY_TIES,
    break_few_ties,
    break_ties,
    copy_row,
    count_ties,
    finish_choice,
    hash_row,
    link_row,
    mark_equals,
)
from connectome.kernels.flags import row_of_flags
from connectome.kernels.fragments import Affinities
from connectome.kernels.jit import jit
from connectome.kernels.links import FaceLinks, Labels, face_links_of, label_links
from connectome.kernels.location_noise import HASH_BITS, hash_mask


@dataclass(frozen=True)
class DistanceParameters:
    """What the distance flavour needs to know.

    Attributes
    ----------
    boundary_sum : int
        A voxel with n edges to lower neighbours is boundary if their affinities sum to less than
        ``n / 3`` of this (0-765).
    voxel_size : Triple
        Integer voxel size (z, y, x); distances are in its unit.
    cap : int
        Distances above it count as it.
    n_smoothing : int
        Number of [1 2 1] sums along each axis.
    per_section : bool
        Treat each section (z) by itself: for strongly anisotropic data.
    hash_bits : int
        Width of the location hash that breaks ties.
    """

    boundary_sum: int
    voxel_size: Triple
    cap: int
    n_smoothing: int
    per_section: bool = False
    hash_bits: int = HASH_BITS

    @property
    def halo(self) -> Halo:
        """Affinities needed around a block; one more on the low side, where links over faces are decided."""
        z, y, x = (-(-self.cap // size) + self.n_smoothing for size in self.voxel_size)
        if self.per_section:
            return Halo((0, y + 1, x + 1), (0, y, x))
        return Halo((z + 1, y + 1, x + 1), (z, y, x))


def fragments_by_distance(
    affinities: Affinities, read_box: Box, write_box: Box, domain: Box, parameters: DistanceParameters
) -> tuple[Labels, FaceLinks]:
    """Cut one block into fragments by linking every voxel to the neighbour farthest from a boundary.

    Parameters
    ----------
    affinities : uint8 array, shape (3, z, y, x)
        Affinities of `read_box`, stored at the higher voxel of each pair.
    read_box : Box
        `write_box` grown by `parameters.halo` and cut by the domain.
    write_box, domain : Box
        Where labels are wanted, and the whole volume.
    parameters : DistanceParameters
        Threshold, cap and smoothing.

    Returns
    -------
    labels : uint64 array, shape of `write_box`
    face_links : bool array
        Both as in `fragments_by_affinity`.

    Notes
    -----
    O(voxels x cap / voxel size), whatever the affinities. Besides the labels, 3 to 8 bytes per voxel of the read
    box (freed before the labels are made; of one section where these are for themselves) and one for links, or 12
    per provisional label. Source: exact segmentation recipe, section 2, distance flavour.
    """
    links = np.empty(write_box.shape, np.uint8)
    if parameters.per_section:
        # What is made of a section stays in the cache until its links are known.
        for z in range(write_box.start[0], write_box.stop[0]):
            read, write = _section(read_box, z), _section(write_box, z)
            given, made = read.relative_to(read_box.start), write.relative_to(write_box.start)
            _link_box(affinities[:, given.slices[0]], links[made.slices], read, write, domain, parameters)
    else:
        _link_box(affinities, links, read_box, write_box, domain, parameters)
    return label_links(links, write_box.start, domain), face_links_of(links)


def _section(box: Box, z: int) -> Box:
    """Return the section `z` of a box."""
    return Box((z, *box.start[1:]), (z + 1, *box.stop[1:]))


def _link_box(
    affinities: Affinities,
    links: npt.NDArray[np.uint8],
    read_box: Box,
    write_box: Box,
    domain: Box,
    parameters: DistanceParameters,
) -> None:
    """Fill the links of `write_box`."""
    across_sections = not parameters.per_section
    start_z, start_y, start_x = (max(a - 1, r) for a, r in zip(write_box.start, read_box.start, strict=True))
    _link_by_height(
        distance_heights(affinities, read_box, domain, parameters),
        links,
        read_box.start,
        (start_z, start_y, start_x),
        write_box.start,
        domain.start,
        domain.shape,
        highest(parameters.cap, parameters.n_smoothing, across_sections=across_sections),
        across_sections,
        hash_mask(parameters.hash_bits),
    )


def distance_heights(affinities: Affinities, read_box: Box, domain: Box, parameters: DistanceParameters) -> Heights:
    """Return the smoothed distance to the nearest boundary voxel for every voxel of `read_box`.

    Values are right only at least `parameters.halo` (less one voxel) away from those faces of
    `read_box` that are not faces of the domain.
    """
    z, y, x = (a == d for a, d in zip(read_box.start, domain.start, strict=True))
    size_z, size_y, size_x = parameters.voxel_size
    sizes = (0 if parameters.per_section else size_z, size_y, size_x)
    squares, unit = capped_squares(affinities, parameters.boundary_sum, sizes, parameters.cap, (z, y, x))
    return smoothed_roots(squares, unit, sizes[0], parameters.cap, parameters.n_smoothing)


@jit
def _link_by_height(
    heights, links, read_start, core_start, start, domain_start, domain_shape, plateau, across_sections, mask
):
    """Fill the links of a block; the core is the block and the voxels just below its low faces."""
    nz, ny, nx = heights.shape
    cz, cy, cx = core_start[0] - read_start[0], core_start[1] - read_start[1], core_start[2] - read_start[2]
    oz, oy, ox = start[0] - core_start[0], start[1] - core_start[1], start[2] - core_start[2]
    n = links.shape[2] + ox
    step_y, step_z = domain_shape[2], domain_shape[1] * domain_shape[2]
    nowhere, along_x = np.full(n, -1, heights.dtype), np.full(n + 2, -1, heights.dtype)
    plateau = heights.dtype.type(plateau)  # a wider number would widen every comparison with it
    hashes, (flags, words), where = np.empty((5, n + 2), np.int32), row_of_flags(n), np.empty(n, np.int32)
    offsets, axes = np.array([-step_z, -step_y, -1, 1, step_y, step_z]), np.zeros(6, np.int64)
    nothing = np.zeros(n, np.uint8)
    chosen = np.zeros((links.shape[1] + oy, n), np.uint8)  # the last plane's choices, overwritten row by row
    now = np.zeros(n + 1, np.uint8)  # one voxel more on the left, which chooses nothing
    row = now[1:]
    first, last = max(cx - 1, 0), min(cx + n + 1, nx)
    for az in range(cz, cz + oz + links.shape[0]):
        for ay in range(cy, cy + oy + links.shape[1]):
            y = ay - cy
            lower_z = heights[az - 1, ay, cx : cx + n] if across_sections and az > 0 else nowhere
            upper_z = heights[az + 1, ay, cx : cx + n] if across_sections and az + 1 < nz else nowhere
            lower_y = heights[az, ay - 1, cx : cx + n] if ay > 0 else nowhere
            upper_y = heights[az, ay + 1, cx : cx + n] if ay + 1 < ny else nowhere
            copy_row(heights[az, ay, first:last], along_x[first - cx + 1 :])
            _choose_neighbours(row, along_x, lower_z, lower_y, upper_y, upper_z, plateau)
            gz, gy = az + read_start[0] - domain_start[0], ay + read_start[1] - domain_start[1]
            index, n_ties = gz * step_z + gy * step_y + core_start[2] - domain_start[2], count_ties(row)
            if n_ties * MANY_TIES > n:
                _break_height_ties(row, hashes, index, step_y, step_z, mask)
            elif n_ties > 0:
                break_few_ties(row, flags, words, where, index, offsets, axes, mask)
            if az - cz >= oz and y >= oy:
                below_y = chosen[y - 1, ox:] if y > 0 else nothing[ox:]
                link_row(links[az - cz - oz, y - oy], row[ox:], now[ox:n], below_y, chosen[y, ox:])
            copy_row(row, chosen[y])


@jit
def _choose_neighbours(choices, along_x, lower_z, lower_y, upper_y, upper_z, plateau):
    """Mark each voxel's highest neighbours; absent ones are -1. On the plateau all equals link: no tie."""
    for x in range(choices.size):
        lower_x, here, upper_x = along_x[x], along_x[x + 1], along_x[x + 2]
        top = max(lower_z[x], lower_y[x], lower_x, upper_x, upper_y[x], upper_z[x])
        highest = mark_equals(top, lower_z[x], lower_y[x], lower_x, upper_x, upper_y[x], upper_z[x])
        chooses = (top > 0) | ((top == 0) & (here > 0))
        highest = highest if chooses else np.uint8(0)
        choices[x] = finish_choice(highest, (top < plateau) | (here < plateau), chooses)


@jit
def _break_height_ties(choices, hashes, index, step_y, step_z, mask):
    """Break ties by the hashes of the neighbours' positions."""
    n = choices.size
    lower_z, lower_y, along_x, upper_y, upper_z = hashes[0, :n], hashes[1, :n], hashes[2], hashes[3, :n], hashes[4, :n]
    hash_row(lower_z, index - step_z, 0, mask)
    hash_row(lower_y, index - step_y, 0, mask)
    hash_row(along_x, index - 1, 0, mask)
    hash_row(upper_y, index + step_y, 0, mask)
    hash_row(upper_z, index + step_z, 0, mask)
    break_ties(choices, lower_z, lower_y, along_x[:n], along_x[2:], upper_y, upper_z)
