"""A root in parts in plain Python: at every threshold each component is merged by itself."""

from tests.naive.agglomeration import acts, sweep


def at_once(edges, sizes, linkage):
    """Merge mutually best pairs until none acts; returns (names, merges)."""
    names, _, merges, _ = sweep(edges, sizes, set(), linkage)
    return names, merges


def by_components(edges, sizes, rules):
    """The same by the linkages of falling thresholds, each component of the pairs that act by itself."""
    names, merges = {a: a for a in sizes}, {}
    for rule in rules:
        component = {a: a for a in sizes}
        for pair, rows in edges.items():
            if acts(rows, pair, sizes, rule):
                low, high = sorted(component[a] for a in pair)
                component = {a: low if c == high else c for a, c in component.items()}
        renamed = {}
        for one in set(component.values()):
            inside = {pair: rows for pair, rows in edges.items() if {component[a] for a in pair} == {one}}
            members = {a: size for a, size in sizes.items() if component[a] == one}
            new, _, made, _ = sweep(inside, members, set(), rule)
            renamed |= new
            merges |= made
        pooled, left = {}, {}
        for (a, b), rows in edges.items():
            pair = tuple(sorted((renamed[a], renamed[b])))
            if pair[0] != pair[1]:
                pooled[pair] = (*pooled.get(pair, ()), *rows)
        for a, size in sizes.items():
            left[renamed[a]] = left.get(renamed[a], 0) + size
        edges, sizes, names = pooled, left, {a: renamed[name] for a, name in names.items()}
    return names, merges
