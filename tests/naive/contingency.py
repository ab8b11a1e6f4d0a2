"""A contingency table in plain Python."""

from collections import Counter


def contingency(first, second, mask=None):
    rows = zip(first.ravel().tolist(), second.ravel().tolist(), strict=True)
    counted = [True] * first.size if mask is None else mask.ravel().tolist()
    return dict(Counter(row for row, counts in zip(rows, counted, strict=True) if counts))
