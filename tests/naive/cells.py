"""Agglomeration by cells in plain Python: greedy in every cell, then at every node of an octree over the cells."""

from tests.naive.agglomeration import merged, sweep


def agglomerate(cells, n_levels, linkage):
    """Merge in nodes of 1, 2, 4 ... cells along each axis what does not touch the node's faces, until no edge acts.

    `cells`: {grid position: (sizes {id: voxels}, edges {(a, b): rows}, seam {(a, b): (rows, linked)}, faces {id:
    bits})}, a seam's b lying in another cell. Returns (name of every id, merges as sorted (low, high, score)).
    """
    place, sizes, edges, seam, faces = {}, {}, {}, {}, {}
    for index, (cell_sizes, *tables) in cells.items():
        place |= dict.fromkeys(cell_sizes, index)
        sizes |= cell_sizes
        edges, seam, faces = edges | tables[0], seam | tables[1], faces | tables[2]
    names, merges = {a: a for a in sizes}, []
    for level in range(n_levels):
        node = {a: tuple(i >> level for i in index) for a, index in place.items()}
        met = {pair: seam.pop(pair) for pair in list(seam) if node[pair[0]] == node[pair[1]]}
        for (a, b), (_, linked) in met.items():
            if linked and names[a] != names[b]:
                edges, sizes, new = merged(edges, sizes, {i: i for i in sizes}, *sorted((names[a], names[b])))
                names = {i: new[name] for i, name in names.items()}
        for (a, b), (rows, _) in met.items():
            edges = pooled(edges, names[a], names[b], rows)
        aside = {names[a] for a, bits in faces.items() if touches(bits, place[a], 1 << level)}
        waiting = {pair: edges.pop(pair) for pair in list(edges) if aside & set(pair)}
        new, sizes, made, edges = sweep(edges, sizes, set(), linkage)
        for (a, b), rows in waiting.items():
            edges = pooled(edges, new[a], new[b], rows)
        names = {a: new[name] for a, name in names.items()}
        merges += [(*pair, value) for pair, value in made.items()]
    return {a: 0 if sizes[name] < linkage.dust_size else name for a, name in names.items()}, sorted(merges)


def pooled(edges, a, b, rows):
    return edges if a == b else edges | {(min(a, b), max(a, b)): (*edges.get((min(a, b), max(a, b)), ()), *rows)}


def touches(bits, index, n):
    """Whether one of a cell's faces (six bits) lies on a face of its node of n cells along each axis."""
    return any(bits >> 2 * k & (i % n == 0) or bits >> 2 * k + 1 & ((i + 1) % n == 0) for k, i in enumerate(index))
