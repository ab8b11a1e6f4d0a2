"""Agglomeration in plain Python: one sweep with open clusters, and the global greedy algorithm.

An edge is a tuple of rows (level, sum, count), as tables have them; pooling puts the tuples together.
"""

from itertools import chain, repeat


def score(rows, linkage):
    """Mean, best voxel edge, or level of the voxel edge of rank ceil(q n) from below, in 32.32 fixed point."""
    total, count = sum(row[1] for row in rows), sum(row[2] for row in rows)
    if linkage.name == "maximum":
        return max(row[1] for row in rows) << 32
    if linkage.name == "quantile":
        values = sorted(chain.from_iterable(repeat(level, n) for level, _, n in rows))
        return values[-(-linkage.quantile * count // 10_000) - 1] << 56
    return ((total // count) << 32) | (((total % count) << 32) // count)


def acts(rows, pair, sizes, linkage):
    value = score(rows, linkage)
    small = min(sizes[pair[0]], sizes[pair[1]]) < linkage.small_size
    return value >= linkage.threshold << 32 or (small and value >= linkage.small_threshold << 32)


def sweep(edges, sizes, is_open, linkage):
    """Merge mutually best closed pairs until none is left.

    `edges`: {(a, b): rows}, a < b; `sizes`: {id: voxels}; `is_open`: set of ids.
    Returns (name of every id, sizes left, merges {(low, high): score}, edges left).
    """
    edges, sizes, names, merges = dict(edges), dict(sizes), {a: a for a in sizes}, {}
    while True:
        best = {}
        for pair, rows in edges.items():
            if acts(rows, pair, sizes, linkage):
                for end in pair:
                    best[end] = max(best.get(end, (-1,)), (score(rows, linkage), *pair))
        ready = [(a, b) for value, a, b in best.values() if best[a] == best[b] and not {a, b} & is_open]
        if not ready:
            return names, sizes, merges, edges
        low, high = ready[0]
        merges[low, high] = score(edges[low, high], linkage)
        edges, sizes, names = merged(edges, sizes, names, low, high)


def merged(edges, sizes, names, low, high):
    """Merge two clusters: pool their edges, add their voxels, rename."""
    pooled = {}
    for (a, b), rows in edges.items():
        pair = tuple(sorted((low if a == high else a, low if b == high else b)))
        if pair[0] != pair[1]:
            pooled[pair] = (*pooled.get(pair, ()), *rows)
    sizes = {a: size + (sizes[high] if a == low else 0) for a, size in sizes.items() if a != high}
    return pooled, sizes, {a: low if name == high else name for a, name in names.items()}


def greedy(edges, sizes, linkage):
    """Merge the globally best acting edge until none acts, then drop dust; returns names."""
    edges, sizes, names = dict(edges), dict(sizes), {a: a for a in sizes}
    while acting := [(score(rows, linkage), *p) for p, rows in edges.items() if acts(rows, p, sizes, linkage)]:
        _, low, high = max(acting)
        edges, sizes, names = merged(edges, sizes, names, low, high)
    return {a: name if sizes[name] >= linkage.dust_size else 0 for a, name in names.items()}
