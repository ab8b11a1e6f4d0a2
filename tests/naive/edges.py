"""Leaf tables in plain Python."""

import itertools

from tests.naive.fragments import index_of
from tests.naive.location_noise import location_hash


def block_graph(labels, affinities, face_links, read_box, write_box, domain, *, hash_bits=24, linkage="mean", bins=16):
    """Return (sizes by id, edges by pair or by pair and level, seam likewise, faces by raw id) as dictionaries."""

    def label(voxel):
        return int(labels[tuple(c - o for c, o in zip(voxel, read_box.start, strict=True))])

    sizes, edges, seam, alias = {}, {}, {}, {}
    link = iter(face_links.tolist())
    voxels = list(itertools.product(*map(range, write_box.start, write_box.stop)))
    faces = [(voxel, axis) for axis in range(3) for voxel in voxels if voxel[axis] == write_box.start[axis]]
    linked = {face: next(link) for face in faces}
    for here in filter(None, map(label, voxels)):
        sizes[here] = sizes.get(here, 0) + 1
    for voxel, axis in itertools.product(voxels, range(3)):
        here, first = label(voxel), voxel[axis] == write_box.start[axis]
        if here and voxel[axis] == write_box.stop[axis] - 1 and write_box.stop[axis] < domain.stop[axis]:
            alias[here] = alias.get(here, 0) | (2 << (2 * axis))
        if not here or voxel[axis] == domain.start[axis]:
            continue
        alias |= {here: alias.get(here, 0) | (1 << (2 * axis))} if first else {}
        below = label(tuple(c - (k == axis) for k, c in enumerate(voxel)))
        affinity = int(affinities[(axis, *(c - o for c, o in zip(voxel, write_box.start, strict=True)))])
        level = (min(v for v in range(256) if v * bins // 256 == affinity * bins // 256),) * (linkage == "quantile")
        # A quantile has no sums.
        row = [0 if level else (affinity << 24) | location_hash(index_of(voxel, domain), axis, hash_bits), 1]
        if first and below:
            add(seam, (here, below, *level), [*row, linked[voxel, axis]], linkage)
        elif not first and below not in {0, here}:
            add(edges, (min(here, below), max(here, below), *level), row, linkage)
    any_linked = {key[:2] for key, row in seam.items() if row[2]}
    return sizes, edges, {key: [*row[:2], key[:2] in any_linked] for key, row in seam.items()}, alias


def add(table, key, row, linkage):
    """Pool one row into a table of [sum, count] or [sum, count, linked]."""
    old = table.get(key, [0] * len(row))
    total = [max(old[0], row[0]), 1] if linkage == "maximum" else [old[0] + row[0], old[1] + row[1]]
    table[key] = [*total, *(a or b for a, b in zip(old[2:], row[2:], strict=True))]


def pool_edges(rows, linkage="mean"):
    """Pool rows (key, [sum, count, linked]); keys are (a, b) or (a, b, level)."""
    table = {}
    for key, row in rows:
        add(table, key, row, linkage)
    any_linked = {key[:2] for key, row in table.items() if row[2]}
    return {key: [*table[key][:2], key[:2] in any_linked] for key in sorted(table)}
