"""Expected run length and spanning forests in plain Python."""

from collections import defaultdict


def run_length(cells, edges, lengths, segments):
    cells_of = defaultdict(set)
    for cell, segment in zip(cells, segments, strict=True):
        cells_of[segment].add(cell)
    runs = defaultdict(float)
    for (a, b), length in zip(edges, lengths, strict=True):
        if segments[a] == segments[b] != 0 and len(cells_of[segments[a]]) == 1:
            runs[cells[a], segments[a]] += length
    return sum(run**2 for run in runs.values()) / sum(lengths) if lengths else 0.0


def spanning_forest(n, edges):
    tree = list(range(n))
    taken = []
    for a, b in edges:
        one, two = tree[a], tree[b]
        taken.append(one != two)
        tree = [one if each == two else each for each in tree]
    return taken
