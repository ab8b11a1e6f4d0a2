"""What the cases of the benchmarks compute, in the order of the data."""

from __future__ import annotations

from connectome.web.markup import Markup, element, group_row, join

MEANINGS = {
    "fragments": "watershed fragments from affinities",
    "fragments_distance": "watershed fragments from the distance to boundaries",
    "edges": "region graph: the sum of affinities over every contact of two fragments",
    "fragments_edges_mean": "the whole call: fragments by distance, edges, mean agglomeration, labels",
    "fragments_edges_mean_affinity": "the whole call from fragments by affinity",
    "agglomeration_mean": "agglomeration by mean affinity alone",
    "median_linkage": "the whole call with the median affinity",
    "median_linkage_affinity": "the whole call with the median affinity from fragments by affinity",
    "maximum_linkage_affinity": "the whole call with the greatest affinity from fragments by affinity",
    "mutex_watershed": "mutex watershed with long-range repulsion",
    "relabel_pyramid": "segments written with their mip levels",
    "contacts": "contact areas between segments",
    "contacts_fragments": "contact areas between fragments",
    "contingency": "contingency table of two segmentations",
    "distance_transform": "squared Euclidean distance transform",
    "downsample_mean": "mip levels of an image",
}
"""What cases compute. A case that is not here is shown by its name."""


def case_order(case: str) -> tuple[int, str]:
    """Return what sorts cases like the pipeline; those that are not known come last, by name."""
    names = list(MEANINGS)
    return (names.index(case) if case in MEANINGS else len(names), case)


def case_row(case: str, n_columns: int) -> Markup:
    """Return the row of a table that names a case and says what it computes."""
    return group_row(join(element("b", case), MEANINGS.get(case)), n_columns)
