"""Leaf tables in plain Python."""

import itertools

from tests.naive.fragments import index_of
from tests.naive.location_noise import location_hash


def block_graph(labels, affinities, face_links, read_box, write_box, domain, *, hash_bits=24):
    """Return (sizes by id, edges by pair, seam by pair, faces by raw id) as dictionaries."""

    def label(voxel):
        return int(labels[tuple(c - o for c, o in zip(voxel, read_box.start, strict=True))])

    sizes, edges, seam, alias = {}, {}, {}, {}
    link = iter(face_links.tolist())
    linked = {
        (voxel, axis): next(link)
        for axis in range(3)
        for voxel in itertools.product(*map(range, write_box.start, write_box.stop))
        if voxel[axis] == write_box.start[axis]
    }
    for voxel in itertools.product(*map(range, write_box.start, write_box.stop)):
        here = label(voxel)
        if not here:
            continue
        sizes[here] = sizes.get(here, 0) + 1
        for axis in range(3):
            if voxel[axis] == write_box.stop[axis] - 1 and write_box.stop[axis] < domain.stop[axis]:
                alias[here] = alias.get(here, 0) | (2 << (2 * axis))
            if voxel[axis] == domain.start[axis]:
                continue
            below = label(tuple(c - (k == axis) for k, c in enumerate(voxel)))
            at = tuple(c - o for c, o in zip(voxel, write_box.start, strict=True))
            value = (int(affinities[(axis, *at)]) << 24) | location_hash(index_of(voxel, domain), axis, hash_bits)
            if voxel[axis] == write_box.start[axis]:
                alias[here] = alias.get(here, 0) | (1 << (2 * axis))
                if below:
                    total = seam.setdefault((here, below), [0, 0, False])
                    seam[here, below] = [total[0] + value, total[1] + 1, total[2] or linked[voxel, axis]]
            elif below and below != here:
                total = edges.setdefault((min(here, below), max(here, below)), [0, 0])
                edges[min(here, below), max(here, below)] = [total[0] + value, total[1] + 1]
    return sizes, edges, seam, alias
