"""Agglomeration in plain Python: one sweep with open clusters, and the global greedy algorithm."""


def score(total, count):
    """Exact mean in 32.32 fixed point, rounded down."""
    return ((total // count) << 32) | (((total % count) << 32) // count)


def acts(edge, pair, sizes, linkage):
    value = score(*edge)
    small = min(sizes[pair[0]], sizes[pair[1]]) < linkage.small_size
    return value >= linkage.threshold << 32 or (small and value >= linkage.small_threshold << 32)


def sweep(edges, sizes, is_open, linkage):
    """Merge mutually best closed pairs until none is left.

    `edges`: {(a, b): (sum, count)}, a < b; `sizes`: {id: voxels}; `is_open`: set of ids.
    Returns (name of every id, sizes left, merges {(low, high): score}, edges left).
    """
    edges, sizes, names, merges = dict(edges), dict(sizes), {a: a for a in sizes}, {}
    while True:
        best = {}
        for pair, edge in edges.items():
            if acts(edge, pair, sizes, linkage):
                for end in pair:
                    best[end] = max(best.get(end, (-1,)), (score(*edge), *pair))
        ready = [(a, b) for value, a, b in best.values() if best[a] == best[b] and not {a, b} & is_open]
        if not ready:
            return names, sizes, merges, edges
        low, high = ready[0]
        merges[low, high] = score(*edges[low, high])
        edges, sizes, names = merged(edges, sizes, names, low, high)


def merged(edges, sizes, names, low, high):
    """Merge two clusters: pool their edges, add their voxels, rename."""
    pooled = {}
    for (a, b), (total, count) in edges.items():
        pair = tuple(sorted((low if a == high else a, low if b == high else b)))
        if pair[0] != pair[1]:
            old = pooled.get(pair, (0, 0))
            pooled[pair] = (old[0] + total, old[1] + count)
    sizes = {a: size + (sizes[high] if a == low else 0) for a, size in sizes.items() if a != high}
    return pooled, sizes, {a: low if name == high else name for a, name in names.items()}


def greedy(edges, sizes, linkage):
    """Merge the globally best acting edge until none acts; returns names."""
    edges, sizes, names = dict(edges), dict(sizes), {a: a for a in sizes}
    while acting := [(score(*e), *p) for p, e in edges.items() if acts(e, p, sizes, linkage)]:
        _, low, high = max(acting)
        edges, sizes, names = merged(edges, sizes, names, low, high)
    return names
