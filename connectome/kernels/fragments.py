"""Fragments (supervoxels) of one block from affinities, exact whatever the blocks.

Affinity flavour: a strict total order on voxel edges (affinity, location hash, index, axis); every
voxel links to its best edge above `low`, every edge at `high` or above links too; fragments are the
components of the links: the first Boruvka round of a maximum spanning forest, a watershed cut.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from connectome.geometry import Box, Halo, Triple
from connectome.kernels.jit import jit
from connectome.kernels.location_noise import HASH_BITS, hash_mask, location_hash

Affinities = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint64]
FaceLinks = npt.NDArray[np.bool_]

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
        An edge links if it is its voxel's best and above `low`, or if it is at least `high` (256: never).
    hash_bits : int
        Width of the location hash.

    Returns
    -------
    labels : uint64 array, shape of `write_box`
        1 + the global index of the first voxel of the piece inside the block; 0 where nothing links.
    face_links : bool array, flat
        For the low z, y and x faces in turn: whether the voxel links to its neighbour below the face.

    Notes
    -----
    O(voxels); 8 bytes per voxel for labels and one for directions. Source: exact segmentation recipe,
    sections 1 and 2; watershed cuts are Cousty et al. 2009 (IEEE TPAMI 31:8), section 3.
    """
    core = Box(_low_neighbours(write_box, read_box), write_box.stop)
    links = _affinity_links(
        affinities,
        read_box.start,
        core.start,
        core.shape,
        write_box.start,
        write_box.shape,
        domain.start,
        domain.shape,
        low,
        high,
        hash_mask(hash_bits),
    )
    return label_links(links, write_box.start, domain), face_links_of(links)


def face_links_of(links: npt.NDArray[np.uint8]) -> FaceLinks:
    """Return which voxels on the low faces link to the voxel below the face, z, y and x faces in turn."""
    faces = (links[0] & 1, links[:, 0] & 2, links[:, :, 0] & 4)
    return np.concatenate([face.ravel() != 0 for face in faces])


def label_links(links: npt.NDArray[np.uint8], start: Triple, domain: Box) -> Labels:
    """Name the components of links inside a block that begins at `start`.

    `links` holds bits per voxel: 1, 2, 4 for a link to the lower z, y, x neighbour, 8 for foreground.
    """
    labels = np.empty(links.shape, np.int64)
    _label_links(links, labels, start, domain.start, domain.shape)
    return labels.view(np.uint64)


def _low_neighbours(write_box: Box, read_box: Box) -> Triple:
    z, y, x = (max(a - 1, r) for a, r in zip(write_box.start, read_box.start, strict=True))
    return z, y, x


@jit
def _affinity_links(
    affinities, read_start, core_start, core_shape, start, shape, domain_start, domain_shape, low, high, mask
):
    best = _best_directions(affinities, read_start, core_start, core_shape, domain_start, domain_shape, low, mask)
    links = np.zeros(shape, np.uint8)
    oz, oy, ox = start[0] - core_start[0], start[1] - core_start[1], start[2] - core_start[2]
    rz, ry, rx = start[0] - read_start[0], start[1] - read_start[1], start[2] - read_start[2]
    has_z, has_y, has_x = start[0] > domain_start[0], start[1] > domain_start[1], start[2] > domain_start[2]
    for z in range(shape[0]):
        for y in range(shape[1]):
            for x in range(shape[2]):
                here = best[z + oz, y + oy, x + ox]
                bits = 8 if here != 6 else 0
                if z > 0 or has_z:
                    value = affinities[0, z + rz, y + ry, x + rx]
                    if value >= high or here == 0 or best[z + oz - 1, y + oy, x + ox] == 3:
                        bits |= 9
                if y > 0 or has_y:
                    value = affinities[1, z + rz, y + ry, x + rx]
                    if value >= high or here == 1 or best[z + oz, y + oy - 1, x + ox] == 4:
                        bits |= 10
                if x > 0 or has_x:
                    value = affinities[2, z + rz, y + ry, x + rx]
                    if value >= high or here == 2 or best[z + oz, y + oy, x + ox - 1] == 5:
                        bits |= 12
                links[z, y, x] = bits
    _mark_upper_high(affinities, links, rz, ry, rx, high)
    return links


@jit
def _mark_upper_high(affinities, links, rz, ry, rx, high):
    """Make a voxel foreground if the edge to its upper neighbour reaches `high` although it is not above `low`."""
    nz, ny, nx = links.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                if links[z, y, x] != 0:
                    continue
                az, ay, ax = z + rz, y + ry, x + rx
                if (
                    (az + 1 < affinities.shape[1] and affinities[0, az + 1, ay, ax] >= high)
                    or (ay + 1 < affinities.shape[2] and affinities[1, az, ay + 1, ax] >= high)
                    or (ax + 1 < affinities.shape[3] and affinities[2, az, ay, ax + 1] >= high)
                ):
                    links[z, y, x] = 8


@jit
def _best_directions(affinities, read_start, core_start, core_shape, domain_start, domain_shape, low, mask):
    """Direction of each voxel's best edge: 0-2 to the lower z, y, x neighbour, 3-5 to the upper, 6 for none."""
    best = np.empty(core_shape, np.uint8)
    nz, ny, nx = affinities.shape[1:]
    oz, oy, ox = core_start[0] - read_start[0], core_start[1] - read_start[1], core_start[2] - read_start[2]
    step = (domain_shape[1] * domain_shape[2], domain_shape[2], 1)
    values = np.empty(6, np.int64)
    for z in range(core_shape[0]):
        for y in range(core_shape[1]):
            az, ay = z + oz, y + oy
            gz, gy = core_start[0] + z - domain_start[0], core_start[1] + y - domain_start[1]
            row = (gz * domain_shape[1] + gy) * domain_shape[2] + core_start[2] - domain_start[2]
            for x in range(core_shape[2]):
                ax = x + ox
                values[0] = affinities[0, az, ay, ax] if gz > 0 else -1
                values[1] = affinities[1, az, ay, ax] if gy > 0 else -1
                values[2] = affinities[2, az, ay, ax] if core_start[2] + x > domain_start[2] else -1
                values[3] = affinities[0, az + 1, ay, ax] if az + 1 < nz else -1
                values[4] = affinities[1, az, ay + 1, ax] if ay + 1 < ny else -1
                values[5] = affinities[2, az, ay, ax + 1] if ax + 1 < nx else -1
                top = low
                for k in range(6):
                    top = max(top, values[k])
                chosen = 6
                if top > low:
                    chosen = _break_tie(values, top, row + x, step, mask)
                best[z, y, x] = chosen
    return best


@jit
def _break_tie(values, top, index, step, mask):
    """Among the edges of value `top`, return the one that is last by (hash, index, axis)."""
    chosen, n_equal = 6, 0
    for k in range(6):
        if values[k] == top:
            chosen = k
            n_equal += 1
    if n_equal == 1:
        return chosen
    best_hash, best_index, best_axis = np.int64(-1), -1, -1
    for k in range(6):
        if values[k] == top:
            axis = k % 3
            higher = index if k < 3 else index + step[axis]
            value = location_hash(higher, axis, mask)
            if value > best_hash or (
                value == best_hash and (higher > best_index or (higher == best_index and axis > best_axis))
            ):
                chosen, best_hash, best_index, best_axis = k, value, higher, axis
    return chosen


@jit
def _label_links(links, labels, start, domain_start, domain_shape):
    """Unite linked voxels; the parent of a voxel is never after it, so one ascending pass names them all."""
    nz, ny, nx = links.shape
    parent = labels.ravel()
    voxel = 0
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                bits = links[z, y, x]
                root = voxel if bits else -1
                parent[voxel] = root
                if z > 0 and bits & 1:
                    root = _unite(parent, root, voxel - ny * nx)
                if y > 0 and bits & 2:
                    root = _unite(parent, root, voxel - nx)
                if x > 0 and bits & 4:
                    root = _unite(parent, root, voxel - 1)
                if bits:
                    parent[voxel] = root
                voxel += 1
    voxel = 0
    for z in range(nz):
        for y in range(ny):
            gz, gy = start[0] + z - domain_start[0], start[1] + y - domain_start[1]
            first = (gz * domain_shape[1] + gy) * domain_shape[2] + start[2] - domain_start[2] + 1
            for x in range(nx):
                ancestor = parent[voxel]
                if ancestor < 0:
                    parent[voxel] = 0
                elif ancestor == voxel:
                    parent[voxel] = first + x
                else:
                    parent[voxel] = parent[ancestor]
                voxel += 1


@jit
def _unite(parent, root, other):
    """Unite two trees under the earlier root and return it."""
    while parent[other] != other:
        parent[other] = parent[parent[other]]
        other = parent[other]
    while parent[root] != root:
        root = parent[root]
    if other < root:
        parent[root] = other
        return other
    parent[other] = root
    return root
