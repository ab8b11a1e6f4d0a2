"""Fragments (supervoxels) of one block from affinities, exact whatever the blocks.

Affinity flavour: a strict total order on voxel edges (affinity, location hash, index, axis); every
voxel links to its best edge above `low`, every edge at `high` or above links too; fragments are the
components of the links: the first Boruvka round of a maximum spanning forest, a watershed cut.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Halo, Triple
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
from connectome.kernels.jit import jit
from connectome.kernels.links import FaceLinks, Labels, face_links_of, label_links
from connectome.kernels.location_noise import HASH_BITS, hash_mask

__all__ = [
    "AFFINITY_HALO",
    "Affinities",
    "FaceLinks",
    "Labels",
    "face_links_of",
    "fragments_by_affinity",
    "label_links",
]

Affinities = npt.NDArray[np.uint8]

AFFINITY_HALO = Halo.symmetric((1, 1, 1))


def fragments_by_affinity(
    affinities: Affinities,
    read_box: Box,
    write_box: Box,
    domain: Box,
    *,
    low: int,
    high: int,
    hash_bits: int = HASH_BITS,
) -> tuple[Labels, FaceLinks]:
    """Cut one block into fragments by linking every voxel to its best edge.

    Parameters
    ----------
    affinities : uint8 array, shape (3, z, y, x)
        Affinities of `read_box`, stored at the higher voxel of each pair.
    read_box : Box
        `write_box` grown by one voxel on every side and cut by the domain.
    write_box, domain : Box
        Where labels are wanted, and the whole volume.
    low, high : int
        An edge links if it is its voxel's best and above `low` (0-255), or if it is at least `high` (0-256;
        256: never).
    hash_bits : int
        Width of the location hash, 28 at most.

    Returns
    -------
    labels : uint64 array, shape of `write_box`
        1 + the global index of the first voxel of the piece inside the block; 0 where nothing links.
    face_links : bool array, flat
        For the low z, y and x faces in turn: whether the voxel links to its neighbour below the face.

    Raises
    ------
    ValueError
        If `low` or `high` is out of range.

    Notes
    -----
    O(voxels), whatever the affinities. 8 bytes per voxel for labels, one for links, and 12 per provisional
    label. Source: exact segmentation recipe, sections 1 and 2; watershed cuts are Cousty et al. 2009
    (IEEE TPAMI 31:8), section 3.
    """
    if not (0 <= low <= 255 and 0 <= high <= 256):
        raise ValueError(f"low must be 0-255 and high 0-256, got {low} and {high}")
    links = np.empty(write_box.shape, np.uint8)
    _link_by_affinity(
        np.ascontiguousarray(affinities),
        links,
        read_box.start,
        _low_neighbours(write_box, read_box),
        write_box.start,
        domain.start,
        domain.shape,
        low,
        high,
        hash_mask(hash_bits),
    )
    return label_links(links, write_box.start, domain), face_links_of(links)


def _low_neighbours(write_box: Box, read_box: Box) -> Triple:
    z, y, x = (max(a - 1, r) for a, r in zip(write_box.start, read_box.start, strict=True))
    return z, y, x


@jit
def _link_by_affinity(affinities, links, read_start, core_start, start, domain_start, domain_shape, low, high, mask):
    """Fill the links of a block; the core is the block and the voxels just below its low faces."""
    _, nz, ny, nx = affinities.shape
    cz, cy, cx = core_start[0] - read_start[0], core_start[1] - read_start[1], core_start[2] - read_start[2]
    oz, oy, ox = start[0] - core_start[0], start[1] - core_start[1], start[2] - core_start[2]
    n = links.shape[2] + ox
    step_y, step_z = domain_shape[2], domain_shape[1] * domain_shape[2]
    thresholds = _thresholds(low, high, domain_shape[0] * step_z > 1)
    along_x = np.zeros(n + 1, np.uint8)
    hashes, (flags, words), where = np.empty((5, n + 1), np.int32), row_of_flags(n), np.empty(n, np.int32)
    offsets, axes = np.array([0, 0, 0, 1, step_y, step_z]), np.array([0, 1, 2, 2, 1, 0])
    chosen = np.zeros((links.shape[1] + oy + 1, n), np.uint8)  # row y + 1: choices of the last plane, then this one
    now = np.zeros(n + 1, np.uint8)  # one voxel more on the left, which chooses nothing
    row, lower_x, upper_x = now[1:], along_x[:n], along_x[1:]
    has_x = core_start[2] > domain_start[2]
    for az in range(cz, cz + oz + links.shape[0]):
        gz, z = az + read_start[0] - domain_start[0], az - cz - oz
        for ay in range(cy, cy + oy + links.shape[1]):
            gy, y = ay + read_start[1] - domain_start[1], ay - cy - oy
            has_edges = _byte(gz > 0), _byte(gy > 0), _byte(ay + 1 < ny), _byte(az + 1 < nz)
            lower_z = affinities[0, az, ay, cx : cx + n]
            lower_y = affinities[1, az, ay, cx : cx + n]
            upper_y = affinities[1, az, min(ay + 1, ny - 1), cx : cx + n]
            upper_z = affinities[0, min(az + 1, nz - 1), ay, cx : cx + n]
            copy_row(affinities[2, az, ay, cx : min(cx + n + 1, nx)], along_x)
            along_x[0] = along_x[0] if has_x else 0
            _choose_edges(row, lower_z, lower_y, lower_x, upper_x, upper_y, upper_z, has_edges, thresholds)
            index, n_ties = gz * step_z + gy * step_y + core_start[2] - domain_start[2], count_ties(row)
            if n_ties * MANY_TIES > n:
                _break_edge_ties(row, hashes, index, step_y, step_z, mask)
            elif n_ties > 0:
                break_few_ties(row, flags, words, where, index, offsets, axes, mask)
            if z >= 0 and y >= 0:
                link_row(links[z, y], row[ox:], now[ox:n], chosen[y + oy, ox:], chosen[y + oy + 1, ox:])
                if high < 256:
                    _link_high(
                        links[z, y],
                        lower_z[ox:],
                        lower_y[ox:],
                        lower_x[ox:],
                        high,
                        gz > 0,
                        gy > 0,
                        start[2] > domain_start[2],
                    )
            copy_row(row, chosen[y + oy + 1])


@jit
def _byte(condition):
    """All bits or none."""
    return np.uint8(255) if condition else np.uint8(0)


@jit
def _thresholds(low, high, has_edges):
    """Return `low`, the least value whose ties need no breaking, and the least value that makes foreground.

    The last two come with whether there is such a value: 256 does not fit a byte.
    """
    foreground = min(low + 1, high)
    return (
        np.uint8(low),
        np.uint8(min(high, 255)),
        high > 255,
        np.uint8(min(foreground, 255)),
        has_edges and foreground < 256,
    )


@jit
def _choose_edges(choices, lower_z, lower_y, lower_x, upper_x, upper_y, upper_z, has_edges, thresholds):
    """Mark each voxel's best edges. Absent edges are 0, never above `low`; edges at `high` link, tied or not."""
    has_lower_z, has_lower_y, has_upper_y, has_upper_z = has_edges
    low, high, never_high, foreground, has_foreground = thresholds
    for x in range(choices.size):
        lz, ly, lx = np.uint8(lower_z[x] & has_lower_z), np.uint8(lower_y[x] & has_lower_y), lower_x[x]
        uz, uy, ux = np.uint8(upper_z[x] & has_upper_z), np.uint8(upper_y[x] & has_upper_y), upper_x[x]
        top = max(lz, ly, lx, ux, uy, uz)
        best = mark_equals(top, lz, ly, lx, ux, uy, uz)
        best = best if top > low else np.uint8(0)
        breakable = (top < high) | never_high
        chooses = (top >= foreground) & has_foreground
        choices[x] = finish_choice(best, breakable, chooses)


@jit
def _break_edge_ties(choices, hashes, index, step_y, step_z, mask):
    """Break ties by the hashes of edges, each of (index of its higher voxel, axis)."""
    n = choices.size
    lower_z, lower_y, along_x, upper_y, upper_z = hashes[0, :n], hashes[1, :n], hashes[2], hashes[3, :n], hashes[4, :n]
    hash_row(lower_z, index, 0, mask)
    hash_row(lower_y, index, 1, mask)
    hash_row(along_x, index, 2, mask)
    hash_row(upper_y, index + step_y, 1, mask)
    hash_row(upper_z, index + step_z, 0, mask)
    break_ties(choices, lower_z, lower_y, along_x[:n], along_x[1:], upper_y, upper_z)


@jit
def _link_high(links, lower_z, lower_y, lower_x, high, has_z, has_y, has_x):
    """Link along every edge that reaches `high`, those that leave the domain excepted."""
    outermost = links[0]
    for x in range(links.size):
        links[x] |= ((lower_z[x] >= high) & has_z) * 1 | ((lower_y[x] >= high) & has_y) * 2 | (lower_x[x] >= high) * 4
    if not has_x:
        links[0] = (links[0] & 11) | (outermost & 4)
